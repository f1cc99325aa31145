/* Carving rings from the arena, and taking them back (core/region/src/arena.cc; PeerTable::Reclaim,
 * Readers::Housekeep; docs/wire-format.md "Directory and arena", docs/adr/0001 and 0003).
 *
 * Producers in slots 0 and 1 carve rings of one or two units, out of two, to a consumer in slot 2.
 * Each may be killed at any step. Once the death is confirmed, somebody reclaims at any pace, and
 * the slot is claimed again: with LIVES=2 slot 0 lives twice, and QUICK reclaims are done by a
 * second peer, in one step each. With MORTAL the consumer dies as well and another one takes its
 * slot. ONE_DIES: slot 1 is never killed. COARSE: rings of two units only, and a look at all units
 * is one step.
 *
 * Properties
 * - A unit never belongs to two live rings, and cells that point at units point at units that
 *   point back: LiveCheck, when a live cell reaches memory; Steal, when an owner word changes.
 * - Nothing live is reclaimed: FreeCheck, when somebody empties a cell.
 * - No ring stands in a slot that is free or has another owner: LiveCheck.
 * - What the consumer finds live is a ring with its header: ReadRow.
 * - No leak: when all are dead, one look at each slot frees it and its units: the end of init.
 * A process is confirmed dead only when it executes nothing more and its stores are in memory.
 *
 * Mutations: OWNER_UNCHECKED (an owner word is stored, not compared and swapped), OWNERS_FIRST
 * (units are claimed before the cell names them), LIVE_FIRST (the cell is live before its units
 * are claimed), LATE_HEADER (the header is written when the cell is live), FREE_UNCHECKED (a cell
 * is emptied by a store), FORGETS_GENERATION (an emptied cell begins with generation 0 again),
 * CELL_UNFENCED (the cell is stored without a fence) and CONSUMER_UNCHECKED (the consumer's life
 * is not looked at after that), JUDGES_FIRST (Reclaim reads the lives before the cell).
 */
#ifndef LIVES
#define LIVES 1
#endif
#ifdef COARSE
#define NO_ROOM (taken0 || taken1)
#else
#define NO_ROOM (taken0 && taken1)
#endif
#ifndef QUICK
#define QUICK 0 /* reclaims of one slot by the quick reclaimer */
#endif
#define UNITS 2
#define CPUS 2
#define DEPTH 2

/* The words of the region. Peers' life words are in life[] below: they are changed by locked
 * instructions only. */
#define CELL(producer) (producer) /* (consumer 2, producer) of the directory */
#define OWNER(unit) (2 + (unit))
#define HEADER(unit) (2 + UNITS + (unit)) /* RingHeader: cell and generation, as an owner word */
#define WORDS (2 + 2 * UNITS)

/* layout::Cell and layout::Owner */
#define EMPTY 0
#define CARVING 1
#define LIVE 2
#define TO_CELL(generation, first, units, state) \
  ((generation) * 32 + (first) * 16 + (units) * 4 + (state))
#define STATE(cell) ((cell) % 4)
#define LENGTH(cell) (((cell) / 4) % 4)
#define FIRST(cell) (((cell) / 16) % 2)
#define GENERATION(cell) ((cell) / 32)
#define EMPTIED(cell) TO_CELL(GENERATION(cell), 0, 0, EMPTY)
#define TO_OWNER(generation, producer) ((generation) * 4 + (producer) + 1)
#define COVERS(cell, unit) \
  (STATE(cell) != EMPTY && FIRST(cell) <= (unit) && (unit) < FIRST(cell) + LENGTH(cell))
/* Arena::IsTaken, for an owner word that is not 0 and the cell that it names. */
#define TAKEN(owner, cell, unit) ((owner) / 4 == GENERATION(cell) && COVERS(cell, unit))

/* layout::Life: incarnation and state */
#define FREE 0
#define ALIVE 1
#define DEAD 2
#define TO_LIFE(incarnation, state) ((incarnation) * 4 + (state))
#define INCARNATION(life) ((life) / 4)
#define LIFE_STATE(life) ((life) % 4)
#define CONSUMER 2
byte life[3];
bool killed[2];
bool killed_once; /* the other producer begins with the second life of slot 0 */
bool over;        /* nobody claims a slot any more */

/* Ghosts: the lives that the cell's present generation was carved by and for. */
byte carved_by[2];
byte carved_for[2];

#define POINTS_BACK(p, cell, unit) \
  (!COVERS(cell, unit) || mem[OWNER(unit)] == TO_OWNER(GENERATION(cell), p))
#define OVERLAP(unit) \
  (STATE(mem[0]) == LIVE && STATE(mem[1]) == LIVE && COVERS(mem[0], unit) && COVERS(mem[1], unit))

