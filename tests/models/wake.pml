/* Sleeping and waking (core/region/include/ivmq/internal/wake.h, docs/wire-format.md "Sleeping and waking").
 *
 * PRODUCERS producers, each with a ring of ROOM records, send up to MESSAGES messages to one
 * consumer. The consumer sleeps when its rings are empty; a producer sleeps when its ring is full.
 * Both sleep without the once-a-second net. A producer may stop for good at any step (killed, or
 * its machine paused), but only producer 0, which is enough: what it leaves undone nobody else may
 * depend on.
 *
 * Properties
 * - No lost wake-up. A sleeper may stay asleep only when all is quiet: nothing is visible to it
 *   that a living peer sent. Every producer may stop sending after any message, so a state where a
 *   record is visible, the consumer sleeps and no doorbell is on its way also exists as a state
 *   where nothing moves any more: pan reports it as an invalid end state.
 * - A waker rings at most once for each odd value: the assertions.
 *
 * Every step of a process below touches one word that another one may write; what a process does
 * in private goes with the step before it. One thread a node. How several threads of a node share
 * its events is in sleeper.pml.
 *
 * Mutations: NO_WAKER_FENCE, NO_SLEEPER_FENCE, NO_RECHECK, EARLY_LOST (a doorbell before the sleep
 * is forgotten), CLEARED_FLAG (wakers clear the flag), SHARED_RUNG (wakers share the memory of the
 * value rung for), NO_RUNG (they have none), SAME_VALUE (each sleep says the same odd value), and
 * for the ring's other direction NO_RELEASER_FENCE, NO_WAITER_FENCE, NO_ROOM_RECHECK, LAZY (the
 * consumer sleeps without having looked for a producer that waits for what it released).
 */
#ifndef PRODUCERS
#define PRODUCERS 2
#endif
#ifndef MESSAGES
#define MESSAGES 2
#endif
#ifdef STOP /* producer 0 sends one message only, and may stop at any step */
#define MOST(p) ((p) == 0 -> 1 : MESSAGES)
#else
#define MOST(p) MESSAGES
#endif
#ifndef ROOM
#define ROOM 0 /* rings that are never full: no producer sleeps, `released` is left out */
#endif
#ifndef STEP
#define STEP 1 /* Release() publishes after so many records: an eighth of the ring */
#endif
#ifndef HALF
#define HALF 3 /* and looks for a sleeping producer after so many: half of it */
#endif
#ifndef TIMEOUTS
#define TIMEOUTS 0 /* Wait() calls whose time ends before anything comes */
#endif

#define CONSUMER PRODUCERS /* its number among CPUs and nodes */
#define CPUS (PRODUCERS + 1)
#define DEPTH 2

/* The words of the region. */
#define ARMED 0                              /* PeerSlot::armed of the consumer */
#define COMMITTED(p) (1 + (p))               /* commit words: how many records are committed */
#define RELEASED(p) (1 + PRODUCERS + (p))    /* RingHeader::released */
#define SPACE(p) (1 + 2 * PRODUCERS + (p))   /* RingHeader::space_armed */
#ifdef SHARED_RUNG
#define RUNG_WORD (1 + 3 * PRODUCERS)
#define WORDS (2 + 3 * PRODUCERS)
#else
#define WORDS (1 + 3 * PRODUCERS)
#endif

inline Reached(cpu, where, what) { skip }
#include "tso.inc"

/* Doorbells. bell: rung, on its way (an eventfd write by QEMU, an MSI). event: what the node's
 * edge-triggered epoll set holds; several rings become one event, and one that comes before the
 * sleep is kept (Sleeper, docs/adr/0004). */
bool bell[CPUS];
bool event[CPUS];

bool stopped;             /* producer 0 does not run any more */
byte finished;            /* producers that ended or stopped */
byte sent[PRODUCERS];     /* private to the producer; read by QUIET */
byte handled[PRODUCERS];  /* private to the consumer; read by QUIET */

#define ODD(v) ((v) % 2 == 1)

#if PRODUCERS == 1
#define ALL(condition) (condition(0))
#elif PRODUCERS == 2
#define ALL(condition) (condition(0) && condition(1))
#else
#define ALL(condition) (condition(0) && condition(1) && condition(2))
#endif
#define HANDLED(p) (handled[p] == sent[p] || ((p) == 0 && stopped))
#define QUIET                                                                       \
  (finished == PRODUCERS && ALL(FENCED) && ALL(HANDLED) && FENCED(CONSUMER) &&     \
   !bell[CONSUMER] && !event[CONSUMER])

