// A child process of a test. It dies with its parent, and its failed expectations fail the test.
#ifndef IVMQ_TESTS_SUPPORT_CHILD_H_
#define IVMQ_TESTS_SUPPORT_CHILD_H_

#include <sys/types.h>

#include <array>
#include <functional>
#include <memory>
#include <optional>

namespace ivmq::testing {

// Thread-compatible. Fork while the test has no other threads.
class Child {
 public:
  // Runs `body` in a forked process, which then ends: with 0, or with 1 if an EXPECT or ASSERT
  // failed.
  static Child Fork(const std::function<void()>& body);

  // Takes a child process over; -1: none.
  explicit Child(pid_t pid = -1) noexcept : pid_(pid) {}
  Child(Child&& other) noexcept;
  Child& operator=(Child&& other) noexcept;
  // Kills the process if it still runs.
  ~Child();

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  void Signal(int signal) const;
  // SIGKILL, and waits until the kernel has given back everything the process held.
  void Kill();
  // Stops it; returns once it stands still.
  void Stop() const;
  void Continue() const;
  // Waits for its end: the exit status, or 128 + the signal that ended it.
  int Wait();

  // Leaves it to somebody else.
  void Release() noexcept { pid_ = -1; }

 private:
  pid_t pid_;
};

// For tests that fork otherwise: call it before. ASan's allocator has locks that a forked child
// inherits as they are, and the copy of one that another thread holds is never given back; so this
// waits until no other thread is in it.
void AwaitQuietAllocator();

// Runs `body` in a child, also while the test has other threads, if it needs nothing that they may
// hold. What Child::Wait() says of its end.
int RunInChild(const std::function<void()>& body);

// A process whose own child does nothing and lives on when it is killed. Both end with this object.
// Thread-compatible.
class ProcessWithChild {
 public:
  // The process runs `open` before it forks, and keeps what that returns. Returns when both live.
  explicit ProcessWithChild(const std::function<std::shared_ptr<void>()>& open);
  ~ProcessWithChild();
  ProcessWithChild(const ProcessWithChild&) = delete;
  ProcessWithChild& operator=(const ProcessWithChild&) = delete;

  // Kills the process, and not its child.
  void Kill() { parent_->Kill(); }

 private:
  std::array<int, 2> end_{};  // the child reads from it until this object closes it
  std::optional<Child> parent_;
};

// Counts up across processes; made before forking. Thread-safe.
class SharedCounter {
 public:
  SharedCounter();
  ~SharedCounter();
  SharedCounter(const SharedCounter&) = delete;
  SharedCounter& operator=(const SharedCounter&) = delete;

  void Add(unsigned amount = 1) noexcept;
  [[nodiscard]] unsigned value() const noexcept;
  // Yields until the count has reached `value`.
  void AwaitAtLeast(unsigned value) const noexcept;

 private:
  unsigned* count_;
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_SUPPORT_CHILD_H_
