// The interceptors of one call of a client.
#ifndef IVMQ_RPC_INTERCEPTION_H_
#define IVMQ_RPC_INTERCEPTION_H_

#include <memory>
#include <utility>
#include <vector>

#include "ivmq/rpc/interceptor.h"

namespace ivmq::rpc::internal {

// Thread-compatible.
class Interception {
 public:
  Interception(const std::vector<ClientInterceptorFactory>& factories, const CallInfo& call)
      : factories_(factories), call_(call) {}

  // Not OK: the call must not be made. After() is to be called in any case.
  [[nodiscard]] Status Before(ClientContext& context, const google::protobuf::Message& request) {
    for (const ClientInterceptorFactory& make : factories_) {
      std::unique_ptr<ClientInterceptor> interceptor = make(call_);
      if (interceptor == nullptr) continue;
      begun_.push_back(std::move(interceptor));
      if (Status status = begun_.back()->Before(context, request); !status.ok()) return status;
    }
    return {};
  }
  void After(ClientContext& context, Status& status, google::protobuf::Message& response) {
    for (; !begun_.empty(); begun_.pop_back()) begun_.back()->After(context, status, response);
  }

 private:
  const std::vector<ClientInterceptorFactory>& factories_;
  const CallInfo call_;
  std::vector<std::unique_ptr<ClientInterceptor>> begun_;
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_INTERCEPTION_H_
