// What may still be held, or run, when other parts of the runtime are gone. The sanitizers see what
// these tests do not.
#include <atomic>
#include <future>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/rpc/reactor.h"

#include "echo_pair.h"

namespace ivmq::testing {
namespace {

// Calls that nobody answers, and a thread that cancels each of them at any moment.
class CancelTest : public ::testing::Test {
 protected:
  static constexpr int kRounds = 200;

  CancelTest() {
    auto made = InprocRegion::Create(std::uint64_t{16} << 20, {.max_peers = 256});
    EXPECT_TRUE(made.ok()) << made.status().ToString();
    region_ = *std::move(made);
    silent_ = Open("silent");
    canceller_ = std::thread([this] {
      for (;;) {
        begin_.acquire();
        if (context_ == nullptr) return;
        context_->TryCancel();
        cancelled_.release();
      }
    });
  }
  ~CancelTest() override {
    context_ = nullptr;
    begin_.release();
    canceller_.join();
  }
  CancelTest(const CancelTest&) = delete;
  CancelTest& operator=(const CancelTest&) = delete;

  std::unique_ptr<Node> Open(const std::string& name) {
    auto node = Node::Open(*region_->Join(), {.name = name, .spin_budget = {}});
    EXPECT_TRUE(node.ok()) << node.status().ToString();
    return *std::move(node);
  }
  // Runs the call with a client of its own, which is gone when the cancel may still run.
  template <typename Call>
  void CancelEach(Call call) {
    for (int round = 0; round < kRounds; ++round) {
      ClientContext context;
      {
        auto endpoint = rpc::Endpoint::Make(Open("client"));
        auto stub = Echo::NewStub(endpoint->CreateChannel("silent"));
        endpoint.reset();
        context_ = &context;
        begin_.release();
        EXPECT_EQ(call(std::move(stub), context), StatusCode::CANCELLED);
      }
      cancelled_.acquire();
      (void)silent_->Poll([](const Message& /*message*/) {});
      // Also now.
      context.TryCancel();
    }
  }

