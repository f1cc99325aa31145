// One vocabulary of statuses, under two spellings.
#include "ivmq/status.h"

#include <string>
#include <type_traits>
#include <utility>

#include <gtest/gtest.h>

#include "ivmq/rpc/client.h"

namespace ivmq {
namespace {

static_assert(std::is_same_v<rpc::Status, Status>);
static_assert(std::is_same_v<rpc::StatusCode, StatusCode>);

TEST(StatusTest, BothSpellingsOfACodeAreTheSameValue) {
  EXPECT_EQ(StatusCode::kOk, StatusCode::OK);
  EXPECT_EQ(StatusCode::kNotFound, StatusCode::NOT_FOUND);
  EXPECT_EQ(StatusCode::kUnauthenticated, StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(rpc::UNAVAILABLE, StatusCode::kUnavailable);
  // As gRPC's, it goes where a number does.
  EXPECT_EQ(std::to_string(StatusCode::kDataLoss), "15");
}

TEST(StatusTest, CodeAndTextsAreFoundUnderBothNames) {
  const Status status(StatusCode::kNotFound, "no such peer", std::string("\0x", 2));
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_code(), StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "no such peer");
  EXPECT_EQ(status.error_message(), "no such peer");
  EXPECT_EQ(status.error_details(), std::string("\0x", 2));
  EXPECT_EQ(status.ToString(), "NOT_FOUND: no such peer");
}

TEST(StatusTest, ACopyOutlivesWhatItWasCopiedFrom) {
  Status copy;
  {
    const Status status(StatusCode::kAborted, "why");
    copy = status;
  }
  EXPECT_EQ(copy.code(), StatusCode::kAborted);
  EXPECT_EQ(copy.message(), "why");
}

TEST(StatusTest, AMovedFromStatusCanBeAssignedAndAsked) {
  Status status(StatusCode::kAborted, "why");
  const Status taken = std::move(status);
  EXPECT_EQ(taken.message(), "why");
  status = Status::CANCELLED;
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
  EXPECT_EQ(status.message(), "");
}

TEST(StatusTest, ACodeThatNobodyHasNamedIsShownAsItsNumber) {
  EXPECT_EQ(StatusCodeName(static_cast<StatusCode>(42)), "CODE_42");
  EXPECT_EQ(StatusCodeName(StatusCode::DO_NOT_USE), "CODE_-1");
  EXPECT_EQ(StatusCodeName(StatusCode::kDeadlineExceeded), "DEADLINE_EXCEEDED");
}

}  // namespace
}  // namespace ivmq
