#include "ivmq/rpc/status.h"

#include "ivmq/status.h"

namespace ivmq::rpc {
namespace {

// Never destroyed: used by threads that outlive main().
const Status& Ok() {
  static const auto* const kStatus = new Status();
  return *kStatus;
}
const Status& Cancelled() {
  static const auto* const kStatus = new Status(StatusCode::CANCELLED, "");
  return *kStatus;
}

}  // namespace

const Status& Status::OK = Ok();
const Status& Status::CANCELLED = Cancelled();

std::string StatusCodeName(StatusCode code) {
  if (code < StatusCode::OK || code > StatusCode::UNAUTHENTICATED) {
    return "CODE_" + std::to_string(static_cast<int>(code));
  }
  return std::string(ivmq::StatusCodeName(static_cast<ivmq::StatusCode>(code)));
}

}  // namespace ivmq::rpc
