#include "src/reassembler.h"

#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "ivmq/internal/copy.h"
#include "ivmq/internal/str_cat.h"
#include "ivmq/message.h"

namespace ivmq {

using layout::Counter;
using layout::Frame;

void Reassembler::ReportLoss(StatusCode code, const std::string& text) {
  context_.Count(Counter::kAssembliesLost);
  context_.Report(Status(code, text));
}

Outcome Reassembler::Take(std::uint32_t slot, Assembly& assembly, const Frame& frame,
                          std::span<const std::byte> fragment) {
  const std::uint32_t number = frame.type;
  layout::FragmentHeader header;
  if (fragment.size() < sizeof(header)) return Outcome::kMalformed;
  std::memcpy(&header, fragment.data(), sizeof(header));
  const std::span<const std::byte> piece = fragment.subspan(sizeof(header));
  if (header.total == 0 && piece.empty()) {
    if (number == assembly.number) End(slot, assembly, assembly.is_under_way());
    return Outcome::kConsumed;
  }
  if (piece.empty() || header.total < sizeof(Frame) || header.offset > header.total ||
      piece.size() > header.total - header.offset) {
    return Outcome::kMalformed;
  }
  if (header.offset == 0) {
    const Outcome begun = Begin(slot, assembly, frame, header.total);
    if (begun != Outcome::kComplete) return begun;
  } else if (!assembly.is_under_way()) {
    if (number == assembly.skipped) return Outcome::kConsumed;
    assembly.skipped = number;
    ReportLoss(StatusCode::kDataLoss,
               StrCat("a message of ", BytesText(header.total), " from slot ", slot,
                      " is lost: a former life of this node took its "
                      "first ",
                      BytesText(header.offset)));
    return Outcome::kConsumed;
  } else if (number != assembly.number || header.total != assembly.total ||
             header.offset != assembly.received) {
    End(slot, assembly, true);
    return Outcome::kMalformed;
  }
  CopyBlock(assembly.bytes.get() + assembly.received, piece.data(), piece.size());
  assembly.received += piece.size();
  assembly.last_piece = piece.size();
  assembly.idle_looks = 0;
  context_.CountAlone(Counter::kFragmentsReceived);
  return assembly.received == assembly.total ? Outcome::kComplete : Outcome::kConsumed;
}

// kComplete: there is memory for it.
Outcome Reassembler::Begin(std::uint32_t slot, Assembly& assembly, const Frame& frame,
                           std::uint64_t total) {
  const std::uint32_t number = frame.type;
  // A sender that begins another has given the last one up; the same one, if it was told to.
  const std::uint32_t begun_before = frame.name_bytes;
  End(slot, assembly, assembly.is_under_way() && begun_before == 0);
  assembly.skipped = number;
  if (const std::uint32_t since = number - assembly.completed;
      since != 0 && since <= begun_before) {
    return Outcome::kConsumed;
  }
  if (total > context_.options.max_message_bytes + sizeof(Frame) + kMaxTypeName) {
    ReportLoss(StatusCode::kResourceExhausted,
               StrCat("a message of ", BytesText(total), " from slot ", slot,
                      " is refused: the limit here is ", context_.options.max_message_bytes));
    return Outcome::kConsumed;
  }
  if (!Reserve(assembly, total)) {
    wanted_ = total;
    return Outcome::kStalled;
  }
  assembly.number = number;
  return Outcome::kComplete;
}

bool Reassembler::Reserve(Assembly& assembly, std::uint64_t total) {
  if (!HasRoomFor(total)) return false;
  if (spare_size_ >= total) {
    assembly.bytes = std::move(spare_);
    assembly.capacity = std::exchange(spare_size_, 0);
  } else {
    assembly.bytes.reset(new (std::nothrow) std::byte[total]);
    if (!assembly.bytes) return false;
    assembly.capacity = total;
  }
  assembly.total = total;
  assembly.received = 0;
  reserved_ += total;
  return true;
}

Frame Reassembler::FrameOf(const Assembly& assembly) noexcept {
  Frame frame;
  std::memcpy(&frame, assembly.bytes.get(), sizeof(frame));
  return frame;
}

std::span<const std::byte> Reassembler::RestOf(const Assembly& assembly) noexcept {
  return {assembly.bytes.get() + sizeof(Frame), assembly.total - sizeof(Frame)};
}

void Reassembler::Finish(std::uint32_t slot, Assembly& assembly) {
  assembly.completed = assembly.number;
  End(slot, assembly, false);
}

void Reassembler::End(std::uint32_t slot, Assembly& assembly, bool is_lost) {
  if (!assembly.is_under_way()) return;
  if (is_lost) {
    ReportLoss(StatusCode::kDataLoss,
               StrCat("a message of ", BytesText(assembly.total), " from slot ", slot,
                      " is lost: its sender stopped at ", assembly.received));
  }
  reserved_ -= assembly.total;
  if (assembly.capacity > spare_size_ && assembly.capacity <= kMostSpare) {
    spare_ = std::move(assembly.bytes);
    spare_size_ = assembly.capacity;
  }
  assembly.bytes.reset();
  assembly.capacity = 0;
  assembly.number = 0;
  assembly.total = assembly.received = assembly.last_piece = 0;
  assembly.idle_looks = 0;
  ++ends_;
}

}  // namespace ivmq
