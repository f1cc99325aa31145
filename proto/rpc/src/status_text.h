// Messages of statuses that programs written for gRPC compare: to the letter as there.
#ifndef IVMQ_RPC_STATUS_TEXT_H_
#define IVMQ_RPC_STATUS_TEXT_H_

namespace ivmq::rpc::internal {

inline constexpr const char* kCancelledText = "CANCELLED";     // by the client
inline constexpr const char* kLateText = "Deadline Exceeded";  // of a call that had begun
inline constexpr const char* kUnimplementedText = "";          // there is no such method

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_STATUS_TEXT_H_
