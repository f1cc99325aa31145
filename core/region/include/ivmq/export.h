// Included by every public header, before other headers of ivmq.
#ifndef IVMQ_EXPORT_H_
#define IVMQ_EXPORT_H_

#if __cplusplus < 202002L
#error "ivmq needs C++20: compile with -std=c++20 or later"
#include "ivmq/needs_cxx_20.h"  // does not exist: ends the compilation before further errors
#endif

// What programs that use the library may refer to. The library is compiled with
// -fvisibility=hidden: everything else is private to it.
#define IVMQ_EXPORT [[gnu::visibility("default")]]
// A private part of a class that is exported.
#define IVMQ_HIDDEN [[gnu::visibility("hidden")]]

#endif  // IVMQ_EXPORT_H_
