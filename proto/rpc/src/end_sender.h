// Sends the ends of calls to their clients.
#ifndef IVMQ_RPC_END_SENDER_H_
#define IVMQ_RPC_END_SENDER_H_

#include <cstdint>

#include "ivmq/internal/payload.h"
#include "ivmq/node.h"
#include "ivmq/rpc/internal/status_names.h"

#include "src/end_frame.h"
#include "src/outbox.h"

namespace ivmq::rpc::internal {

// Thread-safe.
class EndSender {
 public:
  EndSender(Node& node, Outbox& outbox) : node_(node), outbox_(outbox) {}

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
  // Whether an end that is larger than the node sends becomes less as TooLarge(). False: it is
  // dropped.
  [[nodiscard]] bool CanBeLess(const EndFrame& end, const Outgoing& response) const;
  // The same as TrySend() for one that is larger than a record.
  [[nodiscard]] bool TrySendLarge(const EndFrame& end, const Outgoing& response);

  Node& node_;
  Outbox& outbox_;
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_END_SENDER_H_
