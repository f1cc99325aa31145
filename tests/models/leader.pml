/* Which thread polls for the calls of an endpoint (proto/rpc/src/polling.cc): see docs/polling.md.
 *
 * CALLERS threads wait for one answer each. With IMPATIENT the last of them may reach its deadline at
 * any step, and goes. With LOOP an event loop sleeps on Node::Fd(), or leads and sleeps as leader; a
 * task is posted, or with REQUEST a message comes that no caller waits for. With COMES the loop is
 * not there from the start. The node's sleep is as in sleeper.pml. Everybody sees a step at once: a
 * store without its fence is one that comes behind the next load.
 *
 * Properties: one thread polls at a time, the assertion in Poll; and no lost wake-up. When nothing
 * moves any more, every caller has its answer or has gone, and with a loop every message and task is
 * done: the assertions in Watch.
 *
 * Mutations: LOOKS_FIRST (a follower looks for a leader before it is listed), LISTED_ONLY (it looks
 * for none), NO_PROMOTION (a lead that is given back goes to nobody), KEEPS_PROMOTION (one that is
 * promoted at its deadline goes with it), UNARMED (a caller that ends does not arm for the loop),
 * FORGETS_LOOP (it does not look for the loop's note), PASSES_LATE (the loop looks for a leader before
 * it leaves its note), TAKES_NOTE (one that leads no more takes the note), TASKS_UNSEEN (one that arms
 * does not look for tasks).
 */
#ifndef CALLERS
#define CALLERS 2
#endif
#ifdef LOOP
#define EARLY true
#else
#define EARLY false
#endif

/* ---- The node ---- */

/* What is committed and not handled: the callers' answers, which with LOOP are there from the start,
 * and a message for nobody who waits. */
bool answer[CALLERS] = EARLY;
bool request;
bool armed;          /* PeerSlot::armed is odd */
bool rung;           /* for this value of it */
bool wake_requested;
bool asleep; /* an event for Node::Wait */
bool loop;   /* an event in Node::Fd() */

#if CALLERS == 2
#define HAS_WORK (answer[0] || answer[1] || request)
#else
#define HAS_WORK (answer[0] || answer[1] || answer[2] || request)
#endif

/* Node::Wake */
inline Wake()
{
  d_step {
    wake_requested = true;
    asleep = true;
    loop = true
  }
}

inline Arm()
{
  d_step {
    armed = true;
    rung = false
  }
}

/* Behind Arm(): whether the node may sleep. */
inline LookArmed()
{
  d_step {
    if
    :: HAS_WORK -> armed = false; arms = false
    :: !HAS_WORK && wake_requested -> wake_requested = false; armed = false; arms = false
    :: else -> arms = true
    fi
  }
}

/* Node::Wait, without its time limit and its spinning */
inline NodeWait()
{
  do
  :: Arm();
     LookArmed();
     if
     :: !arms -> break
     :: else
     fi;
     d_step { asleep -> asleep = false; armed = false; arms = false }
  od
}

/* Node::Arm */
inline NodeArm()
{
  Arm();
  LookArmed()
}

/* ---- Polling ---- */

bool leading;
byte followers;
bool sleeps_leading;
#if defined(LOOP) && !defined(COMES)
bool has_loop = true;
#else
bool has_loop;
#endif
bool loop_passed;
bool task; /* posted and not run */
bool polling;

bool done[CALLERS];
bool promoted[CALLERS];
bool listed[CALLERS];
bool gone[CALLERS];

/* Polling::Poll */
inline Poll()
{
  d_step {
    assert(!polling);
    polling = true;
    if
    :: armed -> armed = false; loop = false /* Poller::Attend */
    :: else
    fi
  }
  d_step {
    done[0] = done[0] || answer[0];
    done[1] = done[1] || answer[1];
    answer[0] = false;
    answer[1] = false;
#if CALLERS > 2
    done[2] = done[2] || answer[2];
    answer[2] = false;
#endif
    request = false;
    task = false;
    polling = false
  }
}

/* Polling::ArmNode */
inline NodeArmUnlessTasks()
{
#ifdef TASKS_UNSEEN
  NodeArm()
#else
  if
  :: task -> arms = false
  :: else -> NodeArm()
  fi
#endif
}

/* Polling::Promote */
inline Promote()
{
#ifndef NO_PROMOTION
  atomic {
    if
    :: listed[0] -> listed[0] = false; followers--; promoted[0] = true
    :: listed[1] -> listed[1] = false; followers--; promoted[1] = true
#if CALLERS > 2
    :: listed[2] -> listed[2] = false; followers--; promoted[2] = true
#endif
    :: else
    fi
  }
#else
  skip
#endif
}

/* Polling::EndLeadUnarmed */
inline EndLeadUnarmed()
{
  leading = false;
  if
  :: followers != 0 -> Promote()
  :: else
  fi
}

