// Puts messages together that came in fragments. One budget for all senders of a node.
#ifndef IVMQ_REASSEMBLER_H_
#define IVMQ_REASSEMBLER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "ivmq/internal/layout.h"

#include "src/node_context.h"

namespace ivmq {

// The largest buffer that is kept for the next large message: always-new memory is slow.
inline constexpr std::uint64_t kMostSpare = std::uint64_t{8} << 20;

// What became of a record.
enum class Outcome : std::uint8_t {
  kHandled,       // a message went to the handler
  kConsumed,      // a fragment, or something that is skipped
  kHandledBlock,  // the same, and it was in the heap of its sender
  kComplete,      // the last fragment: the message is whole, and not handled yet
  kStalled,       // no memory for it now: leave it in the ring
  kMalformed,     // no correct peer sends this
};

// The large message of one sender. Its memory counts against the node's budget.
struct Assembly {
  // Numbers of large messages. What the sender must begin anew; whose rest is passed over, as was
  // reported; the last one that was handled.
  std::uint32_t dropped = 0;
  std::uint32_t skipped = 0;
  std::uint32_t completed = 0;

  // What is being put together.
  std::uint32_t number = 0;
  std::uint64_t total = 0;  // 0: nothing
  std::uint64_t received = 0;
  std::uint64_t last_piece = 0;
  std::uint32_t idle_looks = 0;  // of housekeeping in a row that found its sender's ring empty
  std::uint64_t capacity = 0;    // of `bytes`
  std::unique_ptr<std::byte[]> bytes;

  [[nodiscard]] bool is_under_way() const noexcept { return total != 0; }
  [[nodiscard]] bool Contains(std::span<const std::byte> of) const noexcept {
    return total != 0 && of.data() >= bytes.get() && of.data() + of.size() <= bytes.get() + total;
  }
};

// Thread-compatible.
class Reassembler {
 public:
  explicit Reassembler(NodeContext& context) : context_(context) {}

  // Takes a fragment of the sender in `slot`: number `frame.type`, with `fragment` behind the
  // frame. kStalled: MakeRoom(size_wanted()) may help.
  Outcome Take(std::uint32_t slot, Assembly& assembly, const layout::Frame& frame,
               std::span<const std::byte> fragment);
  // Of the message that is whole: its frame, and what follows it.
  [[nodiscard]] static layout::Frame FrameOf(const Assembly& assembly) noexcept;
  [[nodiscard]] static std::span<const std::byte> RestOf(const Assembly& assembly) noexcept;
  // Its handler threw: the last fragment stays in the ring, and will be taken again.
  static void TakeBack(Assembly& assembly) noexcept { assembly.received -= assembly.last_piece; }
  // It was handled.
  void Finish(std::uint32_t slot, Assembly& assembly);
  // Gives the memory back. `is_lost`: reports what was under way.
  void End(std::uint32_t slot, Assembly& assembly, bool is_lost);

  [[nodiscard]] std::uint64_t size_wanted() const noexcept { return wanted_; }
  [[nodiscard]] bool HasRoomFor(std::uint64_t bytes) const noexcept {
    return bytes <= context_.options.reassembly_bytes - reserved_;
  }
  [[nodiscard]] bool is_busy() const noexcept { return reserved_ != 0; }
  // Grows when memory was given back, for which fragments may wait.
  [[nodiscard]] std::uint64_t ends() const noexcept { return ends_; }

 private:
  Outcome Begin(std::uint32_t slot, Assembly& assembly, const layout::Frame& frame,
                std::uint64_t total);
  bool Reserve(Assembly& assembly, std::uint64_t total);
  void ReportLoss(StatusCode code, const std::string& text);

  NodeContext& context_;
  std::uint64_t reserved_ = 0;  // bytes of all assemblies
  std::uint64_t wanted_ = 0;    // by the last fragment that stalled
  std::uint64_t ends_ = 0;
  std::unique_ptr<std::byte[]> spare_;  // of the last one: always-new memory is slow
  std::uint64_t spare_size_ = 0;
};

}  // namespace ivmq

#endif  // IVMQ_REASSEMBLER_H_