proctype Producer(byte me)
{
  byte limit = ROOM;     /* Producer::limit_ */
  byte rung_for = 0;     /* WakeCheck::rung_for_ */
  byte space_value = 0;  /* Armed::value_ of space_armed */
  byte value;
  byte last_rung = 0;    /* a ghost: the last value that it rang for */
  {
    do
    :: sent[me] < MOST(me) ->
#if ROOM > 0
       /* Producer::TryClaim, ReadReleased */
       if
       :: sent[me] < limit
       :: atomic { sent[me] >= limit -> limit = LOAD(me, RELEASED(me)) + ROOM }
          /* SendCall::WaitForRoom */
          do
          :: sent[me] < limit -> break
          :: atomic {
               sent[me] >= limit ->
#ifdef NO_ROOM_RECHECK
               limit = LOAD(me, RELEASED(me)) + ROOM; /* before it says that it sleeps */
#endif
               space_value = space_value + (ODD(space_value) -> 2 : 1);
               Store(me, SPACE(me), space_value) /* Armed::Arm */
             }
#ifndef NO_WAITER_FENCE
             FENCED(me);
#endif
#ifndef NO_ROOM_RECHECK
             limit = LOAD(me, RELEASED(me)) + ROOM;
#endif
             if
             :: sent[me] < limit
             :: sent[me] >= limit && event[me] -> event[me] = false /* Sleeper::Sleep */
             fi
          od;
          if
          :: atomic {
               ODD(space_value) ->
               space_value = space_value + 1;
               Store(me, SPACE(me), space_value) /* Armed::Disarm */
             }
          :: !ODD(space_value)
          fi
       fi;
#endif
       /* Producer::Commit */
       atomic {
         Store(me, COMMITTED(me), sent[me] + 1);
         sent[me]++
       }
       /* RingWriter::Publish */
#ifndef NO_WAKER_FENCE
       FENCED(me);
#endif
       value = LOAD(me, ARMED);
       /* WakeCheck::MustRing, RingWriter::RingDoorbell */
#if defined(CLEARED_FLAG)
       if
       :: ODD(value) ->
          atomic { FENCED(me) -> value = mem[ARMED]; mem[ARMED] = 0 } /* exchange */
          if
          :: ODD(value) -> bell[CONSUMER] = true
          :: else
          fi
       :: else
       fi;
#elif defined(SHARED_RUNG)
       if
       :: atomic { ODD(value) && value != mem[RUNG_WORD] && FENCED(me) -> mem[RUNG_WORD] = value }
          bell[CONSUMER] = true
       :: ODD(value) && value == mem[RUNG_WORD]
       :: !ODD(value)
       fi;
#else
       if
       :: atomic {
            ODD(value) && value != rung_for ->
#ifndef NO_RUNG
            rung_for = value;
#endif
            assert(value > last_rung); /* values grow: once for each */
            last_rung = value
          }
          bell[CONSUMER] = true
       :: !ODD(value) || value == rung_for
       fi;
#endif
       value = 0
    :: break
    od
  } unless {
    me == 0 && stopped ->
    d_step { value = 0; rung_for = 0; space_value = 0; last_rung = 0 }
  }
  finished++
}

/* Of the consumer, for each ring: space_armed as it rang for it last (WakeCheck::rung_for_),
 * whether that doorbell is still to be rung (Consumer::wake_request_), Consumer::released_ and
 * told_. */
byte space_rung[PRODUCERS];
bool space_request[PRODUCERS];
byte published[PRODUCERS];
byte told[PRODUCERS];

/* Consumer::PublishReleased */
inline PublishReleased(p)
{
  atomic {
    published[p] = handled[p];
    told[p] = handled[p];
    Store(CONSUMER, RELEASED(p), published[p])
  }
#ifndef NO_RELEASER_FENCE
  FENCED(CONSUMER);
#endif
  atomic {
    value = LOAD(CONSUMER, SPACE(p));
    if
    :: ODD(value) && value != space_rung[p] ->
       assert(value > space_rung[p]);
       space_rung[p] = value;
       space_request[p] = true
    :: else
    fi;
    value = 0
  }
}

