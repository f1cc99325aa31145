// The producer's ends of all pairs of a node: one RingWriter for each slot.
#ifndef IVMQ_WRITERS_H_
#define IVMQ_WRITERS_H_

#include <cstdint>
#include <vector>

#include "src/ring_writer.h"

namespace ivmq {

// Thread-safe.
class Writers {
 public:
  explicit Writers(NodeContext& context);

  // nullptr if there is no such slot.
  [[nodiscard]] RingWriter* Find(std::uint32_t slot) noexcept {
    return slot < writers_.size() ? &writers_[slot] : nullptr;
  }

  // Looks after the rings and their cells, and frees the rings of consumers that are gone; four
  // times a second.
  void Housekeep();
  // Frees the rings of consumers that are gone.
  void FreeUnread();
  // Says in each ring how much was committed, when this node leaves: a successor and the consumers
  // find the rings whole.
  void PublishCommitted() noexcept;

  // Where the rings end that a predecessor of this node wrote.
  [[nodiscard]] std::vector<RingPosition> PredecessorsEnds();

  // In a forked child: no thread is left that would give back a ring.
  void UnlockInChild() noexcept;

  // What they counted.
  [[nodiscard]] std::uint64_t Sum(layout::Counter counter) const noexcept;

 private:
  NodeContext& context_;
  std::vector<RingWriter> writers_;
};

}  // namespace ivmq

#endif  // IVMQ_WRITERS_H_
