#include "src/sender_core.h"

#include <array>
#include <new>
#include <utility>

#include "ivmq/internal/str_cat.h"

#include "src/send_call.h"

namespace ivmq {

SenderCore::SenderCore(const Node& node, NodeContext& context, Writers& writers, Heap& heap,
                       std::string_view name, const SenderOptions& options)
    : node_(node),
      context_(context),
      writers_(writers),
      heap_(heap),
      name_(name),
      options_{.when_full = options.when_full, .timeout = options.timeout, .stop = options.stop},
      is_exclusive_(options.exclusive),
      unknown_at_(context.table.generation() - 1) {}

SenderCore::~SenderCore() { LetGoOfPair(); }

SendResult SenderCore::Begin() {
  return is_exclusive_ ? FollowName(PeerId{}, options_) : SendResult::kOk;
}

// ---- The name ----

SendResult SenderCore::FollowName(PeerId former, const SendOptions& options) {
  if (!context_.IsMyLife()) return SendResult::kPeerGone;
  const std::uint64_t generation = context_.table.generation();
  if (former == PeerId{} && generation == unknown_at_.load(std::memory_order_relaxed)) {
    return SendResult::kPeerGone;
  }
  const std::optional<PeerInfo> peer = context_.table.Find(name_);
  if (!peer || peer->id == former) {
    // So that the sends that follow only look whether the table has changed, and others may free
    // the ring.
    LetGoOfPair();
    peer_.store(0, std::memory_order_relaxed);
    if (!peer) unknown_at_.store(generation, std::memory_order_relaxed);
    return SendResult::kPeerGone;
  }
  if (is_exclusive_) {
    if (const SendResult taken = TakePair(peer->id, options); taken != SendResult::kOk) {
      return taken;
    }
  }
  peer_.store(Pack(peer->id), std::memory_order_relaxed);
  return SendResult::kOk;
}

SendResult SenderCore::TakePair(PeerId peer, const SendOptions& options) {
  RingWriter* const writer = writers_.Find(peer.slot);
  if (writer == nullptr) return SendResult::kPeerGone;
  if (writer == owned_) return SendResult::kOk;
  LetGoOfPair();
  if (const SendResult result = writer->Lock(options, nullptr); result != SendResult::kOk) {
    return result;
  }
  writer->ring_lock().Take(std::unique_lock(writer->ring_lock(), std::adopt_lock), this,
                           /*is_exclusive=*/true);
  owned_ = writer;
  return SendResult::kOk;
}

void SenderCore::LetGoOfPair() noexcept {
  if (owned_ == nullptr) return;
  owned_->Abort();
  owned_->ring_lock().GiveBack();
  owned_ = nullptr;
}

inline RingWriter* SenderCore::WriterTo(PeerId peer) noexcept {
  if (peer.incarnation == 0) [[unlikely]]
    return nullptr;
  if (!is_exclusive_) return writers_.Find(peer.slot);
  if (owned_ != nullptr && owned_->is_care_due()) [[unlikely]]
    owned_->Care();
  return owned_;
}

template <typename Attempt>
inline SendResult SenderCore::ForPeer(const SendOptions& options, Attempt&& attempt) {
  if (is_lent_) [[unlikely]]
    return SendResult::kBusy;
  PeerId to = peer();
  if (RingWriter* const writer = WriterTo(to); writer != nullptr) [[likely]] {
    const SendResult result = attempt(*writer, to);
    if (result != SendResult::kPeerGone) [[likely]]
      return result;
  } else {
    to = PeerId{};
  }
  // Lives may end as fast as they are found, but who claims a slot takes longer.
  for (;;) {
    if (const SendResult result = FollowName(to, options); result != SendResult::kOk) {
      return result;
    }
    to = peer();
    RingWriter* const writer = WriterTo(to);
    if (writer == nullptr) return SendResult::kPeerGone;
    if (const SendResult result = attempt(*writer, to); result != SendResult::kPeerGone) {
      return result;
    }
  }
}

// ---- Sending ----

inline SendResult SenderCore::TrySend(RingWriter& writer, PeerId to, const MessageType& type,
                                      std::span<const std::byte> message,
                                      const SendOptions& options) {
  return is_exclusive_ ? writer.TrySend<Hold::kOwned>(to, type, message, options)
                       : writer.TrySend<Hold::kLocked>(to, type, message, options);
}

SendResult SenderCore::Send(const MessageType& type, std::span<const std::byte> message,
                            const SendOptions& options) {
  if (!is_lent_) [[likely]] {
    const PeerId to = peer();
    if (RingWriter* const writer = WriterTo(to);
        writer != nullptr && TrySend(*writer, to, type, message, options) == SendResult::kOk)
        [[likely]] {
      return SendResult::kOk;
    }
  }
  return SendSlowly(type, message, options);
}

SendResult SenderCore::SendSlowly(const MessageType& type, std::span<const std::byte> message,
                                  const SendOptions& options) {
  return ForPeer(options, [&](RingWriter& writer, PeerId to) {
    const SendResult result = TrySend(writer, to, type, message, options);
    if (result == SendResult::kOk || result == SendResult::kPeerGone) return result;
    return SendCall(writer, to, options, me()).Send(type, message, result);
  });
}

SendResult SenderCore::SendWritten(const MessageType& type, std::uint64_t bytes,
                                   const Writing& write, const SendOptions& options) {
  const SendResult sent = ForPeer(options, [&](RingWriter& writer, PeerId to) {
    const auto attempt = [&] { return WriteRecord(writer, to, type, bytes, write, options); };
    const SendResult result = attempt();
    if (result != SendResult::kFull) [[likely]]
      return result;
    return SendCall(writer, to, options, me()).Retry(result, HeadBytes(type) + bytes, attempt);
  });
  if (sent != SendResult::kTooLarge || bytes > context_.options.max_message_bytes) [[likely]]
    return sent;
  std::uint64_t size = 0;
  std::unique_ptr<std::byte[]> buffer = Borrow(bytes, &size);
  if (!buffer) return SendResult::kTooLarge;
  write({buffer.get(), bytes});
  const SendResult result = Send(type, {buffer.get(), bytes}, options);
  Return(std::move(buffer), size);
  return result;
}

SendResult SenderCore::ClaimLent(RingWriter& writer, PeerId to, const MessageType& type,
                                 std::uint64_t bytes, std::span<std::byte>* payload,
                                 const SendOptions& options) {
  if (!is_exclusive_) {
    if (const SendResult result = writer.Lock(options, nullptr); result != SendResult::kOk) {
      return result;
    }
    writer.ring_lock().Take(std::unique_lock(writer.ring_lock(), std::adopt_lock), ThisThread(),
                            /*is_exclusive=*/false);
  }
  if (is_exclusive_) is_lent_ = true;
  SendResult result = SendResult::kFull;
  try {
    result = writer.Claim(to, type, bytes, payload, Hold::kOwned);
  } catch (...) {
    EndLent(writer);
    throw;
  }
  if (result != SendResult::kOk) [[unlikely]] {
    EndLent(writer);
    return result;
  }
  WriteHead(type, payload->data() - HeadBytes(type));
  return result;
}

SendResult SenderCore::PublishLent(RingWriter& writer, std::uint64_t bytes) noexcept {
  return writer.PublishLate(1, bytes);
}

void SenderCore::EndLent(RingWriter& writer) noexcept {
  writer.Abort();
  if (is_exclusive_) {
    is_lent_ = false;
  } else {
    writer.ring_lock().GiveBack();
  }
}

SendResult SenderCore::WriteRecord(RingWriter& writer, PeerId to, const MessageType& type,
                                   std::uint64_t bytes, const Writing& write,
                                   const SendOptions& options) {
  std::span<std::byte> payload;
  if (const SendResult result = ClaimLent(writer, to, type, bytes, &payload, options);
      result != SendResult::kOk) [[unlikely]] {
    return result;
  }
  // What `write` throws ends it, too.
  const struct Lent {
    ~Lent() { core.EndLent(writer); }
    SenderCore& core;
    RingWriter& writer;
  } lent{*this, writer};
  write(payload);
  return PublishLent(writer, bytes);
}

// ---- Loans ----

Loan SenderCore::Lend(const MessageType& type, std::uint64_t bytes, const SendOptions& options) {
  Loan loan(*this, type, options);
  loan.result_ = ForPeer(options, [&](RingWriter& writer, PeerId to) {
    const auto attempt = [&] {
      return ClaimLent(writer, to, type, bytes, &loan.payload_, options);
    };
    SendResult result = attempt();
    if (result == SendResult::kFull) {
      result = SendCall(writer, to, options, me()).Retry(result, HeadBytes(type) + bytes, attempt);
    }
    if (result == SendResult::kOk) loan.writer_ = &writer;
    return result;
  });
  if (loan.result_ != SendResult::kTooLarge || type.name.size() > kMaxTypeName ||
      bytes > context_.options.max_message_bytes) {
    return loan;
  }
  loan.block_ = heap_.Allocate(bytes);
  if (loan.block_ != nullptr) {
    loan.result_ = SendResult::kOk;
    loan.payload_ = loan.block_->bytes();
    return loan;
  }
  loan.buffer_ = Borrow(bytes, &loan.buffer_bytes_);
  if (loan.buffer_) {
    loan.result_ = SendResult::kOk;
    loan.payload_ = {loan.buffer_.get(), bytes};
  }
  return loan;
}

SendResult SenderCore::SendBlock(const MessageType& type, Block& block,
                                 const SendOptions& options) {
  std::array<std::byte, sizeof(layout::Frame) + kMaxTypeName> head;
  WriteHead(type, head.data());
  return ForPeer(options, [&](RingWriter& writer, PeerId to) {
    return SendCall(writer, to, options, me())
        .SendBlock(std::span(head).first(HeadBytes(type)), block);
  });
}

std::unique_ptr<std::byte[]> SenderCore::Borrow(std::uint64_t bytes, std::uint64_t* size) {
  {
    const std::lock_guard lock(buffer_mutex_);
    if (buffer_bytes_ >= bytes) {
      *size = std::exchange(buffer_bytes_, 0);
      return std::move(buffer_);
    }
  }
  *size = bytes;
  return std::unique_ptr<std::byte[]>(new (std::nothrow) std::byte[bytes]);
}

void SenderCore::Return(std::unique_ptr<std::byte[]> buffer, std::uint64_t bytes) noexcept {
  const std::lock_guard lock(buffer_mutex_);
  if (bytes <= buffer_bytes_) return;
  buffer_ = std::move(buffer);
  buffer_bytes_ = bytes;
}

}  // namespace ivmq
