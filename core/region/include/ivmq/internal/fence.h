// The processor-level primitives of the hot path.
#ifndef IVMQ_INTERNAL_FENCE_H_
#define IVMQ_INTERNAL_FENCE_H_

#include <emmintrin.h>

#include <atomic>

#if defined(__SANITIZE_THREAD__) || defined(IVMQ_SANITIZE_THREAD)
#define IVMQ_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define IVMQ_THREAD_SANITIZER 1
#endif
#endif

namespace ivmq {

// Orders every earlier store before every later load. It is needed between publishing a record and
// checking whether the consumer sleeps, and between arming and checking the rings again.
inline void FullFence() noexcept {
#ifdef IVMQ_THREAD_SANITIZER
  // ThreadSanitizer does not model fences; a read-modify-write is one on x86.
  static std::atomic<int> dummy;
  dummy.fetch_add(1, std::memory_order_seq_cst);
#else
  // What compilers emit for atomic_thread_fence differs: mfence costs twice a locked instruction.
  asm volatile("lock; orl $0, (%%rsp)" ::: "memory", "cc");
#endif
}

// Prefetches the line in a state in which it can be written. A hint: old processors ignore it.
inline void PrefetchForWrite(const void* address) noexcept {
  asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(address)));
}

// Tells the core that this is a spin loop.
inline void SpinPause() noexcept { _mm_pause(); }

}  // namespace ivmq

#endif  // IVMQ_INTERNAL_FENCE_H_
