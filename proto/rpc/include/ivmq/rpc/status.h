// The result of a call. Names and codes are gRPC's.
#ifndef IVMQ_RPC_STATUS_H_
#define IVMQ_RPC_STATUS_H_

#include <memory>
#include <string>

namespace ivmq::rpc {

// The values are those of google.rpc.Code (google/rpc/code.proto). Any other value can be held; it
// reaches the other side of a call as UNKNOWN, with its message and details.
// NOLINTBEGIN(readability-identifier-naming): gRPC's names
enum StatusCode : int {
  OK = 0,
  CANCELLED = 1,
  UNKNOWN = 2,
  INVALID_ARGUMENT = 3,
  DEADLINE_EXCEEDED = 4,
  NOT_FOUND = 5,
  ALREADY_EXISTS = 6,
  PERMISSION_DENIED = 7,
  RESOURCE_EXHAUSTED = 8,
  FAILED_PRECONDITION = 9,
  ABORTED = 10,
  OUT_OF_RANGE = 11,
  UNIMPLEMENTED = 12,
  INTERNAL = 13,
  UNAVAILABLE = 14,
  DATA_LOSS = 15,
  UNAUTHENTICATED = 16,
  DO_NOT_USE = -1,
};
// NOLINTEND(readability-identifier-naming)

// Thread-compatible value type. OK costs no allocation.
class [[nodiscard]] Status {
 public:
  static const Status& OK;         // NOLINT(readability-identifier-naming): gRPC's name
  static const Status& CANCELLED;  // NOLINT(readability-identifier-naming): gRPC's name

  Status() = default;  // OK
  Status(StatusCode code, std::string message, std::string details = {});

  [[nodiscard]] bool ok() const noexcept { return code_ == StatusCode::OK; }
  [[nodiscard]] StatusCode error_code() const noexcept { return code_; }
  [[nodiscard]] const std::string& error_message() const noexcept { return text().message; }
  // Bytes that the application gives a meaning, by convention a serialized google.rpc.Status.
  [[nodiscard]] const std::string& error_details() const noexcept { return text().details; }
  void IgnoreError() const noexcept {}

 private:
  struct Text {
    std::string message;
    std::string details;
  };
  static const Text& kNone;

  [[nodiscard]] const Text& text() const noexcept { return text_ != nullptr ? *text_ : kNone; }

  StatusCode code_ = StatusCode::OK;
  std::shared_ptr<const Text> text_;  // nullptr: both are empty
};

// "NOT_FOUND", also for codes that nobody has named: "CODE_42".
std::string StatusCodeName(StatusCode code);

}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_STATUS_H_
