// Why a message was not sent, for the caller of a call.
#ifndef IVMQ_RPC_UNSENT_H_
#define IVMQ_RPC_UNSENT_H_

#include <string>
#include <string_view>

#include "ivmq/node.h"
#include "ivmq/rpc/internal/status_names.h"

namespace ivmq::rpc::internal {

// `sender`, `receiver`: what they are for the caller. REQUIRES: result is not kOk.
inline Status UnsentStatus(const Node& node, PeerId to, SendResult result, std::string_view sender,
                           const std::string& receiver) {
  switch (result) {
    case SendResult::kTooLarge:
      return {StatusCode::RESOURCE_EXHAUSTED, "the message is larger than " + std::string(sender) +
                                                  "'s max_message_bytes, " +
                                                  std::to_string(node.max_message_bytes())};
    case SendResult::kNoRoom:
      return {StatusCode::RESOURCE_EXHAUSTED, node.Explain(result, to).message()};
    case SendResult::kPeerGone:
      return {StatusCode::UNAVAILABLE, receiver + ": is gone"};
    default:
      return {StatusCode::RESOURCE_EXHAUSTED, "no room in the ring to " + receiver};
  }
}

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_UNSENT_H_
