// What a forked child has of its parent's objects.
#ifndef IVMQ_INTERNAL_KEEP_FOREVER_H_
#define IVMQ_INTERNAL_KEEP_FOREVER_H_

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace ivmq {

// For a copy that cannot be destroyed: threads that the child does not have may hold its locks and
// sleep on its conditions. Kept reachable, since it is no leak. Thread-safe.
inline void KeepForever(std::shared_ptr<void> copy) {
  static std::mutex mutex;
  static auto& kept = *new std::vector<std::shared_ptr<void>>;
  const std::lock_guard lock(mutex);
  kept.push_back(std::move(copy));
}

}  // namespace ivmq

#endif  // IVMQ_INTERNAL_KEEP_FOREVER_H_