/* Polling::EndLead */
inline EndLead()
{
  do
  :: saw_loop = has_loop;
#ifndef UNARMED
     if
     :: saw_loop ->
        do
        :: NodeArmUnlessTasks();
           if
           :: arms -> break
           :: else -> Poll()
           fi
        od
     :: else
     fi;
#endif
     EndLeadUnarmed();
     if
     :: saw_loop ->
#ifdef FORGETS_LOOP
        break
#elif defined(TAKES_NOTE)
        if
        :: atomic { loop_passed -> loop_passed = false }
        :: else -> break
        fi
#else
        if
        :: loop_passed
        :: else -> break
        fi
#endif
     :: !saw_loop ->
        if
        :: has_loop
        :: else -> break
        fi
     fi;
     if
     :: atomic { !leading -> leading = true }
     :: else -> break
     fi;
#ifndef TAKES_NOTE
     loop_passed = false
#endif
  od;
  arms = false;
  saw_loop = false
}

/* Polling::Await and Polling::Follow */
active [CALLERS] proctype Caller()
{
  bool arms;
  bool saw_loop;
  bool late;
  bool was_promoted;
  do
  :: done[_pid] || late -> break
  :: else ->
     if
     :: atomic { !leading -> leading = true }
        was_promoted = false;
        do /* Polling::Lead */
        :: Poll();
           if
           :: done[_pid] -> break
           :: else
           fi;
#ifdef IMPATIENT
           if
           :: _pid == CALLERS - 1 -> late = true; break
           :: NodeWait()
           fi
#else
           NodeWait()
#endif
        od;
        EndLead()
     :: else ->
#ifdef LOOKS_FIRST
        arms = leading;
#endif
        atomic {
          promoted[_pid] = false;
          listed[_pid] = true;
          followers++
        }
#ifdef LOOKS_FIRST
        if
        :: !arms ->
#elif defined(LISTED_ONLY)
        if
        :: false ->
#else
        if
        :: !leading ->
#endif
           if
           :: atomic { !leading -> leading = true } EndLeadUnarmed()
           :: else
           fi
        :: else
        fi;
        arms = false;
        if
        :: sleeps_leading -> Wake()
        :: else
        fi;
        if
        :: done[_pid] || promoted[_pid] /* PollWaiter::Sleep */
#ifdef IMPATIENT
        :: _pid == CALLERS - 1 -> late = true
#endif
        fi;
        atomic {
          if
          :: listed[_pid] -> listed[_pid] = false; followers--; was_promoted = false
          :: else -> was_promoted = true
          fi
        }
     fi
  od;
  if
#ifdef KEEPS_PROMOTION
  :: was_promoted && !late ->
#else
  :: was_promoted ->
#endif
     if
     :: atomic { !leading -> leading = true } EndLead()
     :: else
     fi
  :: else
  fi;
  gone[_pid] = true
}

#ifdef LOOP
/* Polling::Loop, which never stops */
active proctype Loop()
{
  bool arms;
#ifdef COMES
  has_loop = true; /* Polling::SetHasLoop */
#endif
  do
  :: if
     :: atomic { !leading -> leading = true }
        if
        :: true -> /* Polling::SleepLeading */
           Poll();
           sleeps_leading = true;
           if
           :: followers == 0 -> NodeWait()
           :: else
           fi;
           sleeps_leading = false;
           EndLeadUnarmed();
           goto next
        :: true -> /* Polling::PollWhileBusy */
           Poll();
           EndLeadUnarmed()
        fi
     :: else
     fi;
     if /* Polling::Arm */
     :: atomic { !leading -> leading = true }
        loop_passed = false;
        NodeArmUnlessTasks();
        EndLeadUnarmed()
     :: else ->
        loop = false;
#ifdef PASSES_LATE
        arms = leading;
        loop_passed = true
#else
        loop_passed = true;
        arms = leading
#endif
     fi;
     if
     :: arms -> arms = false; loop /* the loop's poll() of Fd() takes nothing */
     :: else
     fi;
next: skip
  od
}

#ifndef REQUEST
active proctype Poster()
{
  task = true;
  Wake()
}
#endif
#endif

inline Ring()
{
  if
  :: d_step { armed && !rung -> rung = true; asleep = true; loop = true }
  :: else
  fi
}

#if !defined(LOOP) || defined(REQUEST)
active proctype Producer()
{
#ifndef LOOP
  byte i;
  do
  :: i < CALLERS -> answer[i] = true; Ring(); i++
  :: else -> break
  od
#else
  request = true;
  Ring()
#endif
}
#endif

active proctype Watch()
{
  timeout ->
  assert(gone[0] && gone[1]);
#if CALLERS > 2
  assert(gone[2]);
#endif
#ifdef LOOP
  assert(!request && !task)
#endif
}
