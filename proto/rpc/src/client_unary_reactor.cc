#include <utility>

#include "ivmq/rpc/reactor.h"

#include "src/user_code.h"

namespace ivmq::rpc {

ClientUnaryReactor::~ClientUnaryReactor() = default;

void ClientUnaryReactor::Bind(Channel& channel, const internal::MethodName& method,
                              ClientContext* context, const Outgoing& request,
                              const Incoming& response) {
  channel_ = channel.shared_from_this();
  method_ = method;
  context_ = context;
  request_ = request;
  response_ = response;
}

void ClientUnaryReactor::StartCall() {
  // The reactor may be gone before CallAsync() returns.
  const std::shared_ptr<Channel> channel = std::move(channel_);
  Node& node = channel->endpoint().node();
  channel->CallAsync(*method_, context_, request_, response_, [this, &node](Status status) {
    const bool has_initial = status.ok() || !context_->GetServerInitialMetadata().empty();
    if (!internal::RunUserCode(node, "the reactor of a call",
                               [&] { OnReadInitialMetadataDone(has_initial); })) {
      status = {StatusCode::UNKNOWN, "the reactor has thrown"};
    }
    OnDone(status);
  });
}

}  // namespace ivmq::rpc
