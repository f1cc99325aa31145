/* The end of a ring, and a successor of its producer (core/node/src/ring_writer.cc, ring_reader.cc, core/region/src/ring.cc;
 * docs/wire-format.md "Ending a ring", "After a crash"). carve.pml has how units are taken.
 *
 * One unit, which holds the ring of a durable producer P and a consumer C. C may find it damaged
 * and give it up, P may be killed at any step and its successor goes on with the ring or withdraws
 * it, C may die while a thread of P waits for room. X wants the unit for a ring of its own and
 * takes it as soon as P's cell disowns it.
 *
 * Properties
 * - Whoever lets go of a ring writes nothing into its units afterwards: when a store to the ring's
 *   header reaches memory, the unit is not X's: Reached.
 * - A consumer that sleeps learns of a ring in which its producer has put something: Watch.
 *
 * - Nobody waits for ever for the consumer to let go: Watch.
 *
 * Mutations: CLOSES_IN_RING (RingReader::GiveUp says so in the ring as well), ANSWERS_ONCE
 * (RingReader::ReadCell does not answer again when its answer was overwritten), DISARMS_LATE (a sender that waits says that it is awake after Writers::Housekeep freed the
 * ring), CARVES_AT_ONCE (RingWriter::Open does not wait for the consumer of a ring that a
 * predecessor withdrew), ADOPTS_IN_SILENCE (RingWriter::Open goes on with a ring without telling the
 * consumer to read its row).
 */
#define SENDER 0    /* a thread of P in SendCall::WaitForRoom */
#define HEARTBEAT 1 /* the one that runs Writers::Housekeep */
#define READER 2    /* C */
#define CPUS 3
#define DEPTH 2
#define LIVES 3

#define CELL 0         /* of (C, P) */
#define RELEASED 1     /* RingHeader::released */
#define SPACE_ARMED 2  /* RingHeader::space_armed */
#define WORDS 3

#define LIVE 1
#define WITHDRAWN 2
#define DISOWNED 3 /* empty, or of the next generation */
#define CLOSED 4

bool taken_by_x;

inline Reached(cpu, where, what)
{
  assert(!taken_by_x)
}
#include "tso.inc"

bool p_lives;
bool killed;
bool c_lives = true;
bool calm;      /* nobody dies any more */
byte changes;   /* PeerSlot::inbound_changes */
bool record;    /* something is committed in the ring */
bool lock;      /* OutLink::lock */
bool is_open;   /* OutLink::open */
bool is_armed;  /* OutLink::space_armed.armed() */
bool opened;    /* InLink::open */
bool given_up;  /* InLink::given_up */
bool works;     /* the heartbeat holds the lock */
bool waits;     /* P waits for C to let go */

#define Unlock(cpu) atomic { FENCED(cpu) -> lock = false }

inline AwaitAnswer()
{
  waits = true;
  mem[CELL] == CLOSED || !c_lives;
  waits = false
}

inline Disown() { atomic { FENCED(SENDER) -> mem[CELL] = DISOWNED; is_open = false } }

