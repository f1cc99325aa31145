// The messages that records hold, as docs/wire-format.md describes them; for programs that look at
// a ring without taking part in it.
#ifndef IVMQ_TOOLS_COMMON_RING_MESSAGES_H_
#define IVMQ_TOOLS_COMMON_RING_MESSAGES_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ivmq/internal/layout.h"
#include "ivmq/internal/region.h"

#include "common/ring_cursor.h"

namespace ivmq::inspect {

// What a record says before its message. Refers to the record.
struct FrameView {
  layout::Frame frame;  // as it stands in the record
  std::optional<layout::FragmentHeader> fragment;
  std::optional<layout::BlockDescriptor> block;
  layout::FrameKind kind = layout::FrameKind::kBytes;  // of the message itself, if it is one
  std::uint32_t type = 0;
  std::string_view type_name;
  std::optional<layout::TopicHeader> topic;
  std::string_view topic_name;
  std::span<const std::byte> body;  // the message, or a fragment's piece of it
  std::string_view problem;         // empty, or what no correct peer writes

  // Whether it is a message, rather than a part of one or housekeeping.
  [[nodiscard]] bool is_message() const noexcept {
    return problem.empty() && !fragment && frame.kind != layout::FrameKind::kSuccessor;
  }
};

// REQUIRES: `record` is private memory.
[[nodiscard]] FrameView ParseFrame(std::span<const std::byte> record) noexcept;

// A message as its receiver would get it.
struct RingMessage {
  layout::FrameKind kind = layout::FrameKind::kBytes;  // also one of RPC
  std::uint32_t type = 0;
  std::string type_name;
  std::string topic;  // empty: it is of none
  std::uint64_t sequence = 0;
  bool is_history = false;
  std::vector<std::byte> payload;
};

// Puts the messages of one ring together: from records, from fragments, from the heap of the ring's
// producer. Thread-compatible.
class MessageReader {
 public:
  // `heap_budget`: how many bytes may be copied out of heaps; nullptr: any number. It is for rings
  // that nobody uses, in which many records could name the same block.
  MessageReader(const Region& region, std::uint32_t producer, std::uint64_t* heap_budget = nullptr)
      : region_(region), producer_(producer), heap_budget_(heap_budget) {}

  enum class [[nodiscard]] Took : std::uint8_t{
      kMessage,  // see message()
      kPart,     // a fragment that is not the last one, or housekeeping
      kLost,     // a message that cannot be read, or the rest of one: see problem()
  };
  // Takes the next record. REQUIRES: `record` is private memory.
  Took Take(std::span<const std::byte> record);
  // Says that records are missing here. True: a message was under way, and is lost.
  bool Interrupt() noexcept;

  [[nodiscard]] const RingMessage& message() const noexcept { return message_; }
  [[nodiscard]] const std::string& problem() const noexcept { return problem_; }
  // Whether the message came from a heap. Its bytes are right only if the ring's `released` has not
  // passed its record since.
  [[nodiscard]] bool is_from_heap() const noexcept { return from_heap_; }
  [[nodiscard]] bool is_under_way() const noexcept { return !pieces_.empty(); }

 private:
  Took TakeFragment(const FrameView& view);
  Took TakeMessage(const FrameView& view);
  Took Lose(std::string_view why);

  Region region_;
  std::uint32_t producer_;
  std::uint64_t* heap_budget_;
  RingMessage message_;
  bool from_heap_ = false;
  std::string problem_;
  // The fragments so far of the large message `number_` of `total_` bytes.
  std::vector<std::byte> pieces_;
  std::uint32_t number_ = 0;
  std::uint64_t total_ = 0;
  std::uint32_t lost_ = 0;  // the last number that was said to be lost
};

}  // namespace ivmq::inspect

#endif  // IVMQ_TOOLS_COMMON_RING_MESSAGES_H_
