// A call with streams, as a handler sees it that waits.
#ifndef IVMQ_RPC_SERVER_STREAM_H_
#define IVMQ_RPC_SERVER_STREAM_H_

#include <string>

#include "ivmq/internal/payload.h"
#include "ivmq/node.h"

#include "src/call_access.h"
#include "src/call_life.h"
#include "src/message_stream.h"
#include "src/polling.h"
#include "src/server_call.h"

namespace ivmq::rpc::internal {

// For one reading and one writing thread.
class ServerStream {
 public:
  // References must live as long as it does.
  ServerStream(Node& node, Polling& polling, Outbox& outbox, ServerCall& call)
      : life_(CallAccess::life(call.context)),
        stream_(node, polling, outbox, kServerKinds, call.from, call.id),
        call_(call) {}

  bool Read(const Incoming& message);
  bool Write(const Outgoing& message);
  void SendInitialMetadata();

  [[nodiscard]] MessageStream& stream() noexcept { return stream_; }
  [[nodiscard]] bool initial_sent() const noexcept { return initial_sent_; }
  // Whether a message was no such message, and Read() gave false for it.
  [[nodiscard]] bool unparsable() const noexcept { return unparsable_; }
  // How a Write() went that gave false, or kOk.
  [[nodiscard]] SendResult unsent() const noexcept { return unsent_; }

 private:
  const std::string& TakeInitial();

  const CallLife life_;
  MessageStream stream_;
  ServerCall& call_;
  bool initial_sent_ = false;
  bool unparsable_ = false;
  SendResult unsent_ = SendResult::kOk;
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_SERVER_STREAM_H_