proctype Producer()
{
  byte lives = LIVES;
  do
  :: lives > 0 && !p_lives ->
     atomic { p_lives = true; lives-- }
     {
       if
       :: lives == LIVES - 1 -> /* Arena::Carve, its last steps; X has not been here yet */
          mem[CELL] = LIVE;
          changes++;
          is_open = true
       :: lives < LIVES - 1 -> /* RingWriter::Open */
          if
          :: mem[CELL] == 0 || mem[CELL] == DISOWNED
          :: mem[CELL] == CLOSED -> Disown()
          :: mem[CELL] == LIVE -> /* TakeUp; its store may meet an answer */
#ifndef ADOPTS_IN_SILENCE
             mem[CELL] = LIVE;
             changes++;
#endif
             is_open = true
          :: mem[CELL] == LIVE -> /* Withdraw; so may its */
             mem[CELL] = WITHDRAWN;
             changes++;
             AwaitAnswer();
             Disown()
          :: mem[CELL] == WITHDRAWN ->
#ifndef CARVES_AT_ONCE
             mem[CELL] = WITHDRAWN;
             changes++;
             AwaitAnswer();
#endif
             Disown()
          fi
       fi;
       if
       :: is_open ->
          record = true; /* Publish, with its doorbell */
          /* WaitForRoom */
          atomic { !lock -> lock = true }
          if
          :: is_open -> atomic { is_armed = true; Store(SENDER, SPACE_ARMED, 1) }
          :: !is_open
          fi;
          Unlock(SENDER);
          /* Sleeper::Sleep ends at any time */
          atomic { !lock -> lock = true }
          if
          :: is_armed -> atomic { is_armed = false; Store(SENDER, SPACE_ARMED, 2) }
          :: !is_armed
          fi;
          /* ClaimSlowly */
          if
          :: is_open && mem[CELL] == CLOSED -> Disown()
          :: !is_open || mem[CELL] != CLOSED
          fi;
          Unlock(SENDER)
       :: !is_open
       fi;
       killed
     } unless {
       killed
     }
     /* The death is confirmed: all threads have ended, and their stores are in memory. */
     atomic {
       FENCED(SENDER) && FENCED(HEARTBEAT) ->
       p_lives = false;
       killed = false;
       lock = false;
       is_open = false;
       is_armed = false;
       waits = false
     }
  :: lives == 0 || p_lives -> break
  od
}

/* RingWriter::LookAfter, when C has let go, and RingWriter::FreeIfUnread, when it is dead */
proctype Heartbeat()
{
  do
  :: atomic { (!c_lives || mem[CELL] == CLOSED) && p_lives && !killed && !lock && is_open -> lock = true; works = true }
#ifndef DISARMS_LATE
     if
     :: is_armed -> atomic { is_armed = false; Store(HEARTBEAT, SPACE_ARMED, 2) }
     :: !is_armed
     fi;
#endif
     is_open = false;
     atomic { FENCED(HEARTBEAT) -> mem[CELL] = DISOWNED } /* Arena::Free */
     atomic { lock = false; works = false }
  od
}

/* Arena::Close, a compare-and-swap */
inline Answer()
{
  atomic {
    FENCED(READER) ->
    if
    :: mem[CELL] == LIVE || mem[CELL] == WITHDRAWN -> mem[CELL] = CLOSED
    :: else
    fi
  }
}

proctype Consumer()
{
  byte row_seen;
  bool publishes = true;
  {
    do
    :: row_seen != changes -> /* Readers::ReadRow */
       row_seen = changes;
       if
       :: mem[CELL] == LIVE && !opened && !given_up -> opened = true
       :: mem[CELL] == WITHDRAWN && !given_up -> goto give_up
       :: else
       fi
#ifndef ANSWERS_ONCE
    :: given_up && (mem[CELL] == LIVE || mem[CELL] == WITHDRAWN) -> Answer()
#endif
    :: atomic { opened && publishes -> publishes = false; Store(READER, RELEASED, 1) }
    :: opened && record -> /* a record that no correct peer writes */
give_up:
       atomic { opened = false; given_up = true };
       Answer();
#ifdef CLOSES_IN_RING
       Store(READER, RELEASED, 2)
#endif
    od
  } unless {
    !c_lives
  }
}

proctype X()
{
  atomic { mem[CELL] == DISOWNED -> taken_by_x = true }
}

proctype Machine()
{
  do
  :: Drain(SENDER)
  :: Drain(HEARTBEAT)
  :: Drain(READER)
  :: atomic { p_lives && !killed && !works && !calm -> killed = true }
  :: atomic { c_lives && FENCED(READER) && !calm -> c_lives = false }
  :: !calm -> calm = true
  od
}

active proctype Watch()
{
  atomic {
    run Machine();
    run Producer();
    run Heartbeat();
    run Consumer();
    run X()
  }
  timeout ->
  assert(!(p_lives && c_lives && record && mem[CELL] == LIVE) || opened || given_up);
  assert(!(p_lives && c_lives && waits))
}
