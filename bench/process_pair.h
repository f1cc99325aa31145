// Two processes that measure something together, and the memory they share.
#ifndef IVMQ_BENCH_PROCESS_PAIR_H_
#define IVMQ_BENCH_PROCESS_PAIR_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace ivmq::bench {

enum class Side : std::uint8_t { kClient = 0, kServer = 1 };
[[nodiscard]] constexpr Side Other(Side side) noexcept {
  return side == Side::kClient ? Side::kServer : Side::kClient;
}

// Says what is wrong and ends this process with exit code 1; the other one of a pair follows.
[[noreturn]] void Fail(std::string_view what);

// Zeroed pages that a later fork shares. Thread-compatible.
class SharedMemory {
 public:
  // `touch`: every page is there before the first access.
  explicit SharedMemory(std::size_t bytes, bool touch = true);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  std::byte* data_;
  std::size_t size_;
};

// A value that both processes of a pair see. T is trivially destructible.
template <typename T>
class Shared {
 public:
  Shared() : memory_(sizeof(T)), value_(new (memory_.data()) T{}) {}
  T* operator->() const noexcept { return value_; }
  T& operator*() const noexcept { return *value_; }

 private:
  SharedMemory memory_;
  T* value_;
};

// A child process. It ends with this process, however that ends; if it fails, this process fails.
class Child {
 public:
  // Runs `body` in a child on `core`; -1: not pinned.
  Child(int core, const std::function<void()>& body);
  // Waits until it has ended.
  ~Child();
  // Asks it to end, by SIGTERM; a child without a handler of its own ends at once.
  void Terminate() noexcept;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

 private:
  pid_t pid_;
};

// How many cores the pair gets: 2, or 1 if the machine has no more.
int Cores();
// -1: may run anywhere.
void PinTo(int core);

// Runs `client` here on core 0 and `server` in a child on core 1. What both share is made before.
// `what` is named if the pair does not end within a minute.
void RunPair(const std::string& what, const std::function<void()>& client,
             const std::function<void()>& server);

}  // namespace ivmq::bench

#endif  // IVMQ_BENCH_PROCESS_PAIR_H_
