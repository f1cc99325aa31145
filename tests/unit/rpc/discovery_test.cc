// Services found by their names instead of their peers'.
#include <algorithm>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "echo_pair.h"

namespace ivmq::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using Names = std::vector<std::string>;

// A server of Echo.
class EchoPeer {
 public:
  EchoPeer(InprocRegion& region, const std::string& name) {
    auto node = Node::Open(*region.Join(), {.name = name});
    EXPECT_TRUE(node.ok()) << node.status().ToString();
    endpoint_ = rpc::Endpoint::Make(*std::move(node));
    auto built = rpc::ServerBuilder(endpoint_).RegisterService(&service_).BuildAndStart();
    EXPECT_TRUE(built.ok()) << built.status().ToString();
    server_ = *std::move(built);
  }

  [[nodiscard]] rpc::Server& server() { return *server_; }
  [[nodiscard]] EchoService& service() { return service_; }

 private:
  EchoService service_;
  std::shared_ptr<rpc::Endpoint> endpoint_;
  std::unique_ptr<rpc::Server> server_;
};

// The providers that a watch was told of last.
class Watched {
 public:
  void Set(const std::vector<PeerInfo>& providers) {
    const std::lock_guard lock(mutex_);
    names_.clear();
    for (const PeerInfo& peer : providers) names_.push_back(peer.name);
    std::sort(names_.begin(), names_.end());
    ++calls_;
    changed_.notify_all();
  }
  bool Await(const Names& names) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [&] { return calls_ > 0 && names_ == names; });
  }
  int calls() {
    const std::lock_guard lock(mutex_);
    return calls_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  Names names_;
  int calls_ = 0;
};

class DiscoveryTest : public ::testing::Test {
 protected:
  DiscoveryTest() {
    auto made = InprocRegion::Create(std::uint64_t{32} << 20, {.max_peers = 8});
    EXPECT_TRUE(made.ok()) << made.status().ToString();
    region_ = *std::move(made);
    auto node = Node::Open(*region_->Join(), {.name = "client"});
    EXPECT_TRUE(node.ok()) << node.status().ToString();
    client_ = rpc::Endpoint::Make(*std::move(node));
    stub_ = Echo::NewStub(client_->CreateServiceChannel("ivmq.test.Echo"));
  }

  rpc::Status Say(bool wait_for_ready = false) {
    ClientContext context;
    context.set_deadline(Soon());
    context.set_wait_for_ready(wait_for_ready);
    rpc::Status status = stub_->Say(&context, request_, &response_);
    if (status.ok()) ++answers_[context.peer()];
    return status;
  }

  std::shared_ptr<InprocRegion> region_;
  std::shared_ptr<rpc::Endpoint> client_;
  std::unique_ptr<Echo::Stub> stub_;
  Request request_;
  Response response_;
  std::map<std::string, int> answers_;
};

TEST_F(DiscoveryTest, AServerSaysWhatItOffersUntilItShutsDown) {
  EchoPeer server(*region_, "a");
  EXPECT_THAT(client_->node().Lookup("a")->services, ElementsAre("ivmq.test.Echo"));
  server.server().Shutdown();
  EXPECT_THAT(client_->node().Lookup("a")->services, IsEmpty());
}

TEST_F(DiscoveryTest, CallsGoToTheProvidersInTurn) {
  EchoPeer a(*region_, "a");
  EchoPeer b(*region_, "b");
  EchoPeer c(*region_, "c");
  for (int i = 0; i < 30; ++i) EXPECT_TRUE(Say().ok());
  EXPECT_THAT(answers_, ElementsAre(Pair("a", 10), Pair("b", 10), Pair("c", 10)));
}

TEST_F(DiscoveryTest, StreamsGoToTheProvidersInTurnToo) {
  EchoPeer a(*region_, "a");
  EchoPeer b(*region_, "b");
  std::map<std::string, int> peers;
  for (int i = 0; i < 4; ++i) {
    ClientContext context;
    context.set_deadline(Soon());
    request_.set_count(3);
    const auto reader = stub_->Count(&context, request_);
    Response::Part part;
    int parts = 0;
    while (reader->Read(&part)) ++parts;
    EXPECT_TRUE(reader->Finish().ok());
    EXPECT_EQ(parts, 3);
    ++peers[context.peer()];
  }
  EXPECT_THAT(peers, ElementsAre(Pair("a", 2), Pair("b", 2)));
}

