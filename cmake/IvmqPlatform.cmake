# The region is shared between machines that see each other's stores directly, so the memory order
# of the processor is part of the wire protocol. It is checked for x86-64 (total store order) only.
include(CheckCXXSourceCompiles)

if(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
  message(FATAL_ERROR "ivmq needs Linux (eventfd, memfd, sysfs); this build targets "
    "'${CMAKE_SYSTEM_NAME}'.")
endif()

check_cxx_source_compiles("
#if !defined(__x86_64__) || defined(__ILP32__)
#error not x86-64
#endif
int main() {}" IVMQ_TARGET_IS_X86_64)
if(NOT IVMQ_TARGET_IS_X86_64)
  message(FATAL_ERROR "ivmq supports x86-64 only; this build targets "
    "'${CMAKE_SYSTEM_PROCESSOR}'. Its sleep and wake-up protocol has been checked against the "
    "x86-TSO memory model alone, and its region is little-endian with 8-byte atomics. Configure "
    "for an x86-64 target (see CMAKE_TOOLCHAIN_FILE and CMAKE_CXX_FLAGS).")
endif()
