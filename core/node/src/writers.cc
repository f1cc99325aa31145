#include "src/writers.h"

#include <mutex>

namespace ivmq {

Writers::Writers(NodeContext& context) : context_(context), writers_(context.region.max_peers()) {
  for (std::uint32_t s = 0; s < writers_.size(); ++s) writers_[s].Begin(context, s);
}

void Writers::Housekeep() {
  for (RingWriter& writer : writers_) {
    RingLock& ring_lock = writer.ring_lock();
    if (!ring_lock.try_lock()) continue;  // in use: next time
    const std::lock_guard lock(ring_lock, std::adopt_lock);
    if (!context_.IsMyLife()) return;
    if (ring_lock.IsFreeFor(nullptr)) {
      writer.LookAfter();
    } else {
      writer.RequestCare();
    }
  }
  FreeUnread();
}

void Writers::FreeUnread() {
  for (RingWriter& writer : writers_) {
    if (!writer.HasCell()) continue;
    RingLock& ring_lock = writer.ring_lock();
    if (!ring_lock.try_lock()) continue;  // in use: next time
    const std::lock_guard lock(ring_lock, std::adopt_lock);
    if (ring_lock.IsFreeFor(nullptr)) writer.FreeIfUnread();
  }
}

void Writers::PublishCommitted() noexcept {
  for (RingWriter& writer : writers_) {
    const std::lock_guard lock(writer.ring_lock());
    writer.PublishCommitted();
  }
}

std::vector<RingPosition> Writers::PredecessorsEnds() {
  std::vector<RingPosition> ends;
  for (RingWriter& writer : writers_) {
    if (const auto end = writer.PredecessorsEnd()) ends.push_back(*end);
  }
  return ends;
}

void Writers::UnlockInChild() noexcept {
  for (RingWriter& writer : writers_) writer.ring_lock().UnlockInChild();
}

std::uint64_t Writers::Sum(layout::Counter counter) const noexcept {
  std::uint64_t sum = 0;
  for (const RingWriter& writer : writers_) sum += writer.Sum(counter);
  return sum;
}

}  // namespace ivmq
