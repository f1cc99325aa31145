// The result of a call: ivmq::Status, under the names that gRPC gives it.
#ifndef IVMQ_RPC_INTERNAL_STATUS_NAMES_H_
#define IVMQ_RPC_INTERNAL_STATUS_NAMES_H_

#include "ivmq/status.h"

namespace ivmq::rpc {

using ivmq::Status;
using ivmq::StatusCode;
using ivmq::StatusCodeName;

// As in grpc:: they stand for themselves, too.
using status_codes::ABORTED;
using status_codes::ALREADY_EXISTS;
using status_codes::CANCELLED;
using status_codes::DATA_LOSS;
using status_codes::DEADLINE_EXCEEDED;
using status_codes::DO_NOT_USE;
using status_codes::FAILED_PRECONDITION;
using status_codes::INTERNAL;
using status_codes::INVALID_ARGUMENT;
using status_codes::NOT_FOUND;
using status_codes::OK;
using status_codes::OUT_OF_RANGE;
using status_codes::PERMISSION_DENIED;
using status_codes::RESOURCE_EXHAUSTED;
using status_codes::UNAUTHENTICATED;
using status_codes::UNAVAILABLE;
using status_codes::UNIMPLEMENTED;
using status_codes::UNKNOWN;

}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_INTERNAL_STATUS_NAMES_H_
