#include "support/allocations.h"

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

thread_local std::uint64_t of_this_thread = 0;
thread_local bool has_no_memory = false;
std::atomic<std::uint64_t> of_all_threads{0};

void* Allocate(std::size_t size) noexcept {
  ++of_this_thread;
  of_all_threads.fetch_add(1, std::memory_order_relaxed);
  if (has_no_memory) return nullptr;
  void* const memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) std::abort();
  return memory;
}

void* AllocateOrThrow(std::size_t size) {
  void* const memory = Allocate(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// Not inlined: seen together, new and free look mismatched to the compiler.
#define REPLACED [[gnu::noinline]]
REPLACED void* operator new(std::size_t size) { return AllocateOrThrow(size); }
REPLACED void* operator new[](std::size_t size) { return AllocateOrThrow(size); }
REPLACED void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return Allocate(size);
}
REPLACED void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return Allocate(size);
}
REPLACED void operator delete(void* memory) noexcept { std::free(memory); }
REPLACED void operator delete[](void* memory) noexcept { std::free(memory); }
REPLACED void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
REPLACED void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace ivmq::testing {

std::uint64_t AllocationsOfThisThread() noexcept { return of_this_thread; }
std::uint64_t AllocationsOfAllThreads() noexcept {
  return of_all_threads.load(std::memory_order_relaxed);
}

NoMemory::NoMemory() noexcept { has_no_memory = true; }
NoMemory::~NoMemory() { has_no_memory = false; }

}  // namespace ivmq::testing
