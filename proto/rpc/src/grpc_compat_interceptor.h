// Interceptors with gRPC's interface, as ivmq's.
#ifndef IVMQ_RPC_GRPC_COMPAT_INTERCEPTOR_H_
#define IVMQ_RPC_GRPC_COMPAT_INTERCEPTOR_H_

#include <memory>
#include <string>

#include "ivmq/rpc/grpc_compat.h"

namespace ivmq::grpc::internal {

// A channel to `peer` whose calls the interceptors see, the first one first. `unreachable`: see
// Channel's constructor.
std::shared_ptr<Channel> MakeChannel(const std::shared_ptr<rpc::Endpoint>& endpoint,
                                     const std::string& peer,
                                     experimental::ClientInterceptorFactories interceptors,
                                     std::string unreachable);

}  // namespace ivmq::grpc::internal

#endif  // IVMQ_RPC_GRPC_COMPAT_INTERCEPTOR_H_