TEST_F(DiscoveryTest, WithoutAProviderACallEndsAtOnceOrAtItsDeadline) {
  const rpc::Status status = Say();
  EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("ivmq.test.Echo"));

  ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(10));
  context.set_wait_for_ready(true);
  EXPECT_EQ(stub_->Say(&context, request_, &response_).error_code(), StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(DiscoveryTest, ACallThatWaitsGoesToTheFirstProviderThatComes) {
  std::thread caller([&] { EXPECT_TRUE(Say(/*wait_for_ready=*/true).ok()); });
  EchoPeer late(*region_, "late");
  caller.join();
  EXPECT_THAT(answers_, ElementsAre(Pair("late", 1)));
}

TEST_F(DiscoveryTest, AProviderThatDiesOrComesBackIsSkippedOrUsed) {
  EchoPeer a(*region_, "a");
  auto b = std::make_unique<EchoPeer>(*region_, "b");
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(Say().ok());
  b.reset();
  answers_.clear();
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(Say().ok());
  EXPECT_THAT(answers_, ElementsAre(Pair("a", 4)));
  b = std::make_unique<EchoPeer>(*region_, "b");
  answers_.clear();
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(Say().ok());
  EXPECT_THAT(answers_, ElementsAre(Pair("a", 2), Pair("b", 2)));
}

TEST_F(DiscoveryTest, AServerThatShutsDownGetsNoMoreCalls) {
  EchoPeer a(*region_, "a");
  EchoPeer b(*region_, "b");
  b.server().Shutdown();
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(Say().ok());
  EXPECT_THAT(answers_, ElementsAre(Pair("a", 4)));
}

TEST_F(DiscoveryTest, AWatchHearsProvidersComeAndGo) {
  Watched watched;
  const auto watch = client_->WatchService(
      "ivmq.test.Echo", [&](const std::vector<PeerInfo>& providers) { watched.Set(providers); });
  EXPECT_TRUE(watched.Await({}));
  auto a = std::make_unique<EchoPeer>(*region_, "a");
  EXPECT_TRUE(watched.Await({"a"}));
  EchoPeer b(*region_, "b");
  EXPECT_TRUE(watched.Await({"a", "b"}));
  b.server().Shutdown();
  EXPECT_TRUE(watched.Await({"a"}));
  a.reset();
  EXPECT_TRUE(watched.Await({}));
}

TEST_F(DiscoveryTest, AWatchHearsNothingOfOtherChangesAndNothingAfterItsEnd) {
  Watched watched;
  Watched other;
  auto watch = client_->WatchService(
      "ivmq.test.Echo", [&](const std::vector<PeerInfo>& providers) { watched.Set(providers); });
  EXPECT_TRUE(watched.Await({}));
  auto others = client_->WatchService(
      "pkg.Other", [&](const std::vector<PeerInfo>& providers) { other.Set(providers); });
  auto node = Node::Open(*region_->Join(), {.name = "other"});
  ASSERT_TRUE(node.ok());
  ASSERT_TRUE((*node)->SetServices({"pkg.Other"}).ok());
  EXPECT_TRUE(other.Await({"other"}));
  EXPECT_EQ(watched.calls(), 1);

  watch.reset();
  EchoPeer a(*region_, "a");
  ASSERT_TRUE((*node)->SetServices({}).ok());
  EXPECT_TRUE(other.Await({}));
  EXPECT_EQ(watched.calls(), 1);
}

TEST_F(DiscoveryTest, AWatchMayEndWithinItsWatcher) {
  std::unique_ptr<rpc::ServiceWatch> watch;
  std::promise<void> ready;
  std::promise<void> ended;
  watch = client_->WatchService("ivmq.test.Echo", [&](const std::vector<PeerInfo>&) {
    ready.get_future().wait();
    watch.reset();
    ended.set_value();
  });
  ready.set_value();
  ended.get_future().wait();
  EXPECT_EQ(watch, nullptr);
}

TEST_F(DiscoveryTest, AServerWhoseServicesDoNotFitASlotIsRefused) {
  class Many final : public rpc::Service {
   public:
    Many() {
      for (int i = 0; i < 100; ++i) {
        paths_.push_back("/pkg.Service" + std::to_string(i) + "/Method");
      }
      for (const std::string& path : paths_) {
        AddMethod(path.c_str(), rpc::MethodType::kUnary, nullptr);
      }
    }

   private:
    std::vector<std::string> paths_;
  } many;
  auto built = rpc::ServerBuilder(client_).RegisterService(&many).BuildAndStart();
  EXPECT_EQ(built.status().code(), ivmq::StatusCode::kResourceExhausted);
  EXPECT_THAT(built.status().message(), HasSubstr("100"));
}

}  // namespace
}  // namespace ivmq::testing
