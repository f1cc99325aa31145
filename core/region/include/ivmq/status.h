// Status and Result<T>: the errors of set-up functions, and the ends of calls of services. OK costs
// no allocation.
//
// Hot-path functions of a node do not use these; they return a [[nodiscard]] enum class of their
// own.
#ifndef IVMQ_STATUS_H_
#define IVMQ_STATUS_H_

#include "ivmq/export.h"

#include <cassert>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace ivmq {

// Keeps the enumerators out of ivmq: they are StatusCode's.
namespace status_codes {

// The values are those of google.rpc.Code (google/rpc/code.proto). Each has two names: the
// project's and gRPC's. A status can hold any other value; it reaches the other side of a call as
// UNKNOWN, with its message and details.
// NOLINTBEGIN(readability-identifier-naming): gRPC's names
enum StatusCode : int {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,

  OK = kOk,
  CANCELLED = kCancelled,
  UNKNOWN = kUnknown,
  INVALID_ARGUMENT = kInvalidArgument,
  DEADLINE_EXCEEDED = kDeadlineExceeded,
  NOT_FOUND = kNotFound,
  ALREADY_EXISTS = kAlreadyExists,
  PERMISSION_DENIED = kPermissionDenied,
  RESOURCE_EXHAUSTED = kResourceExhausted,
  FAILED_PRECONDITION = kFailedPrecondition,
  ABORTED = kAborted,
  OUT_OF_RANGE = kOutOfRange,
  UNIMPLEMENTED = kUnimplemented,
  INTERNAL = kInternal,
  UNAVAILABLE = kUnavailable,
  DATA_LOSS = kDataLoss,
  UNAUTHENTICATED = kUnauthenticated,
  DO_NOT_USE = -1,
};
// NOLINTEND(readability-identifier-naming)

}  // namespace status_codes

using StatusCode = status_codes::StatusCode;

// The name as google.rpc spells it, e.g. "NOT_FOUND"; for a code without a name, "CODE_42".
IVMQ_EXPORT std::string StatusCodeName(StatusCode code);

// Thread-compatible value type; copies share their text.
class [[nodiscard]] IVMQ_EXPORT Status {
 public:
  static const Status& OK;         // NOLINT(readability-identifier-naming): gRPC's name
  static const Status& CANCELLED;  // NOLINT(readability-identifier-naming): gRPC's name

  Status() noexcept = default;  // OK
  // `message` names what was found, where, and what to do about it. `details`: see error_details().
  Status(StatusCode code, std::string message, std::string details = {});

  [[nodiscard]] bool ok() const noexcept { return code_ == StatusCode::kOk; }
  [[nodiscard]] StatusCode code() const noexcept { return code_; }
  [[nodiscard]] const std::string& message() const noexcept { return text().message; }
  // "OK", or "NOT_FOUND: no peer is named 'vm1'; ...".
  [[nodiscard]] std::string ToString() const;

  // ---- gRPC's names ----

  [[nodiscard]] StatusCode error_code() const noexcept { return code(); }
  [[nodiscard]] const std::string& error_message() const noexcept { return message(); }
  // Bytes that the application gives a meaning, by convention a serialized google.rpc.Status.
  [[nodiscard]] const std::string& error_details() const noexcept { return text().details; }
  void IgnoreError() const noexcept {}

 private:
  struct Text {
    std::string message;
    std::string details;
  };
  static const Text& NoText() noexcept;

  [[nodiscard]] const Text& text() const noexcept { return text_ != nullptr ? *text_ : NoText(); }

  StatusCode code_ = StatusCode::kOk;
  std::shared_ptr<const Text> text_;  // nullptr: both are empty
};

// Either a value or the Status that says why there is none. Thread-compatible.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}  // NOLINT(google-explicit-constructor)
  // REQUIRES: !status.ok()
  Result(Status status) : status_(std::move(status)) {  // NOLINT(google-explicit-constructor)
    assert(!status_.ok());
  }

  [[nodiscard]] bool ok() const noexcept { return value_.has_value(); }
  [[nodiscard]] const Status& status() const noexcept { return status_; }

  // REQUIRES: ok()
  T& operator*() & noexcept { return *value_; }
  const T& operator*() const& noexcept { return *value_; }
  T&& operator*() && noexcept { return *std::move(value_); }
  T* operator->() noexcept { return &*value_; }
  const T* operator->() const noexcept { return &*value_; }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace ivmq

#endif  // IVMQ_STATUS_H_
