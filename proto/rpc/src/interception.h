// The interceptors of one call of a client.
#ifndef IVMQ_RPC_INTERCEPTION_H_
#define IVMQ_RPC_INTERCEPTION_H_

#include <memory>
#include <utility>
#include <vector>

#include "ivmq/node.h"
#include "ivmq/rpc/interceptor.h"

#include "src/user_code.h"

namespace ivmq::rpc::internal {

// Thread-compatible.
class Interception {
 public:
  // What is referred to must outlive it.
  Interception(Node& node, const std::vector<ClientInterceptorFactory>& factories,
               const CallInfo& call)
      : node_(node), factories_(factories), call_(call) {}

  // Not OK: the call must not be made. After() is to be called in any case.
  [[nodiscard]] Status Before(ClientContext& context, const google::protobuf::Message& request) {
    for (const ClientInterceptorFactory& make : factories_) {
      Status status;
      if (!RunUserCode(node_, kWho, [&] {
            std::unique_ptr<ClientInterceptor> interceptor = make(call_);
            if (interceptor == nullptr) return;
            begun_.push_back(std::move(interceptor));
            status = begun_.back()->Before(context, request);
          })) {
        status = Thrown();
      }
      if (!status.ok()) return status;
    }
    return {};
  }
  void After(ClientContext& context, Status& status, google::protobuf::Message& response) {
    for (; !begun_.empty(); begun_.pop_back()) {
      if (!RunUserCode(node_, kWho, [&] { begun_.back()->After(context, status, response); })) {
        status = Thrown();
      }
    }
  }

 private:
  static constexpr const char* kWho = "an interceptor of a client";
  static Status Thrown() { return {StatusCode::UNKNOWN, "an interceptor has thrown"}; }

  Node& node_;
  const std::vector<ClientInterceptorFactory>& factories_;
  const CallInfo call_;
  std::vector<std::unique_ptr<ClientInterceptor>> begun_;
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_INTERCEPTION_H_
