/* Several threads of a node share its doorbell (core/node/src/sleeper.cc, poller.cc, send_call.cc).
 *
 * The poller sleeps for messages, in Node::Wait or, with EVENT_LOOP, in an event loop of the
 * user's on Node::Fd(). SENDERS threads sleep in SendCall::WaitForRoom for room in one ring. One
 * eventfd wakes them all. Fences are in wake.pml: here everybody sees a step at once.
 *
 * Property: no lost wake-up, without the once-a-second net. When nothing moves any more, every
 * message has been handled and no sender waits while there is room: the assertions in Watch.
 *
 * Mutations: ONE_EPOLL (Fd() and the sleeping threads take events out of the same epoll set, and
 * Drain() does as well), LATE_TICKET (the ticket is taken after the look), NO_NOTIFY (the leader
 * tells nobody of the event), FIRST_DISARMS (a sender that has got room disarms though others
 * wait).
 */
#ifndef SENDERS
#define SENDERS 1
#endif
#define THREADS (SENDERS + 1) /* thread 0 is the poller */
#ifndef MESSAGES
#define MESSAGES 2
#endif

/* The region. */
byte messages;     /* committed and not yet handled */
byte room;         /* released and not yet claimed */
byte armed;        /* PeerSlot::armed */
byte space_armed;  /* RingHeader::space_armed */

/* Epoll sets over the doorbell, edge-triggered: whether there is an event in them. `asleep` is for
 * Sleeper::AwaitEvents, `loop` for Fd(). */
bool asleep;
#ifdef ONE_EPOLL
#define loop asleep
#else
bool loop;
#endif

/* Sleeper */
bool mutex;
byte ticket;
bool has_leader;
bool waits[THREADS]; /* in changed_.wait_until */

/* OutLink */
bool lock;
byte space_waiters;

byte claimed; /* records that the senders claimed */

#define ODD(v) ((v) % 2 == 1)

inline Doorbell()
{
  d_step {
    asleep = true;
    loop = true
  }
}

/* changed_.notify_all */
inline NotifyAll()
{
#ifdef NO_NOTIFY
  skip
#else
  d_step {
    waits[0] = false;
    waits[1] = false;
#if SENDERS > 1
    waits[2] = false
#endif
  }
#endif
}

/* Sleeper::Ticket */
inline TakeTicket()
{
  atomic { !mutex -> mine = ticket }
}

/* Sleeper::Sleep, without its time limit */
inline Sleep(me)
{
  atomic { !mutex -> mutex = true }
  do
  :: atomic { ticket != mine -> mutex = false; break }
  :: atomic { ticket == mine && has_leader -> waits[me] = true; mutex = false }
     atomic { !waits[me] && !mutex -> mutex = true }
  :: atomic { ticket == mine && !has_leader -> has_leader = true; mutex = false }
     atomic { asleep -> asleep = false } /* AwaitEvents */
     atomic { !mutex -> has_leader = false; ticket++ }
     NotifyAll();
     break
  od
}

active proctype Poller()
{
  byte mine;
  do
  :: atomic { messages > 0 -> messages-- } /* Readers::Poll */
  :: messages == 0 ->
#ifdef EVENT_LOOP
     armed = armed + (ODD(armed) -> 2 : 1); /* Node::Arm */
     if
     :: messages > 0
     :: messages == 0 -> loop /* the user's poll() of Fd() takes nothing */
     fi;
     armed++; /* Poller::Attend: Armed::Disarm */
     /* Sleeper::Drain */
     if
     :: atomic { loop -> loop = false }
#ifdef ONE_EPOLL
        atomic { !mutex -> ticket++ }
        NotifyAll()
#endif
     :: !loop
     fi
#else
     /* Poller::Sleep */
     do
     ::
#ifndef LATE_TICKET
        TakeTicket();
#endif
        armed++;
        if
        :: messages > 0 -> armed++; break
        :: messages == 0
        fi;
#ifdef LATE_TICKET
        TakeTicket();
#endif
        Sleep(0);
        armed++;
        if
        :: messages > 0 -> break
        :: messages == 0
        fi
     od
#endif
  od
}

inline LeaveWait()
{
  space_waiters--;
#ifdef FIRST_DISARMS
  space_armed = space_armed + ODD(space_armed)
#else
  space_armed = space_armed + (space_waiters == 0 && ODD(space_armed))
#endif
}

active [SENDERS] proctype Sender()
{
  byte mine;
  do
  :: atomic { !lock && room > 0 -> room--; claimed++; break } /* RingWriter::TrySend */
  :: !lock && room == 0 ->
     /* SendCall::WaitForRoom */
     atomic { !lock -> space_waiters++ }
     do
     ::
#ifndef LATE_TICKET
        TakeTicket();
#endif
        atomic {
          !lock ->
          lock = true;
          space_armed = space_armed + (ODD(space_armed) -> 2 : 1) /* Armed::Arm */
        }
        if
        :: atomic { room > 0 -> lock = false; break }
        :: atomic { room == 0 -> lock = false }
        fi;
#ifdef LATE_TICKET
        TakeTicket();
#endif
        Sleep(_pid)
     od;
     atomic { !lock -> LeaveWait() }
  od
}

/* The peers: one sends messages, one reads the ring of the senders. */
active proctype Producer()
{
  byte sent;
  byte value;
  byte rung_for;
  do
  :: sent < MESSAGES ->
     atomic { messages++; sent++ }
     value = armed;
     if
     :: ODD(value) && value != rung_for -> rung_for = value; Doorbell()
     :: else
     fi;
     value = 0
  :: sent == MESSAGES -> break
  od
}

active proctype Consumer()
{
  byte released;
  byte value;
  byte rung_for;
  do
  :: released < SENDERS ->
     atomic { room++; released++ }
     value = space_armed;
     if
     :: ODD(value) && value != rung_for -> rung_for = value; Doorbell()
     :: else
     fi;
     value = 0
  :: released == SENDERS -> break
  od
}

active proctype Watch()
{
  timeout ->
  assert(messages == 0);
  assert(room == 0 && claimed == SENDERS)
}
