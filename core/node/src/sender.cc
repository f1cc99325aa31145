#include "ivmq/sender.h"

#include <utility>

#include "src/ring_writer.h"

namespace ivmq {

std::string_view SendResultName(SendResult result) {
  switch (result) {
    case SendResult::kOk:
      return "ok";
    case SendResult::kFull:
      return "ring full";
    case SendResult::kTimedOut:
      return "timed out";
    case SendResult::kStopped:
      return "stopped";
    case SendResult::kBusy:
      return "in use by this thread";
    case SendResult::kDropped:
      return "dropped";
    case SendResult::kTooLarge:
      return "too large";
    case SendResult::kPeerGone:
      return "peer gone";
    case SendResult::kNoRoom:
      return "no room for a ring";
  }
  return "unknown";
}

Batch::Batch(Batch&& other) noexcept
    : writer_(std::exchange(other.writer_, nullptr)),
      to_(other.to_),
      started_(other.started_),
      messages_(std::exchange(other.messages_, 0)),
      bytes_(std::exchange(other.bytes_, 0)) {}

Batch::~Batch() {
  if (writer_ == nullptr) return;
  writer_->Abort();
  writer_->ring_lock().GiveBack();
}

SendResult Batch::TryClaim(const MessageType& type, std::uint64_t bytes,
                           std::span<std::byte>* payload) {
  if (writer_ == nullptr) return started_;
  const SendResult result =
      writer_->Claim(to_, type, bytes, payload, Hold::kOwned, /*behind=*/messages_ != 0);
  if (result == SendResult::kOk) {
    WriteHead(type, payload->data() - HeadBytes(type));
    ++messages_;
    bytes_ += bytes;
  }
  return result;
}

SendResult Batch::Commit() {
  if (messages_ == 0) return started_;
  return writer_->PublishLate(std::exchange(messages_, 0), std::exchange(bytes_, 0));
}

}  // namespace ivmq
