#include "src/at_fork.h"

#include <pthread.h>

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "ivmq/internal/str_cat.h"

namespace ivmq {

struct AtForkHandlers {
  std::mutex mutex;  // held across a fork, so that the child finds `all` whole
  std::vector<const AtFork*> all;
  int error = pthread_atfork([] { Get().mutex.lock(); }, [] { Get().mutex.unlock(); }, RunInChild);

  // Never destroyed: a node in static storage may go later, and a process may fork while it ends.
  static AtForkHandlers& Get() {
    static AtForkHandlers& handlers = *new AtForkHandlers;
    return handlers;
  }
  static void RunInChild() {
    for (const AtFork* const each : Get().all) each->in_child_();
    Get().mutex.unlock();
  }
};

AtFork::AtFork(std::function<void()> in_child) : in_child_(std::move(in_child)) {
  AtForkHandlers& handlers = AtForkHandlers::Get();
  const std::lock_guard lock(handlers.mutex);
  handlers.all.push_back(this);
}

AtFork::~AtFork() {
  AtForkHandlers& handlers = AtForkHandlers::Get();
  const std::lock_guard lock(handlers.mutex);
  std::erase(handlers.all, this);
}

Status AtFork::status() const {
  const int error = AtForkHandlers::Get().error;
  if (error == 0) return {};
  return {StatusCode::kResourceExhausted, StrCat("pthread_atfork: error ", error)};
}

}  // namespace ivmq
