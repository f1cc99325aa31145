// What a Sender is: a name, the life that has it, and the pair that leads there.
#ifndef IVMQ_SENDER_CORE_H_
#define IVMQ_SENDER_CORE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "ivmq/node.h"
#include "ivmq/sender.h"

#include "src/explain.h"
#include "src/heap.h"
#include "src/node_context.h"
#include "src/ring_writer.h"
#include "src/writers.h"

namespace ivmq {

// Thread-safe unless it is exclusive.
class SenderCore {
 public:
  SenderCore(const Node& node, NodeContext& context, Writers& writers, Heap& heap,
             std::string_view name, const SenderOptions& options);
  ~SenderCore();
  SenderCore(const SenderCore&) = delete;
  SenderCore& operator=(const SenderCore&) = delete;

  // Takes the pair, if it is exclusive and somebody has the name. kBusy: another one has it.
  SendResult Begin();

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const Node& node() const noexcept { return node_; }
  [[nodiscard]] const SendOptions& options() const noexcept { return options_; }
  [[nodiscard]] PeerId peer() const noexcept {
    return Unpack(peer_.load(std::memory_order_relaxed));
  }

  SendResult Send(const MessageType& type, std::span<const std::byte> message,
                  const SendOptions& options);

  // Writes `bytes` bytes of a message; may throw.
  struct Writing {
    void (*function)(const void* value, std::span<std::byte> to);
    const void* value;
    void operator()(std::span<std::byte> to) const { function(value, to); }
  };
  SendResult SendWritten(const MessageType& type, std::uint64_t bytes, const Writing& write,
                         const SendOptions& options);

  Loan Lend(const MessageType& type, std::uint64_t bytes, const SendOptions& options);
  // Of a Loan in the ring: sends what was lent; drops it.
  SendResult PublishLent(RingWriter& writer, std::uint64_t bytes) noexcept;
  void EndLent(RingWriter& writer) noexcept;
  // Of a Loan in the heap.
  SendResult SendBlock(const MessageType& type, Block& block, const SendOptions& options);
  // Takes back a Loan's buffer, to be used again.
  void Return(std::unique_ptr<std::byte[]> buffer, std::uint64_t bytes) noexcept;

  [[nodiscard]] Status Explain(SendResult result) const {
    return ExplainSend(context_, writers_, result, peer(), name_);
  }

 private:
  [[nodiscard]] static std::uint64_t Pack(PeerId id) noexcept {
    return std::uint64_t{id.slot} << 32 | id.incarnation;
  }
  [[nodiscard]] static PeerId Unpack(std::uint64_t word) noexcept {
    return {.slot = static_cast<std::uint32_t>(word >> 32),
            .incarnation = static_cast<std::uint32_t>(word)};
  }
  // For whom this sends: itself if it is exclusive, everybody otherwise.
  [[nodiscard]] Owner me() const noexcept { return is_exclusive_ ? this : nullptr; }

  // Calls attempt(writer, peer) for the life that has the name, and for the next one if that has
  // ended.
  template <typename Attempt>
  SendResult ForPeer(const SendOptions& options, Attempt&& attempt);
  // Looks the name up again, since `former` has ended; {0, 0}: nobody had it. kPeerGone: nobody has
  // it. What else it gives, an exclusive sender could not take the pair.
  [[gnu::cold]] SendResult FollowName(PeerId former, const SendOptions& options);
  SendResult TakePair(PeerId peer, const SendOptions& options);
  void LetGoOfPair() noexcept;
  // One attempt, in a record.
  [[gnu::always_inline]] SendResult TrySend(RingWriter& writer, PeerId to, const MessageType& type,
                                            std::span<const std::byte> message,
                                            const SendOptions& options);
  // What Send() does when that did not go at once.
  [[gnu::noinline]] SendResult SendSlowly(const MessageType& type,
                                          std::span<const std::byte> message,
                                          const SendOptions& options);
  // The ring that leads to the peer, if it is this sender's to use.
  [[nodiscard, gnu::always_inline]] RingWriter* WriterTo(PeerId peer) noexcept;

  // Claims a record and, for a shared sender, the ring for this thread, until EndLent().
  SendResult ClaimLent(RingWriter& writer, PeerId to, const MessageType& type, std::uint64_t bytes,
                       std::span<std::byte>* payload, const SendOptions& options);
  SendResult WriteRecord(RingWriter& writer, PeerId to, const MessageType& type,
                         std::uint64_t bytes, const Writing& write, const SendOptions& options);
  // A buffer of at least `bytes`; nullptr if there is no memory.
  std::unique_ptr<std::byte[]> Borrow(std::uint64_t bytes, std::uint64_t* size);

  const Node& node_;
  NodeContext& context_;
  Writers& writers_;
  Heap& heap_;
  const std::string name_;
  const SendOptions options_;
  const bool is_exclusive_;
  bool is_lent_ = false;         // of an exclusive one: a Loan lies in the ring
  RingWriter* owned_ = nullptr;  // of an exclusive one
  std::atomic<std::uint64_t> peer_{0};
  // Of the peer table when nobody had the name.
  std::atomic<std::uint64_t> unknown_at_{0};

  std::mutex buffer_mutex_;
  std::unique_ptr<std::byte[]> buffer_;  // guarded by buffer_mutex_, as its size
  std::uint64_t buffer_bytes_ = 0;
};

}  // namespace ivmq

#endif  // IVMQ_SENDER_CORE_H_
