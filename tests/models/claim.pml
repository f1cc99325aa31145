/* Claiming a name (core/region/src/claim.cc; docs/wire-format.md "Claiming a name").
 *
 * Peers claim one name in different slots, each as often as it has lives, and leave again at any
 * time. A claim may stand still for any time at any step; whoever waits for it ends it then, and
 * somebody frees the slot.
 *
 * Property: the name is never that of two live peers: GoLive.
 *
 * A claimer does not wait for a claim that has no name yet, nor for one that began after its own
 * name stood there. Not modelled: durable names, the choice of a slot, an ended claimer that is
 * stopped before it has written its name and writes it into another one's slot.
 *
 * Mutations: NO_FENCE (no fence between the name and the look at the others), NO_WAIT (a lower slot
 * wins at once), NAME_LATE (the name is written behind the look), ENDS_UNCHECKED (a claim becomes
 * live by a store).
 */
#define SLOTS 3
#define CPUS 3
#define DEPTH 1
#define WORDS 3 /* by slot: name_incarnation; the name itself is the same in all */

#define FREE 0
#define CLAIMING 1
#define LIVE 2
#define DEAD 3
#define TO_LIFE(incarnation, state) ((incarnation) * 4 + (state))
#define INCARNATION(life) ((life) / 4)
#define STATE(life) ((life) % 4)
byte life[SLOTS];

#define Reached(cpu, where, what) skip
#include "tso.inc"

#define OTHER_LIVES(slot) \
  ((slot != 0 && STATE(life[0]) == LIVE) || (slot != 1 && STATE(life[1]) == LIVE) || \
   (slot != 2 && STATE(life[2]) == LIVE))

inline GoLive()
{
  atomic {
    FENCED(me) ->
#ifdef ENDS_UNCHECKED
    assert(!OTHER_LIVES(me));
    life[me] = TO_LIFE(mine, LIVE)
#else
    if
    :: life[me] == TO_LIFE(mine, CLAIMING) ->
       assert(!OTHER_LIVES(me));
       life[me] = TO_LIFE(mine, LIVE)
    :: else
    fi
#endif
  }
}

/* LifeNamed() of slot `at`: `seen`, 0 if it has not the name. */
inline LookAt()
{
  seen = life[at];
  do
  :: named = (STATE(seen) != FREE && LOAD(me, at) == INCARNATION(seen));
     if
     :: life[at] == seen -> break
     :: life[at] != seen -> seen = life[at]
     fi
  od;
  if
  :: !named -> seen = 0
  :: named
  fi;
  named = false
}

/* PeerTable::Claimer */
proctype Claimer(byte me; byte lives)
{
  byte mine;
  byte at;
  byte seen;
  byte rival[SLOTS];
  bool named;
  bool lost;
  do
  :: lives > 0 ->
     lives--;
     atomic {
       STATE(life[me]) == FREE ->
       mine = INCARNATION(life[me]) + 1;
       life[me] = TO_LIFE(mine, CLAIMING)
     }
#ifndef NAME_LATE
     Store(me, me, mine);
#endif
#ifndef NO_FENCE
     FENCED(me);
#endif
     /* OwnsName(): a look at all */
     at = 0;
     do
     :: at < SLOTS && !lost ->
        if
        :: at != me ->
           LookAt();
           if
           :: STATE(seen) == LIVE || (STATE(seen) == CLAIMING && at < me) -> lost = true
           :: STATE(seen) == CLAIMING && at > me -> rival[at] = seen
           :: else
           fi
        :: at == me
        fi;
        at++
     :: at == SLOTS || lost -> break
     od;
#ifdef NAME_LATE
     Store(me, me, mine);
#endif
#ifndef NO_WAIT
     /* those that have to be waited for */
     at = 0;
     do
     :: at < SLOTS && !lost ->
        if
        :: rival[at] != 0 ->
           do
           :: seen = life[at];
              if
              :: INCARNATION(seen) != INCARNATION(rival[at]) -> break
              :: INCARNATION(seen) == INCARNATION(rival[at]) && STATE(seen) == LIVE ->
                 lost = true;
                 break
              :: INCARNATION(seen) == INCARNATION(rival[at]) && STATE(seen) != LIVE &&
                   STATE(seen) != CLAIMING -> break
              :: seen == rival[at] -> /* EndClaim, after a while */
                 atomic {
                   if
                   :: life[at] == seen -> life[at] = TO_LIFE(INCARNATION(seen), DEAD)
                   :: else
                   fi
                 }
              fi
           od
        :: rival[at] == 0
        fi;
        at++
     :: at == SLOTS || lost -> break
     od;
#endif
     if
     :: !lost -> GoLive()
     :: lost ->
        atomic {
          if
          :: life[me] == TO_LIFE(mine, CLAIMING) -> life[me] = TO_LIFE(mine, FREE)
          :: else
          fi
        }
     fi;
     /* Leave(), if it is live, and Reclaim() by anybody */
     atomic {
       FENCED(me) ->
       if
       :: STATE(life[me]) != FREE -> life[me] = TO_LIFE(mine, FREE)
       :: else
       fi;
       at = 0;
       seen = 0;
       lost = false;
       rival[0] = 0;
       rival[1] = 0;
       rival[2] = 0
     }
  :: lives == 0 -> break
  od
}

active proctype Machine()
{
  atomic {
    run Claimer(0, 2);
    run Claimer(1, 1);
    run Claimer(2, 2)
  }
  do
  :: Drain(0)
  :: Drain(1)
  :: Drain(2)
  od
}
