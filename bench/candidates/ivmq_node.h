// ivmq/node.h: a named peer sends, a handler is called. The region is memory that the pair shares,
// the doorbells are eventfds, as with the `host` transport, but nobody has to serve them.
#ifndef IVMQ_BENCH_CANDIDATES_IVMQ_NODE_H_
#define IVMQ_BENCH_CANDIDATES_IVMQ_NODE_H_

#include <sys/eventfd.h>

#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "ivmq/internal/copy.h"
#include "ivmq/internal/region.h"
#include "ivmq/node.h"
#include "ivmq/transport.h"

#include "candidates/kernel.h"
#include "drive.h"

namespace ivmq::bench {

// A formatted region and a doorbell for each of some processes, made before they are forked.
class LocalRegion {
 public:
  LocalRegion(std::size_t bytes, const FormatOptions& options, std::uint32_t doorbells)
      : memory_(bytes, /*touch=*/false) {
    const Status status = Format({memory_.data(), memory_.size()}, options);
    if (!status.ok()) Fail("format: " + status.ToString());
    for (std::uint32_t i = 0; i < doorbells; ++i) {
      doorbells_.push_back(
          std::make_unique<Descriptor>(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd"));
    }
  }

  // The way of process `index` to the region. Without doorbells it polls, as on a plain device.
  [[nodiscard]] std::unique_ptr<Transport> Join(std::uint32_t index, bool has_doorbells) const {
    return std::make_unique<LocalTransport>(*this, index, has_doorbells);
  }
  // The same, as a node.
  [[nodiscard]] std::unique_ptr<Node> Open(std::uint32_t index, NodeOptions options,
                                           bool has_doorbells = true) const {
    Result<std::unique_ptr<Node>> node = Node::Open(Join(index, has_doorbells), std::move(options));
    if (!node.ok()) Fail("open: " + node.status().ToString());
    return std::move(*node);
  }

 private:
  class LocalTransport final : public Transport {
   public:
    LocalTransport(const LocalRegion& region, std::uint32_t index, bool has_doorbells)
        : region_(region), index_(index) {
      info_.address = info_.description = "memory shared with the parent process";
      if (!has_doorbells) return;
      info_.ivposition = static_cast<std::uint16_t>(index + 1);
      info_.can_ring = info_.wakeable = true;
    }
    [[nodiscard]] std::span<std::byte> memory() const noexcept override {
      return {region_.memory_.data(), region_.memory_.size()};
    }
    [[nodiscard]] const TransportInfo& info() const noexcept override { return info_; }
    void Ring(std::uint16_t ivposition, std::uint32_t /*vector*/) noexcept override {
      if (ivposition == 0 || ivposition > region_.doorbells_.size()) return;
      const std::uint64_t one = 1;
      const ssize_t ignored = write(region_.doorbells_[ivposition - 1U]->get(), &one, sizeof one);
      static_cast<void>(ignored);
    }
    [[nodiscard]] int wake_fd() const noexcept override {
      return info_.wakeable ? region_.doorbells_[index_]->get() : -1;
    }

   private:
    const LocalRegion& region_;
    std::uint32_t index_;
    TransportInfo info_;
  };

  SharedMemory memory_;
  std::vector<std::unique_ptr<Descriptor>> doorbells_;
};

// The peer of that name, or the end.
inline PeerId AwaitPeer(const Node& node, const std::string& name) {
  const Result<PeerInfo> peer = node.Await(name, std::chrono::seconds(10));
  if (!peer.ok()) Fail("await: " + peer.status().ToString());
  return peer->id;
}

enum class NodeUse : std::uint8_t {
  kCopies,     // as it comes: a message is copied out before its handler sees it
  kExclusive,  // the same, sent by an exclusive Sender
  kInPlace,    // NodeOptions::trust_peers
  kBatches,    // in place, and a Batch for sixteen messages or 32 KiB
  kSleeps,     // in place, with a spin budget of 0
};

// A node of one side, and what a candidate does with it.
template <NodeUse kUse>
class NodeEnd {
 public:
  static NodeOptions Options(Side side) {
    NodeOptions options;
    options.name = Name(side);
    options.trust_peers = kUse != NodeUse::kCopies && kUse != NodeUse::kExclusive;
    options.spin_budget = std::chrono::nanoseconds(0);
    return options;
  }
  void Open(Side side, std::unique_ptr<Node> node) {
    node_ = std::move(node);
    peer_ = AwaitPeer(*node_, Name(Other(side)));
    if constexpr (kUse == NodeUse::kExclusive) {
      Result<Sender> sender = node_->OpenSender(Name(Other(side)), {.exclusive = true});
      if (!sender.ok()) Fail("sender: " + sender.status().ToString());
      sender_.emplace(*std::move(sender));
    }
  }
  bool TrySend(Message message) {
    if constexpr (kUse == NodeUse::kBatches) {
      if (!batch_) batch_.emplace(node_->StartBatch(peer_));
      std::span<std::byte> payload;
      if (!Sent(batch_->TryClaim({}, message.size(), &payload))) {
        Flush();
        return false;
      }
      CopyMessage(payload.data(), message.data(), message.size());
      claimed_bytes_ += message.size();
      if (++claimed_ == kBatch || claimed_bytes_ >= kBatchBytes) Flush();
      return true;
    } else if constexpr (kUse == NodeUse::kExclusive) {
      return Sent(sender_->Send(message));
    } else {
      return Sent(node_->Send(peer_, message));
    }
  }
  void Flush() {
    if constexpr (kUse == NodeUse::kBatches) {
      if (batch_) (void)batch_->Commit();
      batch_.reset();
      claimed_ = claimed_bytes_ = 0;
    }
  }
  template <typename Use>
  std::size_t Receive(Use&& use) {
    return node_->Poll([&](const ivmq::Message& message) { use(message.payload); });
  }
  void Wait() {
    if constexpr (kUse == NodeUse::kSleeps) {
      node_->Wait(std::chrono::seconds(1));
    } else {
      SpinOnce();
    }
  }

 private:
  static constexpr std::size_t kBatch = 16;
  static constexpr std::size_t kBatchBytes = 32U << 10;
  static const char* Name(Side side) { return side == Side::kClient ? "client" : "server"; }
  bool Sent(SendResult result) const {
    if (result != SendResult::kOk && result != SendResult::kFull) [[unlikely]] {
      Fail("send: " + std::string(SendResultName(result)) + ", " +
           node_->Explain(result, peer_).ToString());
    }
    return result == SendResult::kOk;
  }

  std::unique_ptr<Node> node_;
  PeerId peer_;
  std::optional<Sender> sender_;
  std::optional<Batch> batch_;
  std::size_t claimed_ = 0;
  std::size_t claimed_bytes_ = 0;
};

template <NodeUse kUse>
class IvmqNode {
 public:
  static constexpr bool kBare = false;

  explicit IvmqNode(const Slot& slot)
      : region_(std::bit_ceil((slot.ring_bytes > (4U << 20) ? 8 : 32) * slot.ring_bytes),
                {.max_peers = 4, .ring_capacity = static_cast<std::uint32_t>(slot.ring_bytes)}, 2) {
  }

  void Open(Side side) {
    end_.Open(side, region_.Open(static_cast<std::uint32_t>(side), NodeEnd<kUse>::Options(side)));
  }
  bool TrySend(Message message) { return end_.TrySend(message); }
  void Flush() { end_.Flush(); }
  template <typename Use>
  std::size_t Receive(Use&& use) {
    return end_.Receive(use);
  }
  void Wait() { end_.Wait(); }

 private:
  LocalRegion region_;
  NodeEnd<kUse> end_;  // before the region goes
};

}  // namespace ivmq::bench

#endif  // IVMQ_BENCH_CANDIDATES_IVMQ_NODE_H_
