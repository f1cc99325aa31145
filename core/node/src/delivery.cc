#include "src/delivery.h"

#include "ivmq/internal/str_cat.h"

namespace ivmq {

using layout::Frame;
using layout::FrameKind;

void Delivery::ReportTooLarge(const RingReader& reader, std::uint64_t bytes) {
  context_.Count(layout::Counter::kDropped);
  context_.Report(
      Status(StatusCode::kResourceExhausted,
             StrCat("a message of ", bytes, " bytes from slot ", reader.slot(),
                    " is dropped: the limit here is ", context_.options.max_message_bytes)));
}

Outcome Delivery::TakeOther(RingReader& reader, const Frame& frame, std::span<const std::byte> rest,
                            const Handler& handler) {
  if (frame.kind == FrameKind::kSuccessor && rest.empty()) {
    reader.PassSuccessor(frame.type);
    return Outcome::kConsumed;
  }
  if (frame.kind != FrameKind::kFragment) return Outcome::kMalformed;
  Assembly& assembly = reader.assembly();
  if (const Outcome outcome = reassembler_.Take(reader.slot(), assembly, frame, rest);
      outcome != Outcome::kComplete) {
    return outcome;
  }
  Outcome delivered = Outcome::kMalformed;
  try {
    delivered = Deliver(reader, Reassembler::FrameOf(assembly), Reassembler::RestOf(assembly), true,
                        handler);
  } catch (...) {
    Reassembler::TakeBack(assembly);
    throw;
  }
  reassembler_.Finish(reader.slot(), assembly);
  return delivered;
}

}  // namespace ivmq
