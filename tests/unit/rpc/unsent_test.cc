// Messages that cannot be sent: they end their calls, and nobody takes a part for the whole.
#include <memory>
#include <semaphore>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/rpc/coroutine.h"
#include "ivmq/rpc/reactor.h"

#include "call_kinds.h"
#include "echo_pair.h"

namespace ivmq::testing {
namespace {

// ---- Clients ----

// A message that is not sent would leave both sides waiting for each other.
TEST(UnsentTest, AMessageThatIsTooLargeEndsItsStream) {
  EchoPair pair;
  Call waits;
  waits.request.set_data(std::string(std::size_t{65} << 20, 'x'));
  CollectAndWait(*pair.stub, waits);
  EXPECT_EQ(waits.end.get().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  for (const Kind kind : {CollectWithReactor, ChatInCoroutine}) {
    Call call;
    call.request.set_data(waits.request.data());
    kind(*pair.stub, call);
    ASSERT_EQ(call.end.wait_for(kPatience), std::future_status::ready);
    EXPECT_EQ(call.end.get().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  }
}

// ---- Servers ----

constexpr std::uint64_t kMost = 64 << 10;  // of the servers' messages

Response Large() {
  Response response;
  response.set_data(std::string(2 * kMost, 'x'));
  return response;
}

// Each handler answers with something large and calls that a success.
class Waiting final : public Echo::Service {
 public:
  rpc::Status Say(rpc::ServerContext* /*context*/, const Request* /*request*/,
                  Response* response) override {
    *response = Large();
    return rpc::Status::OK;
  }
  rpc::Status Collect(rpc::ServerContext* /*context*/, rpc::ServerReader<Request>* /*reader*/,
                      Response* response) override {
    *response = Large();
    return rpc::Status::OK;
  }
  rpc::Status Chat(rpc::ServerContext* /*context*/,
                   rpc::ServerReaderWriter<Response, Request>* stream) override {
    (void)stream->Write(Large());
    return rpc::Status::OK;
  }
};

template <typename Reactor>
class Success : public Reactor {
 public:
  Success() { this->Finish(rpc::Status::OK); }
  void OnDone() override { delete this; }
};

// The same with reactors; `last`: how the large message of the stream is written.
class Reacting : public Echo::CallbackService {
 public:
  explicit Reacting(bool last) : last_(last) {}
  rpc::ServerUnaryReactor* Say(rpc::CallbackServerContext* /*context*/, const Request* /*request*/,
                               Response* response) override {
    *response = Large();
    return new Success<rpc::ServerUnaryReactor>;
  }
  rpc::ServerReadReactor<Request>* Collect(rpc::CallbackServerContext* /*context*/,
                                           Response* response) override {
    *response = Large();
    return new Success<rpc::ServerReadReactor<Request>>;
  }
  rpc::ServerBidiReactor<Request, Response>* Chat(
      rpc::CallbackServerContext* /*context*/) override {
    class Reactor final : public rpc::ServerBidiReactor<Request, Response> {
     public:
      explicit Reactor(bool last) {
        if (last) {
          StartWriteAndFinish(&response_, rpc::Status::OK);
        } else {
          StartWrite(&response_);
        }
      }
      void OnWriteDone(bool ok) override {
        EXPECT_FALSE(ok);
        Finish(rpc::Status::OK);
      }
      void OnDone() override { delete this; }

     private:
      const Response response_ = Large();
    };
    return new Reactor(last_);
  }

 private:
  const bool last_;
};

class Awaiting final : public Reacting {
 public:
  Awaiting() : Reacting(/*last=*/false) {}
  rpc::ServerBidiReactor<Request, Response>* Chat(
      rpc::CallbackServerContext* /*context*/) override {
    const Response response = Large();
    (void)co_await rpc::WriteResponse(&response);
    co_return rpc::Status::OK;
  }
};

TEST(UnsentTest, AnAnswerThatIsTooLargeEndsItsCallWhateverItsHandlerSays) {
  std::vector<std::unique_ptr<rpc::Service>> services;
  services.push_back(std::make_unique<Waiting>());
  services.push_back(std::make_unique<Reacting>(/*last=*/true));
  services.push_back(std::make_unique<Reacting>(/*last=*/false));
  services.push_back(std::make_unique<Awaiting>());
  for (const auto& service : services) {
    ServicePair pair(*service, {}, {.max_peers = 8}, {.max_message_bytes = kMost});
    for (const Kind kind : {SayAndWait, CollectAndWait, ChatAndWait}) {
      Call call;
      call.context.set_deadline(Soon());
      kind(*pair.stub, call);
      const rpc::Status status = call.end.get();
      EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
    }
  }
}

TEST(UnsentTest, AServerThatSendsLessThanAStatusTextGoesOn) {
  constexpr std::size_t kHeader = 32;
  for (const std::size_t most : {kHeader / 2, kHeader, kHeader + 1, 2 * kHeader, 4 * kHeader}) {
    Waiting waiting;
    Reacting reacting(/*last=*/true);
    for (rpc::Service* const service :
         {static_cast<rpc::Service*>(&waiting), static_cast<rpc::Service*>(&reacting)}) {
      for (const rpc::Executor executor : {rpc::Executor::kPool, rpc::Executor::kInline}) {
        ServicePair pair(*service,
                         [&](rpc::ServerBuilder& builder) { builder.SetExecutor(executor); },
                         {.max_peers = 8}, {.max_message_bytes = most});
        Call call;
        const bool is_heard = most >= kHeader;
        call.context.set_deadline(
            is_heard ? Soon() : std::chrono::system_clock::now() + std::chrono::milliseconds(20));
        SayAndWait(*pair.stub, call);
        EXPECT_EQ(call.end.get().error_code(),
                  is_heard ? StatusCode::RESOURCE_EXHAUSTED : StatusCode::DEADLINE_EXCEEDED);
      }
    }
  }
}

// The server's first message to its client needs a ring that the region has no room for.
TEST(UnsentTest, AStreamWhoseMessageFoundNoRoomForARingDoesNotEndWithSuccess) {
  class Service final : public Echo::Service {
   public:
    rpc::Status Chat(rpc::ServerContext* /*context*/,
                     rpc::ServerReaderWriter<Response, Request>* stream) override {
      Request request;
      EXPECT_TRUE(stream->Read(&request));
      EXPECT_FALSE(stream->Write(Response()));
      written.release();
      return rpc::Status::OK;
    }
    std::binary_semaphore written{0};
  } service;
  ServicePair pair(service, {}, {.max_peers = 8}, {}, std::uint64_t{256} << 10);
  ClientContext context;
  context.set_deadline(Soon());
  const auto stream = pair.stub->Chat(&context);
  std::vector<std::unique_ptr<Node>> others;
  for (const char* const name : {"a", "b", "c", "d", "e", "f"}) {
    auto node = Node::Open(*pair.region->Join(), {.name = name});
    ASSERT_TRUE(node.ok()) << node.status().ToString();
    others.push_back(*std::move(node));
  }
  SendResult result = SendResult::kOk;
  for (const auto& from : others) {
    for (const auto& to : others) {
      if (from != to) result = from->Send(to->id(), "x");
    }
  }
  ASSERT_EQ(result, SendResult::kNoRoom);
  EXPECT_TRUE(stream->Write(Request()));
  service.written.acquire();
  others.clear();
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::RESOURCE_EXHAUSTED);
}

}  // namespace
}  // namespace ivmq::testing
