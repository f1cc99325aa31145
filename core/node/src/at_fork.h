// Runs code in forked children.
#ifndef IVMQ_AT_FORK_H_
#define IVMQ_AT_FORK_H_

#include <functional>

#include "ivmq/status.h"

namespace ivmq {

// While it lives, each child that this process forks runs `in_child` before fork() returns there:
// the child's only thread does, whatever locks the other threads held. Not in children of vfork(),
// posix_spawn(), _Fork() or a bare clone(): those may only exec or exit. Thread-safe.
class AtFork {
 public:
  explicit AtFork(std::function<void()> in_child);
  ~AtFork();
  AtFork(const AtFork&) = delete;
  AtFork& operator=(const AtFork&) = delete;

  // RESOURCE_EXHAUSTED if the C library could not note it down. To be asked once it exists.
  [[nodiscard]] Status status() const;

 private:
  friend struct AtForkHandlers;

  const std::function<void()> in_child_;
};

}  // namespace ivmq

#endif  // IVMQ_AT_FORK_H_
