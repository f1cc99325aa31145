#include "ivmq/rpc/status.h"

#include <utility>

#include "ivmq/status.h"

namespace ivmq::rpc {

// Never destroyed: used by threads that outlive main().
const Status& Status::OK = *new Status();
const Status& Status::CANCELLED = *new Status(StatusCode::CANCELLED, "");
const Status::Text& Status::kNone = *new Text();

Status::Status(StatusCode code, std::string message, std::string details)
    : code_(code),
      text_(message.empty() && details.empty()
                ? nullptr
                : std::make_shared<const Text>(Text{std::move(message), std::move(details)})) {}

std::string StatusCodeName(StatusCode code) {
  if (code < StatusCode::OK || code > StatusCode::UNAUTHENTICATED) {
    return "CODE_" + std::to_string(static_cast<int>(code));
  }
  return std::string(ivmq::StatusCodeName(static_cast<ivmq::StatusCode>(code)));
}

}  // namespace ivmq::rpc
