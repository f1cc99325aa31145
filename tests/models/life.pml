/* A life and what may be written in it (NodeContext::IsMyLife, MoveLife; PeerTable; the locks of
 * transports/src/file_lock.h; docs/wire-format.md "Life word"). carve.pml has how units are taken,
 * and assumes what is looked at here: that the dead write nothing.
 *
 * A peer P has a ring in one unit. A thread of it sends, another one puts its cell right when that
 * looks damaged; both look at P's life word first, and may be stopped for any time behind each
 * step. P may be killed at any step; its lock is gone once all that it stored is in memory.
 * Somebody marks it dead, reclaims its cell and its slot, Q takes the unit for another pair's ring,
 * and R takes the slot. With RECONNECTS a third thread of P changes its connection to the server,
 * and so its ivposition, and the lock that proves its life.
 *
 * Properties
 * - No store of P's reaches the unit once Q has it, nor the cell once it was reclaimed: Reached.
 * - P stores its life word over nobody's: Repair.
 * - A killed peer's slot comes back: the end of init.
 *
 * The proof of death and the look cover each other's fault. A proof is one that P cannot write any
 * more, so that it does not matter where P was stopped. With WRONG somebody marks P dead while it
 * lives; then the look ends its stores, if P is not stopped as well, just behind a look, for as
 * long as it takes to reclaim. Both at once (STOPPED) are not covered.
 *
 * Mutations: SOCKET_END (P is taken for dead when its socket ends), NO_LOOK (P stores without a
 * look), RESTORES (P puts its life word right whatever stands there), REMAPS_FIRST (the connection's
 * lock goes before the life word names the next one), MARKS_UNCHECKED (a dead peer is marked by a
 * store), EARLY_LOCK (the lock goes when the process dies, whatever is under way to memory).
 */
#define SENDER 0 /* RingWriter::Publish */
#define KEEPER 1 /* Writers::Housekeep, Heartbeat::ShowLife */
#define CPUS 2
#define DEPTH 2
#define STEPS 2 /* of each thread */

#define CELL 0
#define PAYLOAD 1 /* in the unit */
#define COMMIT 2  /* in the unit */
#define WORDS 3

#define P_RING 1
#define DISOWNED 2

/* layout::Life. P's incarnation is the only one that is LIVE. */
#define LIVE 1
#define DEAD 2
#define FREE 3
#define OTHER 4 /* R's */
byte state = LIVE;
byte ivposition = 0;

bool has_lock[2]; /* by ivposition: of an open file that P has mapped */
bool killed;
bool reclaimed; /* P's cell */
bool taken;     /* the unit, by Q */
bool works[2]; /* a thread of P has looked, and its stores are not all in memory */

inline Reached(cpu, where, what)
{
  assert(where == CELL || !taken);
  assert(where != CELL || !reclaimed)
}
#include "tso.inc"

#define IS_MY_LIFE (state == LIVE)

inline Look()
{
  atomic {
#ifdef NO_LOOK
    works[me] = true
#else
    if
    :: IS_MY_LIFE -> works[me] = true
    :: else -> over = true
    fi
#endif
  }
}
inline Done() { atomic { FENCED(me) -> works[me] = false } }

proctype Sender()
{
  byte me = SENDER;
  byte steps = STEPS;
  bool over;
  {
    do
    :: !over && steps > 0 ->
       steps--;
       Look();
       if
       :: !over ->
          Store(me, PAYLOAD, 1);
          Store(me, COMMIT, 1);
          Done()
       :: over
       fi
    :: over || steps == 0 -> break
    od
  } unless {
    killed
  }
}

proctype Keeper()
{
  byte me = KEEPER;
  byte steps = STEPS;
  bool over;
  {
    do
    :: !over && steps > 0 ->
       steps--;
#ifdef RESTORES
       atomic { assert(state != FREE && state != OTHER); state = LIVE }
#endif
       Look();
       if
       :: !over && LOAD(me, CELL) != P_RING -> Store(me, CELL, P_RING); Done()
       :: !over && LOAD(me, CELL) == P_RING -> Done()
       :: over
       fi
    :: over || steps == 0 -> break
    od
  } unless {
    killed
  }
}

/* HostTransport: a connection is lost and made anew. */
proctype Reconnector()
{
  {
    has_lock[1] = true; /* of the file that the new greeting brings */
#ifdef REMAPS_FIRST
    has_lock[0] = false;
#endif
    /* MoveLife */
    atomic {
      if
      :: state == LIVE -> ivposition = 1
      :: else -> goto lost
      fi
    }
    has_lock[0] = false; /* the new mapping lies over the old one */
lost: skip
  } unless {
    killed
  }
}

/* Who confirms deaths: the server, or a peer of the same lock domain. */
proctype Server()
{
  byte judged;
  do
  :: state == LIVE ->
     judged = ivposition;
     if
#ifdef SOCKET_END
     :: true /* it may end at any time */
#endif
     :: !has_lock[judged]
     fi;
     atomic {
#ifdef MARKS_UNCHECKED
       state = DEAD
#else
       if
       :: state == LIVE && ivposition == judged -> state = DEAD
       :: else
       fi
#endif
     }
  :: state != LIVE -> break
  od
}

#ifdef WRONG
proctype Accuser()
{
  atomic { state == LIVE -> state = DEAD }
}
#endif

/* PeerTable::Reclaim, and those who take what is free */
proctype Others()
{
  state == DEAD;
  atomic {
#if defined(WRONG) && !defined(STOPPED)
    !works[SENDER] && !works[KEEPER] -> /* a step of P takes less time than all this */
#endif
    mem[CELL] = DISOWNED;
    reclaimed = true
  }
  atomic { state == DEAD -> state = FREE }
  if
  :: atomic { mem[CELL] == DISOWNED -> taken = true }
  :: mem[CELL] != DISOWNED
  fi;
  if
  :: atomic { state == FREE -> state = OTHER }
  :: state != FREE
  fi
}

proctype Machine()
{
  do
  :: Drain(SENDER)
  :: Drain(KEEPER)
  :: !killed -> killed = true
#ifdef EARLY_LOCK
  :: killed && (has_lock[0] || has_lock[1]) -> d_step { has_lock[0] = false; has_lock[1] = false }
#else
  :: killed && FENCED(SENDER) && FENCED(KEEPER) && (has_lock[0] || has_lock[1]) ->
     d_step {
       has_lock[0] = false;
       has_lock[1] = false;
       works[SENDER] = false;
       works[KEEPER] = false
     }
#endif
  od
}

init
{
  atomic {
    mem[CELL] = P_RING;
    has_lock[0] = true;
    run Machine();
    run Sender();
    run Keeper();
#ifdef RECONNECTS
    run Reconnector();
#endif
    run Server();
    run Others();
#ifdef WRONG
    run Accuser();
#endif
  }
  timeout -> assert(!killed || state == FREE || state == OTHER)
}