  std::shared_ptr<InprocRegion> region_;
  std::unique_ptr<Node> silent_;
  ClientContext* context_ = nullptr;
  std::counting_semaphore<> begin_{0};
  std::counting_semaphore<> cancelled_{0};
  std::thread canceller_;
};

TEST_F(CancelTest, ACancelMayRunOnWhenTheCallAndItsEndpointAreGone) {
  CancelEach([](std::unique_ptr<Echo::Stub> stub, ClientContext& context) {
    Response response;
    return stub->Say(&context, Request(), &response).error_code();
  });
}

TEST_F(CancelTest, TheSameOfACallWithAFuture) {
  CancelEach([](std::unique_ptr<Echo::Stub> stub, ClientContext& context) {
    Request request;
    Response response;
    return stub->async()->Say(&context, &request, &response).get().error_code();
  });
}

TEST_F(CancelTest, TheSameOfAStream) {
  CancelEach([](std::unique_ptr<Echo::Stub> stub, ClientContext& context) {
    const auto stream = stub->Chat(&context);
    stub.reset();
    Response response;
    EXPECT_FALSE(stream->Read(&response));
    return stream->Finish().error_code();
  });
}

TEST_F(CancelTest, ACallbackMayCancelAnyCallAlsoItsOwn) {
  auto endpoint = rpc::Endpoint::Make(Open("client"));
  const auto stub = Echo::NewStub(endpoint->CreateChannel("silent"));
  ClientContext contexts[2];
  Request request;
  Response responses[2];
  std::promise<rpc::Status> ends[2];
  for (int i = 0; i < 2; ++i) {
    stub->async()->Say(&contexts[i], &request, &responses[i], [&, i](rpc::Status status) {
      for (ClientContext& context : contexts) context.TryCancel();
      ends[i].set_value(std::move(status));
    });
  }
  contexts[0].TryCancel();
  for (auto& end : ends) {
    EXPECT_EQ(end.get_future().get().error_code(), StatusCode::CANCELLED);
  }
}

// ---- Endpoints ----

TEST(LifetimeTest, ACallbackMayDestroyTheEndpointThatTheApplicationPolls) {
  EchoPair pair;
  auto driven = pair.Open("driven");
  driven->Drive();
  auto stub = Echo::NewStub(driven->CreateChannel("server"));
  ClientContext context;
  Request request;
  Response response;
  bool done = false;
  stub->async()->Say(&context, &request, &response, [&](const rpc::Status& status) {
    EXPECT_TRUE(status.ok());
    stub.reset();
    done = true;
    driven.reset();
  });
  stub.reset();
  rpc::Endpoint* const endpoint = driven.get();
  while (!done) endpoint->Poll();
  // It has left.
  EXPECT_FALSE(pair.client_endpoint->node().Lookup("driven").ok());
}

TEST(LifetimeTest, ACallbackMayHandTheEndpointThatTheApplicationPollsToAThreadThatDestroysIt) {
  EchoPair pair;
  for (int round = 0; round < 100; ++round) {
    auto driven = pair.Open("driven");
    driven->Drive();
    auto stub = Echo::NewStub(driven->CreateChannel("server"));
    ClientContext context;
    Request request;
    Response response;
    std::thread destroyer;
    bool done = false;
    stub->async()->Say(&context, &request, &response, [&](const rpc::Status& status) {
      EXPECT_TRUE(status.ok());
      std::atomic<bool> destroys{false};
      destroyer = std::thread([&, last = std::move(driven)]() mutable {
        destroys = true;
        last.reset();
      });
      while (!destroys) std::this_thread::yield();
      done = true;
    });
    rpc::Endpoint* const endpoint = driven.get();
    stub.reset();
    while (!done) endpoint->Poll();
    destroyer.join();
    // It has left.
    EXPECT_FALSE(pair.client_endpoint->node().Lookup("driven").ok());
  }
}

TEST(LifetimeTest, StreamsAndChannelsKeepTheirEndpoint) {
  EchoPair pair;
  auto endpoint = pair.Open("other");
  auto channel = endpoint->CreateChannel("server");
  endpoint.reset();
  ClientContext context;
  context.set_deadline(Soon());
  auto stub = Echo::NewStub(std::move(channel));
  const auto stream = stub->Chat(&context);
  stub.reset();
  Response response;
  EXPECT_TRUE(stream->Write(Request()));
  EXPECT_TRUE(stream->Read(&response));
  EXPECT_TRUE(stream->WritesDone());
  EXPECT_TRUE(stream->Finish().ok());
}

TEST(LifetimeTest, AFutureOutlivesItsEndpoint) {
  EchoPair pair;
  auto endpoint = pair.Open("other");
  endpoint->Drive();
  auto stub = Echo::NewStub(endpoint->CreateChannel("server"));
  ClientContext context;
  Request request;
  request.set_wait_release(true);
  Response response;
  auto call = stub->async()->Say(&context, &request, &response);
  stub.reset();
  endpoint.reset();
  EXPECT_EQ(call.get().error_code(), StatusCode::CANCELLED);
  context.TryCancel();
  pair.service.release.set_value();
}

TEST(LifetimeTest, AWatchOutlivesItsEndpoint) {
  EchoPair pair;
  auto endpoint = pair.Open("other");
  std::atomic<int> calls{0};
  const auto watch =
      endpoint->WatchService("ivmq.test.Echo", [&](const std::vector<PeerInfo>&) { ++calls; });
  endpoint.reset();
  const int before = calls;
  pair.server->Shutdown();
  EXPECT_EQ(calls, before);
}

TEST(LifetimeTest, TheHealthOfAServerMayBeSetWhenItHasShutDown) {
  EchoPair pair;
  auto* const health = pair.server->GetHealthCheckService();
  pair.server->Shutdown();
  pair.server_endpoint.reset();
  health->SetServingStatus("ivmq.test.Echo", true);
  health->SetServingStatus(true);
  health->Shutdown();
}

// ---- Reactors ----

TEST(LifetimeTest, AReactorOfAClientThatNeverStartsItsCallKeepsNothing) {
  EchoPair pair;
  auto endpoint = pair.Open("other");
  auto stub = Echo::NewStub(endpoint->CreateChannel("server"));
  ClientContext contexts[2];
  {
    rpc::ClientReadReactor<Response::Part> reactor;
    const Request request;
    Response::Part part;
    for (ClientContext& context : contexts) stub->async()->Count(&context, &request, &reactor);
    reactor.StartRead(&part);
  }
  stub.reset();
  endpoint.reset();
  // It has left.
  EXPECT_FALSE(pair.client_endpoint->node().Lookup("other").ok());
}

// Its calls are finished by a thread of its own, which the call's end does not wait for.
class FinishingService final : public Echo::CallbackService {
 public:
  FinishingService()
      : thread_([this] {
          for (;;) {
            begun_.acquire();
            rpc::ServerUnaryReactor* const reactor = reactor_;
            if (reactor == nullptr) return;
            reactor->Finish(rpc::Status::OK);
          }
        }) {}
  ~FinishingService() override {
    reactor_ = nullptr;
    begun_.release();
    thread_.join();
  }
  FinishingService(const FinishingService&) = delete;
  FinishingService& operator=(const FinishingService&) = delete;

  rpc::ServerUnaryReactor* Say(rpc::CallbackServerContext* /*context*/, const Request* /*request*/,
                               Response* /*response*/) override {
    class Reactor final : public rpc::ServerUnaryReactor {
      void OnDone() override { delete this; }
    };
    auto* const reactor = new Reactor;
    reactor_ = reactor;
    begun_.release();
    return reactor;
  }

 private:
  std::atomic<rpc::ServerUnaryReactor*> reactor_{nullptr};
  std::counting_semaphore<> begun_{0};
  std::thread thread_;
};

TEST(LifetimeTest, AServerMayGoAsSoonAsItsLastReactorIsFinished) {
  FinishingService service;
  for (int round = 0; round < 100; ++round) {
    ServicePair pair(service);
    ClientContext context;
    Response response;
    EXPECT_TRUE(pair.stub->Say(&context, Request(), &response).ok());
    pair.server.reset();
    pair.server_endpoint.reset();
  }
}

}  // namespace
}  // namespace ivmq::testing
