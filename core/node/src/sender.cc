#include "ivmq/sender.h"

#include <utility>

#include "src/ring_writer.h"
#include "src/sender_core.h"

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

// ---- Sender ----

Sender::Sender(std::unique_ptr<SenderCore> core) noexcept : core_(std::move(core)) {}
Sender::Sender(Sender&&) noexcept = default;
Sender& Sender::operator=(Sender&&) noexcept = default;
Sender::~Sender() = default;

const std::string& Sender::name() const noexcept { return core_->name(); }
PeerId Sender::peer() const noexcept { return core_->peer(); }

SendResult Sender::SendBytes(const MessageType& type, std::span<const std::byte> bytes,
                             const SendOptions* options) {
  return core_->Send(type, bytes, options == nullptr ? core_->options() : *options);
}

SendResult Sender::SendTyped(const MessageType& type, std::span<const std::byte> bytes) {
  return core_->Send(type, bytes, core_->options());
}

SendResult Sender::SendTyped(const MessageType& type, std::span<const std::byte> bytes,
                             const SendOptions& options) {
  return core_->Send(type, bytes, options);
}

SendResult Sender::SendWritten(const MessageType& type, std::uint64_t bytes, WriteFunction write,
                               const void* value, const SendOptions* options) {
  return core_->SendWritten(type, bytes, {write, value},
                            options == nullptr ? core_->options() : *options);
}

Loan Sender::Loan(std::uint64_t bytes, const MessageType& type) {
  return core_->Lend(type, bytes, core_->options());
}

Loan Sender::Loan(std::uint64_t bytes, const MessageType& type, const SendOptions& options) {
  return core_->Lend(type, bytes, options);
}

Status Sender::AwaitPeer(std::chrono::nanoseconds timeout, const StopCondition* stop) const {
  return core_->node().Await(core_->name(), timeout, stop).status();
}

Status Sender::Explain(SendResult result) const { return core_->Explain(result); }

// ---- Loan ----

Loan::Loan(Loan&& other) noexcept
    : core_(std::exchange(other.core_, nullptr)),
      type_(other.type_),
      options_(other.options_),
      result_(other.result_),
      writer_(std::exchange(other.writer_, nullptr)),
      payload_(std::exchange(other.payload_, {})),
      block_(std::move(other.block_)),
      buffer_(std::move(other.buffer_)),
      buffer_bytes_(other.buffer_bytes_) {}

Loan::~Loan() { End(); }

void Loan::End() noexcept {
  SenderCore* const core = std::exchange(core_, nullptr);
  if (core == nullptr) return;
  if (writer_ != nullptr) core->EndLent(*writer_);
  block_.reset();
  if (buffer_) core->Return(std::move(buffer_), buffer_bytes_);
  payload_ = {};
}

SendResult Loan::Publish() {
  if (core_ == nullptr || result_ != SendResult::kOk) {
    return result_ == SendResult::kOk ? SendResult::kBusy : result_;
  }
  const SendResult result = writer_ != nullptr  ? core_->PublishLent(*writer_, payload_.size())
                            : block_ != nullptr ? core_->SendBlock(type_, *block_, options_)
                                                : core_->Send(type_, payload_, options_);
  End();
  return result;
}

// ---- Batch ----

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
    writer_->PrefetchAhead(bytes);
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