inline LiveCheck(p, cell)
{
  assert(POINTS_BACK(p, cell, 0) && POINTS_BACK(p, cell, 1));
  assert(!OVERLAP(0) && !OVERLAP(1));
  assert(life[CONSUMER] == TO_LIFE(carved_for[p], ALIVE) ||
         life[CONSUMER] == TO_LIFE(carved_for[p], DEAD))
}

inline Reached(cpu, where, what)
{
  if
  :: where < 2 && STATE(what) == LIVE -> LiveCheck(where, what)
  :: else
  fi
}
#include "tso.inc"

/* An owner word changes: the unit must not be that of a live ring. */
inline Steal(unit)
{
  if
  :: mem[OWNER(unit)] != 0 ->
     assert(!(STATE(mem[CELL(mem[OWNER(unit)] % 4 - 1)]) == LIVE &&
              TAKEN(mem[OWNER(unit)], mem[CELL(mem[OWNER(unit)] % 4 - 1)], unit)))
  :: else
  fi
}

/* A cell is emptied; who: OF_PRODUCER, OF_CONSUMER, OF_OTHERS. */
#define OF_PRODUCER 0
#define OF_CONSUMER 1
#define OF_OTHERS 2
inline FreeCheck(p, who)
{
  /* A living producer does it itself. */
  assert(who == OF_PRODUCER || life[p] != TO_LIFE(carved_by[p], ALIVE));
  /* What a dead one left, its living consumer takes out first. */
  assert(who == OF_CONSUMER || STATE(mem[CELL(p)]) != LIVE ||
         life[CONSUMER] != TO_LIFE(carved_for[p], ALIVE))
}

/* Arena::Free */
inline Free(p, word, who)
{
#ifdef FREE_UNCHECKED
  atomic { FreeCheck(p, who); mem[CELL(p)] = EMPTIED(word) }
#else
  atomic {
    if
    :: mem[CELL(p)] == word ->
       FreeCheck(p, who);
#ifdef FORGETS_GENERATION
       mem[CELL(p)] = 0
#else
       mem[CELL(p)] = EMPTIED(word)
#endif
    :: else
    fi
  }
#endif
}

/* One load of an owner word and one of the cell that it names: UnitMap. */
inline LookAt(unit, seen, taken)
{
  seen = LOAD(me, OWNER(unit));
  atomic {
    if
    :: seen == 0 -> taken = false
    :: else -> taken = TAKEN(seen, LOAD(me, CELL(seen % 4 - 1)), unit)
    fi
  }
}

/* compare_exchange of an owner word from the value that it had at the look */
inline ClaimUnit(unit, seen)
{
  atomic {
    FENCED(me) && COVERS(cell, unit) && !lost ->
#ifdef OWNER_UNCHECKED
    Steal(unit);
    mem[OWNER(unit)] = TO_OWNER(GENERATION(cell), me)
#else
    if
    :: mem[OWNER(unit)] == seen ->
       Steal(unit);
       mem[OWNER(unit)] = TO_OWNER(GENERATION(cell), me)
    :: else -> lost = true
    fi
#endif
  }
}
inline ClaimUnits()
{
  if
  :: ClaimUnit(0, seen0)
  :: !COVERS(cell, 0)
  fi;
  if
  :: ClaimUnit(1, seen1)
  :: lost || !COVERS(cell, 1)
  fi
}

#define GiveUp() Store(me, CELL(me), EMPTIED(cell))

inline StoreCarving()
{
#ifdef CELL_UNFENCED
  atomic {
    carved_by[me] = incarnation;
    carved_for[me] = consumer;
    Store(me, CELL(me), cell)
  }
#else
  atomic {
    FENCED(me) ->
    mem[CELL(me)] = cell;
    carved_by[me] = incarnation;
    carved_for[me] = consumer
  }
#endif
}

/* What is not needed any more must not tell states apart. */
inline Forget()
{
  d_step { cell = 0; seen0 = 0; seen1 = 0; taken0 = false; taken1 = false; lost = false }
}

