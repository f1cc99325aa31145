// Calls with streams.
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "echo_pair.h"

namespace ivmq::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

#ifdef IVMQ_SANITIZE_THREAD  // it looks at each access, and learns nothing new from more of them
constexpr int kMany = 20'000;
#else
constexpr int kMany = 1'000'000;
#endif

class StreamTest : public ::testing::Test {
 protected:
  EchoPair pair_;
  ClientContext context_;
  Request request_;
  Response response_;
  Response::Part part_;
};

TEST_F(StreamTest, ManyMessagesOfTheServerArriveInOrder) {
  request_.set_count(kMany);
  const auto reader = pair_.stub->Count(&context_, request_);
  std::int64_t count = 0;
  while (reader->Read(&part_)) ASSERT_EQ(part_.number(), count++);
  EXPECT_EQ(count, kMany);
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_THAT(context_.GetServerInitialMetadata(), ElementsAre(Pair("begins", "now")));
}

TEST_F(StreamTest, ManyMessagesOfTheClientArriveInOrder) {
  const auto writer = pair_.stub->Collect(&context_, &response_);
  for (int i = 0; i < kMany; ++i) {
    request_.set_count(i);
    ASSERT_TRUE(writer->Write(request_));
  }
  EXPECT_TRUE(writer->WritesDone());
  const rpc::Status status = writer->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response_.count(), kMany);
}

TEST_F(StreamTest, BothSidesTalkUntilTheClientHasSaidAll) {
  const auto chat = pair_.stub->Chat(&context_);
  for (int i = 0; i < 1000; ++i) {
    request_.set_text(std::to_string(i));
    ASSERT_TRUE(chat->Write(request_));
    ASSERT_TRUE(chat->Read(&response_));
    ASSERT_EQ(response_.text(), request_.text() + "!");
  }
  EXPECT_TRUE(chat->WritesDone());
  EXPECT_FALSE(chat->Read(&response_));
  EXPECT_TRUE(chat->Finish().ok());
}

TEST_F(StreamTest, AnEmptyStreamEnds) {
  const auto writer = pair_.stub->Collect(&context_, &response_);
  EXPECT_TRUE(writer->WritesDone());
  EXPECT_TRUE(writer->Finish().ok());
  EXPECT_EQ(response_.count(), 0);
}

TEST_F(StreamTest, AReaderWhoStopsReadingHoldsUpNobodyElse) {
  request_.set_count(kMany);
  const auto reader = pair_.stub->Count(&context_, request_);
  ASSERT_TRUE(reader->Read(&part_));
  for (int i = 0; i < 100; ++i) {
    ClientContext context;
    context.set_deadline(Soon());
    ASSERT_TRUE(pair_.stub->Say(&context, Request(), &response_).ok());
  }
  context_.TryCancel();
  while (reader->Read(&part_)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), StatusCode::CANCELLED);
  // The server had sent no more than a window and the ring hold.
  EXPECT_LT(pair_.service.written.get_future().get(), 100'000);
}

TEST_F(StreamTest, AStreamThatIsDroppedIsCancelled) {
  request_.set_count(kMany);
  {
    const auto reader = pair_.stub->Count(&context_, request_);
    ASSERT_TRUE(reader->Read(&part_));
  }
  EXPECT_LT(pair_.service.written.get_future().get(), kMany);
}

TEST_F(StreamTest, FinishDropsWhatWasNotRead) {
  request_.set_count(100'000);
  const auto reader = pair_.stub->Count(&context_, request_);
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(StreamTest, ADeadlineEndsAStreamThatWaits) {
  context_.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(50));
  const auto chat = pair_.stub->Chat(&context_);
  EXPECT_FALSE(chat->Read(&response_));
  EXPECT_EQ(chat->Finish().error_code(), StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(StreamTest, AStreamThatIsUsedOnTheThreadThatPollsEndsWithFailedPrecondition) {
  using Chat = rpc::ClientReaderWriter<Request, Response>;
  const std::function<void(Chat&)> uses[] = {
      [](Chat& stream) {
        Response response;
        EXPECT_FALSE(stream.Read(&response));
      },
      [](Chat& stream) { EXPECT_FALSE(stream.Write(Request())); },
      [](Chat& stream) { EXPECT_FALSE(stream.WritesDone()); },
      [](Chat& stream) { stream.WaitForInitialMetadata(); },
      [](Chat& /*stream*/) {},
  };
  for (const auto& use : uses) {
    ClientContext contexts[2];
    const auto stream = pair_.stub->Chat(&contexts[0]);
    const Request request;
    Response response;
    std::promise<rpc::Status> end;
    pair_.stub->async()->Say(&contexts[1], &request, &response, [&](const rpc::Status&) {
      use(*stream);
      end.set_value(stream->Finish());
    });
    EXPECT_EQ(end.get_future().get().error_code(), StatusCode::FAILED_PRECONDITION);
  }
}

TEST_F(StreamTest, AStreamToNobodyIsUnavailable) {
  const auto stub = Echo::NewStub(pair_.client_endpoint->CreateChannel("nobody"));
  const auto chat = stub->Chat(&context_);
  EXPECT_FALSE(chat->Write(request_));
  EXPECT_FALSE(chat->Read(&response_));
  EXPECT_FALSE(chat->WritesDone());
  EXPECT_EQ(chat->Finish().error_code(), StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace ivmq::testing
