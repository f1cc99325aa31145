// The last message of a stream, written as gRPC's users do.
#include <future>
#include <string>

#include <gtest/gtest.h>

#include "ivmq/rpc/reactor.h"
#include "ivmq/rpc/stream.h"

#include "echo_pair.h"

namespace ivmq::testing {
namespace {

using rpc::WriteOptions;

Request Saying(const std::string& text) {
  Request request;
  request.set_text(text);
  request.set_count(0);
  return request;
}

TEST(WriteOptionsTest, TheStreamOfAClientEndsWithItsLastMessage) {
  EchoPair pair;
  ClientContext contexts[2];
  Response response;
  const auto writer = pair.stub->Collect(&contexts[0], &response);
  writer->WriteLast(Saying(""), WriteOptions());
  EXPECT_TRUE(writer->Finish().ok());
  EXPECT_EQ(response.count(), 1);
  const auto chat = pair.stub->Chat(&contexts[1]);
  EXPECT_TRUE(chat->Write(Saying("first"), WriteOptions().set_buffer_hint()));
  EXPECT_TRUE(chat->Write(Saying("last"), WriteOptions().set_last_message()));
  for (const char* const text : {"first!", "last!"}) {
    EXPECT_TRUE(chat->Read(&response));
    EXPECT_EQ(response.text(), text);
  }
  EXPECT_FALSE(chat->Read(&response));
  EXPECT_TRUE(chat->Finish().ok());
}

// Writes two messages, the second one as the last.
class LastWriter final : public rpc::ClientBidiReactor<Request, Response> {
 public:
  explicit LastWriter(bool by_options) : by_options_(by_options) {}
  void Begin() {
    StartRead(&response_);
    StartWrite(&request_, WriteOptions());
    StartCall();
  }
  void OnWriteDone(bool ok) override {
    EXPECT_TRUE(ok);
    if (++written_ != 1) return;
    if (by_options_) return StartWrite(&request_, WriteOptions().set_last_message());
    StartWriteLast(&request_, WriteOptions());
  }
  void OnWritesDoneDone(bool /*ok*/) override { ADD_FAILURE() << "nobody has asked for it"; }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    ++read_;
    StartRead(&response_);
  }
  void OnDone(const rpc::Status& status) override { done_.set_value(status); }

  rpc::Status Await() { return done_.get_future().get(); }
  [[nodiscard]] int read() const { return read_; }

 private:
  const bool by_options_;
  const Request request_ = Saying("x");
  Response response_;
  int written_ = 0;
  int read_ = 0;
  std::promise<rpc::Status> done_;
};

TEST(WriteOptionsTest, TheStreamOfAReactorEndsWithItsLastMessage) {
  EchoPair pair;
  for (const bool by_options : {true, false}) {
    ClientContext context;
    LastWriter writer(by_options);
    pair.stub->async()->Chat(&context, &writer);
    writer.Begin();
    EXPECT_TRUE(writer.Await().ok());
    EXPECT_EQ(writer.read(), 2);
  }
}

class WritingService final : public Echo::Service {
 public:
  rpc::Status Count(rpc::ServerContext* /*context*/, const Request* /*request*/,
                    rpc::ServerWriter<Response::Part>* writer) override {
    EXPECT_TRUE(writer->Write(Response::Part(), WriteOptions()));
    writer->WriteLast(Response::Part(), WriteOptions());
    return rpc::Status::OK;
  }
};

class WritingReactors final : public Echo::CallbackService {
 public:
  explicit WritingReactors(bool finishes) : finishes_(finishes) {}
  rpc::ServerWriteReactor<Response::Part>* Count(rpc::CallbackServerContext* /*context*/,
                                                 const Request* /*request*/) override {
    class Reactor final : public rpc::ServerWriteReactor<Response::Part> {
     public:
      explicit Reactor(bool finishes) : finishes_(finishes) { StartWrite(&part_, WriteOptions()); }
      void OnWriteDone(bool ok) override {
        EXPECT_TRUE(ok);
        if (++written_ == 2) return Finish(rpc::Status::OK);
        if (finishes_) return StartWriteAndFinish(&part_, WriteOptions(), rpc::Status::OK);
        StartWriteLast(&part_, WriteOptions());
      }
      void OnDone() override { delete this; }

     private:
      const bool finishes_;
      const Response::Part part_;
      int written_ = 0;
    };
    return new Reactor(finishes_);
  }

 private:
  const bool finishes_;
};

TEST(WriteOptionsTest, TheLastMessageOfAServerArrivesBeforeItsStatus) {
  WritingService waiting;
  WritingReactors reacting(/*finishes=*/false);
  WritingReactors finishing(/*finishes=*/true);
  for (rpc::Service* const service :
       {static_cast<rpc::Service*>(&waiting), static_cast<rpc::Service*>(&reacting),
        static_cast<rpc::Service*>(&finishing)}) {
    ServicePair pair(*service);
    ClientContext context;
    const auto reader = pair.stub->Count(&context, Request());
    Response::Part part;
    EXPECT_TRUE(reader->Read(&part));
    EXPECT_TRUE(reader->Read(&part));
    EXPECT_FALSE(reader->Read(&part));
    EXPECT_TRUE(reader->Finish().ok());
  }
}

}  // namespace
}  // namespace ivmq::testing