/* Arena::Carve. ChooseRun takes some run of free units: which one is its own affair. */
inline Carve()
{
  cell = LOAD(me, CELL(me));
  cell = EMPTIED(cell);
  do
  ::
#ifdef COARSE
     atomic {
       LookAt(0, seen0, taken0);
       LookAt(1, seen1, taken1)
     }
#else
     LookAt(0, seen0, taken0);
     LookAt(1, seen1, taken1);
#endif
     cell = EMPTIED(cell) + TO_CELL(1, 0, 0, EMPTY);
     lost = false;
     if
     :: atomic { !taken0 && !taken1 -> cell = cell + TO_CELL(0, 0, 2, CARVING) }
#ifndef COARSE
     :: atomic { !taken0 -> cell = cell + TO_CELL(0, 0, 1, CARVING) }
     :: atomic { !taken1 -> cell = cell + TO_CELL(0, 1, 1, CARVING) }
#endif
     :: NO_ROOM -> cell = cell - TO_CELL(1, 0, 0, EMPTY); GiveUp(); break
     fi;
#ifdef OWNERS_FIRST
     ClaimUnits();
#endif
     StoreCarving();
#ifndef CONSUMER_UNCHECKED
     if
     :: life[CONSUMER] != TO_LIFE(consumer, ALIVE) -> GiveUp(); break
     :: life[CONSUMER] == TO_LIFE(consumer, ALIVE)
     fi;
#endif
#ifdef LIVE_FIRST
     Store(me, CELL(me), cell - CARVING + LIVE);
#endif
#ifndef OWNERS_FIRST
     ClaimUnits();
#endif
     if
     :: lost -> GiveUp()
     :: !lost ->
#ifndef LATE_HEADER
        Store(me, HEADER(FIRST(cell)), TO_OWNER(GENERATION(cell), me)); /* and Initialize() */
#endif
#ifndef LIVE_FIRST
        Store(me, CELL(me), cell - CARVING + LIVE);
#endif
#ifdef LATE_HEADER
        Store(me, HEADER(FIRST(cell)), TO_OWNER(GENERATION(cell), me));
#endif
        FENCED(me); /* inbound_changes.fetch_add */
        break
     fi
  od;
  Forget()
}

proctype Producer(byte me; byte lives)
{
  byte incarnation;
  byte consumer; /* incarnation of the consumer that it carves for */
  short cell;
  short seen0;
  short seen1;
  bool taken0;
  bool taken1;
  bool lost;

  do
  :: lives > 0 ->
     /* PeerTable::Claim, as one step */
     atomic {
       LIFE_STATE(life[me]) == FREE && !over && (me == 0 || LIVES == 1 || killed_once) ->
       incarnation = INCARNATION(life[me]) + 1;
       life[me] = TO_LIFE(incarnation, ALIVE);
       lives--
     }
     {
       /* RingWriter::Open */
       atomic { LIFE_STATE(life[CONSUMER]) == ALIVE -> consumer = INCARNATION(life[CONSUMER]) }
       Carve();
#ifdef MORTAL
       /* Writers::Housekeep */
       life[CONSUMER] != TO_LIFE(consumer, ALIVE);
       cell = LOAD(me, CELL(me));
       if
       :: STATE(cell) != EMPTY && FENCED(me) -> Free(me, cell, OF_PRODUCER)
       :: STATE(cell) == EMPTY
       fi;
#endif
       killed[me]
     } unless {
       killed[me] -> Forget()
     }
     /* The death is confirmed. */
     atomic {
       FENCED(me) ->
       life[me] = TO_LIFE(incarnation, DEAD);
       killed[me] = false;
       incarnation = 0;
       consumer = 0
     }
  :: lives == 0 -> break
  od
}

/* One use in PeerTable::Reclaim of the slot `dead`: producer p's cell in the consumer's row. */
inline ReclaimCell(dead, p)
{
#ifdef JUDGES_FIRST
  other = life[CONSUMER + p - dead];
  word = mem[CELL(p)];
#else
  word = mem[CELL(p)];
  if
  :: life[dead] == judged
  :: life[dead] != judged -> in_use = true /* not the life that was judged */
  fi;
  other = life[CONSUMER + p - dead];
#endif
  if
  :: STATE(word) == EMPTY || in_use
  :: STATE(word) != EMPTY && !in_use ->
     if
     :: LIFE_STATE(other) == ALIVE && !(STATE(word) == CARVING && dead != CONSUMER) -> in_use = true
     :: else -> Free(p, word, OF_OTHERS)
     fi
  fi;
  word = 0;
  other = 0
}

inline FreeSlot(slot)
{
  atomic {
    if
    :: !in_use && life[slot] == judged -> life[slot] = TO_LIFE(INCARNATION(judged), FREE)
    :: else
    fi;
    in_use = false;
    judged = 0
  }
}

inline ReclaimSlot(slot)
{
  atomic { LIFE_STATE(life[slot]) == DEAD -> judged = life[slot]; passes-- }
  if
  :: slot != 1 -> ReclaimCell(slot, 0)
  :: slot == 1
  fi;
  if
  :: slot != 0 && !in_use -> ReclaimCell(slot, 1)
  :: slot == 0 || in_use
  fi;
  atomic {
    if
    :: !in_use && life[slot] == judged -> life[slot] = TO_LIFE(INCARNATION(judged), FREE)
    :: else
    fi;
    in_use = false;
    judged = 0
  }
}