/* RingReader::WakeProducer */
inline WakeProducer(p)
{
  if
  :: atomic { space_request[p] -> space_request[p] = false; bell[p] = true }
  :: !space_request[p]
  fi
}

#define HAS_RECORD(p) (LOAD(CONSUMER, COMMITTED(p)) > handled[p]) /* Consumer::HasRecord */

/* Readers::LookAll: one load a ring. */
inline LookAll()
{
  do
  :: atomic { HAS_RECORD(p) -> work = true; p = 0; break }
  :: atomic { !HAS_RECORD(p) && p < PRODUCERS - 1 -> p++ }
  :: atomic { !HAS_RECORD(p) && p == PRODUCERS - 1 -> p = 0; break }
  od
}

/* Armed::Arm, without the fence */
inline Arm()
{
  atomic {
#if defined(CLEARED_FLAG) || defined(SAME_VALUE)
    armed = 1;
#else
    armed = armed + 1;
#endif
    Store(CONSUMER, ARMED, armed)
  }
}

/* Armed::Disarm */
inline Disarm()
{
  atomic {
#if defined(CLEARED_FLAG) || defined(SAME_VALUE)
    armed = 0;
#else
    armed = armed + 1;
#endif
    Store(CONSUMER, ARMED, armed)
  }
}

proctype Consumer()
{
  byte armed = 0; /* Armed::value_ */
  byte timeouts = TIMEOUTS;
  byte value;
  byte p;
  bool work;

poll: /* Node::PollWith, Readers::Poll, Readers::Drain */
  do
  :: atomic { p < PRODUCERS && HAS_RECORD(p) -> handled[p]++ }
#if ROOM > 0
     /* Consumer::Release, PublishStep */
     if
     :: handled[p] - published[p] >= STEP && handled[p] - told[p] >= HALF -> PublishReleased(p)
     :: atomic {
          handled[p] - published[p] >= STEP && handled[p] - told[p] < HALF ->
          published[p] = handled[p];
          Store(CONSUMER, RELEASED(p), published[p])
        }
     :: handled[p] - published[p] < STEP
     fi
#endif
  :: p < PRODUCERS && !HAS_RECORD(p) ->
#if ROOM > 0
     WakeProducer(p);
#endif
     p++
  :: atomic { p == PRODUCERS -> p = 0; break }
  od;

  /* Poller::Sleep */
#if ROOM > 0 && !defined(LAZY)
  do
  :: p < PRODUCERS && handled[p] != told[p] -> PublishReleased(p); WakeProducer(p); p++
  :: p < PRODUCERS && handled[p] == told[p] -> p++
  :: atomic { p == PRODUCERS -> p = 0; break }
  od;
#endif
  do
  :: Arm();
#ifndef NO_SLEEPER_FENCE
     FENCED(CONSUMER);
#endif
#ifndef NO_RECHECK
     LookAll();
#endif
#ifdef EARLY_LOST
     event[CONSUMER] = false;
#endif
     if
     :: work
     /* Sleeper::Sleep */
     :: !work && event[CONSUMER] -> event[CONSUMER] = false
     :: !work && timeouts > 0 -> timeouts-- /* the deadline */
     :: !work && QUIET -> goto done
     fi;
     Disarm();
     if
     :: work
     :: !work -> LookAll()
     fi;
     if
     :: work -> work = false; goto poll
     :: !work
     fi
  od;
done:
  skip
}

/* Store buffers drain, doorbells arrive, producer 0 stops: each at any time. */
#define Arrives(node) atomic { bell[node] -> bell[node] = false; event[node] = true }

proctype Machine()
{
end:
  do
  :: Drain(CONSUMER)
  :: Arrives(CONSUMER)
  :: Drain(0)
  :: Arrives(0)
#if PRODUCERS > 1
  :: Drain(1)
  :: Arrives(1)
#endif
#if PRODUCERS > 2
  :: Drain(2)
  :: Arrives(2)
#endif
#ifdef STOP
  :: !stopped -> stopped = true
#endif
  od
}

init
{
  atomic {
    run Machine();
    run Consumer();
    run Producer(0);
#if PRODUCERS > 1
    run Producer(1);
#endif
#if PRODUCERS > 2
    run Producer(2);
#endif
  }
}
