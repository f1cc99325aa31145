// The node's heap: memory in the region for messages that do not go through its rings.
//
// A message in a block goes to any number of rings, with a record in each that says where it lies:
//
//   const std::shared_ptr<Block> block = heap.Allocate(bytes);  // nullptr: send it in fragments
//   Fill(block->bytes());
//   for (each receiver) {
//     result = SendCall(*writers.Find(to.slot), to, options, nullptr).SendBlock(head, *block);
//   }
//
// `head` is what stands before a message in a record: its frame and type name. A block is in use as
// long as somebody has it, and then until each of those rings is gone or has released its record.
#ifndef IVMQ_HEAP_H_
#define IVMQ_HEAP_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "ivmq/internal/extent.h"
#include "ivmq/internal/layout.h"

#include "src/node_context.h"
#include "src/ring_writer.h"
#include "src/writers.h"

namespace ivmq {

class Heap;

// Room for one message. One thread at a time writes it and sends it; the bytes must not change any
// more once it was sent. Must not outlive its node. The last owner may let go on any thread.
class Block {
 public:
  Block(Heap& heap, const layout::BlockDescriptor& descriptor, std::span<std::byte> bytes) noexcept
      : heap_(heap), descriptor_(descriptor), bytes_(bytes) {}
  ~Block();
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  // As many as were asked for; aligned to kBlockAlign.
  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }
  [[nodiscard]] const layout::BlockDescriptor& descriptor() const noexcept { return descriptor_; }

  // Before the block is sent to one ring more: memory for what Refer() notes, or bad_alloc.
  void PrepareToRefer();
  // It was sent: that ring refers to it.
  void Refer(const RingPosition& position) noexcept;

 private:
  Heap& heap_;
  const layout::BlockDescriptor descriptor_;
  const std::span<std::byte> bytes_;
};

// Thread-safe.
class Heap {
 public:
  // What a predecessor with the same durable name left stays in use until its messages are read.
  Heap(NodeContext& context, Writers& writers);
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  // A block of `bytes` bytes; nullptr: the heap has no room and cannot grow. Room that rings have
  // released is found here. Does not wait.
  [[nodiscard]] std::shared_ptr<Block> Allocate(std::uint64_t bytes) noexcept;

  // Four times a second: puts right what only this node may write, and gives extents back that were
  // free for a while.
  void Housekeep();

 private:
  friend class Block;

  // A part of an extent that is in use.
  struct Used {
    std::uint64_t offset;
    std::uint64_t size;
    bool is_held;                     // by a Block
    std::vector<RingPosition> rings;  // where records refer to it
  };
  struct Extent {
    layout::Cell cell{};  // empty: there is none
    ExtentView view;
    std::vector<Used> used;        // by offset
    std::uint32_t idle_looks = 0;  // of housekeeping in a row that found it free

    [[nodiscard]] bool exists() const noexcept { return cell.state != layout::CellState::kEmpty; }
  };

  // REQUIRES, all of them: the mutex is held.
  std::shared_ptr<Block> AllocateLocked(std::uint64_t bytes);
  // The first room that is long enough, among what is free or turns out to be.
  std::shared_ptr<Block> TryPlace(std::uint32_t number, std::uint64_t bytes, std::uint64_t size);
  // The number of a new extent with room for `size`; kHeapExtents: none can be had.
  std::uint32_t Grow(std::uint64_t size);
  void TakeOver(std::uint32_t number);
  void LookAfter(std::uint32_t number);
  [[nodiscard]] bool IsOver(Used& used) noexcept;
  // nullptr: its extent was given up.
  [[nodiscard]] Used* Find(const layout::BlockDescriptor& descriptor) noexcept;
  [[nodiscard]] std::uint32_t CellIndex(std::uint32_t number) const noexcept {
    return context_.region.HeapCellIndex(context_.self.id.slot, number);
  }

  static constexpr std::uint64_t kNothing = std::numeric_limits<std::uint64_t>::max();

  NodeContext& context_;
  Writers& writers_;
  std::mutex mutex_;  // guards what follows; before the locks of rings
  std::array<Extent, layout::kHeapExtents> extents_;
  std::uint64_t refused_ = kNothing;  // a size for which the arena had nothing since the last look
};

}  // namespace ivmq

#endif  // IVMQ_HEAP_H_