#define DIED(slot) (passes > 0 && LIFE_STATE(life[slot]) == DEAD)

/* PeerTable::Reclaim, for one slot a pass; CONSUMER + p - dead is the other end of the cell. */
proctype Reclaimer(byte passes)
{
  byte judged;
  byte other;
  short word;
  bool in_use;
  do
  :: DIED(0) -> ReclaimSlot(0)
  :: DIED(1) -> ReclaimSlot(1)
#ifdef MORTAL
  :: DIED(CONSUMER) -> ReclaimSlot(CONSUMER)
#endif
  :: passes == 0 -> break
  od
}

/* The same by somebody who is so quick that nobody does anything meanwhile. */
proctype QuickReclaimer(byte passes)
{
  byte judged;
  byte other;
  short word;
  bool in_use;
  do
  :: atomic { DIED(0) -> ReclaimSlot(0) }
  :: atomic { DIED(1) -> ReclaimSlot(1) }
#ifdef MORTAL
  :: atomic { DIED(CONSUMER) -> ReclaimSlot(CONSUMER) }
#endif
  :: passes == 0 -> break
  od
}

/* Of the consumer: what it opened (InLink::cell_word, InLink::from). */
short opened[2];
byte from[2];

/* Readers::ReadRow, RingReader::Open */
inline ReadRow(p)
{
  atomic {
    STATE(mem[CELL(p)]) == LIVE && mem[CELL(p)] != opened[p] &&
      LIFE_STATE(life[CONSUMER]) == ALIVE ->
    opened[p] = mem[CELL(p)];
    assert(mem[HEADER(FIRST(opened[p]))] == TO_OWNER(GENERATION(opened[p]), p)); /* Describes */
    from[p] = INCARNATION(life[p])
  }
}

/* Readers::Housekeep, of a ring whose committed records have been handled */
inline Housekeep(p)
{
  atomic {
    opened[p] != 0 && life[p] != TO_LIFE(from[p], ALIVE) && LIFE_STATE(life[CONSUMER]) == ALIVE ->
    Free(p, opened[p], OF_CONSUMER);
    opened[p] = 0;
    from[p] = 0
  }
}

proctype Consumer()
{
  do
  :: ReadRow(0)
  :: ReadRow(1)
  :: Housekeep(0)
  :: Housekeep(1)
#ifdef MORTAL
  :: LIFE_STATE(life[CONSUMER]) == FREE && !over -> /* another one takes the slot */
     life[CONSUMER] = TO_LIFE(INCARNATION(life[CONSUMER]) + 1, ALIVE)
#endif
  od
}

#if LIVES > 1
#define KilledOnce killed_once = true
#else
#define KilledOnce skip
#endif

/* Store buffers drain and processes are killed, at any time. */
proctype Machine()
{
  do
  :: Drain(0)
  :: Drain(1)
  :: atomic { !killed[0] && LIFE_STATE(life[0]) == ALIVE && !over -> killed[0] = true; KilledOnce }
#ifndef ONE_DIES
  :: !killed[1] && LIFE_STATE(life[1]) == ALIVE && !over -> killed[1] = true
#endif
#ifdef MORTAL
  :: life[CONSUMER] == TO_LIFE(1, ALIVE) && !over ->
     d_step {
       life[CONSUMER] = TO_LIFE(1, DEAD);
       opened[0] = 0;
       opened[1] = 0;
       from[0] = 0;
       from[1] = 0
     }
#endif
  od
}

#define NOT_TAKEN(unit)                                                       \
  (mem[OWNER(unit)] == 0 ||                                                   \
   !TAKEN(mem[OWNER(unit)], mem[CELL(mem[OWNER(unit)] % 4 - 1)], unit))

inline Dies(slot)
{
  if
  :: LIFE_STATE(life[slot]) == ALIVE -> life[slot] = TO_LIFE(INCARNATION(life[slot]), DEAD)
  :: else
  fi
}

init
{
  atomic {
    life[CONSUMER] = TO_LIFE(1, ALIVE);
    run Machine();
    run Producer(0, LIVES);
    run Producer(1, 1);
    run Consumer();
    run Reclaimer(1);
    run QuickReclaimer(QUICK)
  }
  /* When nothing moves any more, the producers die, the consumer does what it has to do, and each
   * dead slot is looked at once more. */
  atomic { timeout -> over = true; Dies(0); Dies(1) }
  timeout -> run QuickReclaimer(3);
  timeout -> assert(LIFE_STATE(life[0]) == FREE && LIFE_STATE(life[1]) == FREE);
  assert(NOT_TAKEN(0) && NOT_TAKEN(1))
}
