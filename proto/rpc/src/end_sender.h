// Sends the ends of calls to their clients. What finds no room is kept, for each client in a share
// of its own: one that does not read costs the others nothing.
#ifndef IVMQ_RPC_END_SENDER_H_
#define IVMQ_RPC_END_SENDER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>

#include "ivmq/internal/payload.h"
#include "ivmq/node.h"
#include "ivmq/rpc/status.h"

#include "src/end_frame.h"
#include "src/large_send.h"
#include "src/polling.h"

namespace ivmq::rpc::internal {

// What is kept for one client, in bytes; the last end may go beyond it. Calls whose ends do not fit
// end with RESOURCE_EXHAUSTED.
inline constexpr std::size_t kMostKeptBytes = std::size_t{16} << 20;

// Thread-safe.
class EndSender {
 public:
  EndSender(Node& node, Polling& polling, LargeSender& large)
      : node_(node), polling_(polling), large_(large) {}

  // Now, or when there is room. `response`: what goes with it, if there is something; it was measured.
  void Send(const EndFrame& end, const Outgoing& response) {
    if (!TrySend(end, response)) [[unlikely]]
      Keep(end, response);
  }
  // False: there is no room now.
  [[nodiscard]] bool TrySend(const EndFrame& end, const Outgoing& response);
  // The same as Send() for what found no room.
  void Keep(const EndFrame& end, const Outgoing& response);
  // Sends an end without a response.
  void Refuse(PeerId to, std::uint64_t id, const Status& status) {
    Send(EndFrame(node_, to, id, status), {});
  }
  // What a response becomes that is larger than the node sends.
  [[nodiscard]] EndFrame TooLarge(const EndFrame& end) const;

 private:
  class LargeEnd;
  struct KeptEnd {
    MessageType type;
    std::uint64_t id;
    std::string bytes;
  };
  struct Share {
    PeerId to;
    std::deque<KeptEnd> ends{};
    std::size_t bytes = 0;  // of the ends
    // Calls whose ends did not fit, in their order. They end behind the others.
    std::deque<std::uint64_t> refused{};
  };

  class KeptSender final : public Task {
   public:
    explicit KeptSender(EndSender& sender) : sender_(sender) {}
    void Run() override { sender_.SendKept(); }

   private:
    EndSender& sender_;
  };

  // Whether an end that is larger than the node sends becomes less as TooLarge(). False: it is
  // dropped.
  [[nodiscard]] bool CanBeLess(const EndFrame& end, const Outgoing& response) const;
  // The same as TrySend() for one that is larger than a record.
  [[nodiscard]] bool TrySendLarge(const EndFrame& end, const Outgoing& response);
  void KeepBytes(PeerId to, const MessageType& type, std::uint64_t id, std::string bytes);
  void SendKept();
  // Sends what goes now. Whether that is all.
  [[nodiscard]] bool SendShare(Share& share);
  [[nodiscard]] bool SendOne(PeerId to, KeptEnd& end);

  Node& node_;
  Polling& polling_;
  LargeSender& large_;
  KeptSender sender_{*this};
  std::mutex mutex_;
  // Guarded by mutex_. By slot, and of its live holder only: a slot has one at a time, whatever a
  // client says in its frames.
  std::map<std::uint32_t, Share> kept_;
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_END_SENDER_H_
