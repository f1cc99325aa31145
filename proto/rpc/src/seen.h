// What interceptors see of a message: a protobuf message itself, and bytes as a
// google.protobuf.BytesValue.
#ifndef IVMQ_RPC_SEEN_H_
#define IVMQ_RPC_SEEN_H_

#include <optional>

#include <google/protobuf/message.h>
#include <google/protobuf/wrappers.pb.h>

#include "ivmq/internal/payload.h"

namespace ivmq::rpc::internal {

// REQUIRES: there is a message.
class SeenOutgoing {
 public:
  explicit SeenOutgoing(const Outgoing& payload) : message_(payload.protobuf()) {
    if (message_ != nullptr) return;
    message_ = &bytes_.emplace();
    bytes_->set_value(payload.bytes());
  }
  SeenOutgoing(const SeenOutgoing&) = delete;
  SeenOutgoing& operator=(const SeenOutgoing&) = delete;

  const google::protobuf::Message& operator*() const noexcept { return *message_; }

 private:
  const google::protobuf::Message* message_;
  std::optional<google::protobuf::BytesValue> bytes_;
};

// The same of what they may change.
class SeenIncoming {
 public:
  explicit SeenIncoming(const Incoming& payload) : payload_(payload), message_(payload.protobuf()) {
    if (message_ != nullptr) return;
    message_ = &bytes_.emplace();
    bytes_->mutable_value()->swap(payload.bytes());
  }
  ~SeenIncoming() {
    if (bytes_.has_value()) bytes_->mutable_value()->swap(payload_.bytes());
  }
  SeenIncoming(const SeenIncoming&) = delete;
  SeenIncoming& operator=(const SeenIncoming&) = delete;

  google::protobuf::Message& operator*() const noexcept { return *message_; }

 private:
  const Incoming payload_;
  google::protobuf::Message* message_;
  std::optional<google::protobuf::BytesValue> bytes_;
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_SEEN_H_
