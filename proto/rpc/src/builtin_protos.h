// The text of the files in services/, which the services that every server offers come from.
//
// No code is generated from them here: a program may have generated its own from health.proto, and
// protobuf takes a message once only. So the services use well-known types that look the same on
// the wire.
#ifndef IVMQ_RPC_BUILTIN_PROTOS_H_
#define IVMQ_RPC_BUILTIN_PROTOS_H_

namespace ivmq::rpc::internal {

extern const char* const kHealthProto;
extern const char* const kReflectionProto;

inline constexpr const char* kHealthName = "grpc.health.v1.Health";
inline constexpr const char* kReflectionName = "ivmq.reflection.Reflection";

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_BUILTIN_PROTOS_H_
