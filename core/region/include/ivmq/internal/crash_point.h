// IVMQ_CRASH_POINT("area.step"): a step at which a peer may die and others have to cope with what
// it leaves. Nothing in a normal build. A test build defines IVMQ_CRASH_POINTS as the name of a
// header, in which the macro ends the process when its turn has come.
#ifndef IVMQ_INTERNAL_CRASH_POINT_H_
#define IVMQ_INTERNAL_CRASH_POINT_H_

#ifdef IVMQ_CRASH_POINTS
#include IVMQ_CRASH_POINTS
#else
#define IVMQ_CRASH_POINT(label) static_cast<void>(0)
#endif

#endif  // IVMQ_INTERNAL_CRASH_POINT_H_
