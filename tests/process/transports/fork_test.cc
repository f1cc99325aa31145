// A node belongs to the process that opened it: what becomes of it in forked children.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/address.h"
#include "ivmq/node.h"

#include "support/child.h"
#include "support/node_pair.h"
#include "support/temp_folder.h"

namespace ivmq::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ForkTest : public ::testing::TestWithParam<std::string> {
 protected:
  ForkTest()
      : address_(GetParam() == "file" ? "file:" + folder_ / "region"
                                      : "shm:/ivmq-fork-" + std::to_string(getpid())) {
    EXPECT_TRUE(CreateRegionFile(address_, 4 << 20, {.format = {.max_peers = 8}}).ok());
  }
  ~ForkTest() override {
    if (GetParam() == "shm") unlink(("/dev/shm/" + address_.substr(5)).c_str());
  }

  std::unique_ptr<Node> Open(const std::string& name) {
    Result<std::unique_ptr<Node>> node = Node::Open(address_, {.name = name});
    EXPECT_TRUE(node.ok()) << node.status().ToString();
    return *std::move(node);
  }

  TempFolder folder_;
  const std::string address_;
};

TEST_P(ForkTest, AChildsCopyOfASenderSendsNothing) {
  auto peer = Open("peer");
  auto node = Open("node");
  for (const bool exclusive : {false, true}) {
    std::optional<Result<Sender>> sender = node->OpenSender("peer", {.exclusive = exclusive});
    ASSERT_TRUE(sender->ok());
    ASSERT_EQ((*sender)->Send("before"), SendResult::kOk);
    EXPECT_EQ(RunInChild([&] {
                EXPECT_EQ((*sender)->Send("child"), SendResult::kPeerGone);
                EXPECT_EQ((*sender)->Send("child", kWait), SendResult::kPeerGone);
                EXPECT_EQ((*sender)->Loan(4).result(), SendResult::kPeerGone);
                EXPECT_EQ((*sender)->Explain(SendResult::kPeerGone).code(),
                          StatusCode::kFailedPrecondition);
                EXPECT_FALSE(node->OpenSender("peer").ok());
                sender.reset();
              }),
              0);
    ASSERT_EQ((*sender)->Send("after"), SendResult::kOk);
  }
  EXPECT_THAT(ReceiveTexts(*peer, 4), ElementsAre("before", "after", "before", "after"));
}

TEST_P(ForkTest, AChildsCopyOfATopicPublishesNothing) {
  auto peer = Open("peer");
  auto node = Open("node");
  std::vector<std::string> got;
  const auto subscribe = [&](Node& by) {
    return by.Subscribe("*", [&](const TopicMessage& m) { got.emplace_back(m.message.text()); });
  };
  const Result<Subscription> at_peer = subscribe(*peer);
  std::optional<Result<Topic>> topic = node->Advertise("news", {.history = 1});
  std::optional<Result<Subscription>> subscription = subscribe(*node);
  ASSERT_TRUE(at_peer.ok() && topic->ok() && subscription->ok());
  ASSERT_EQ((*topic)->Publish("before"), SendResult::kOk);
  EXPECT_EQ(RunInChild([&] {
              EXPECT_EQ((*topic)->Publish("child"), SendResult::kPeerGone);
              TopicLoan loan = (*topic)->Loan(2000);
              EXPECT_EQ(loan.Publish(), SendResult::kPeerGone);
              EXPECT_EQ((*topic)->subscribers(), 0U);
              EXPECT_EQ((*topic)->Explain(SendResult::kPeerGone).code(),
                        StatusCode::kFailedPrecondition);
              EXPECT_EQ(node->Advertise("other").status().code(), StatusCode::kFailedPrecondition);
              EXPECT_EQ(subscribe(*node).status().code(), StatusCode::kFailedPrecondition);
              EXPECT_EQ(node->Poll(kIgnore), 0U);
              topic.reset();
              subscription.reset();
            }),
            0);
  EXPECT_EQ(peer->Lookup("node")->topics.size(), 2U);
  ASSERT_EQ((*topic)->Publish("after"), SendResult::kOk);
  EXPECT_TRUE(PollUntil(*peer, kIgnore, [&] { return got.size() == 2; }));
  EXPECT_TRUE(PollUntil(*node, kIgnore, [&] { return got.size() == 4; }));
  EXPECT_THAT(got, ElementsAre("before", "after", "before", "after"));
}

TEST_P(ForkTest, AChildsCopyDoesNothingAndSaysSo) {
  auto peer = Open("peer");
  auto node = Open("node");
  const PeerId to = peer->id();
  ASSERT_EQ(node->Send(to, "before"), SendResult::kOk);
  ASSERT_EQ(peer->Send(node->id(), "unread"), SendResult::kOk);
  Batch batch = node->StartBatch(to);
  std::span<std::byte> payload;
  ASSERT_EQ(batch.TryClaim({}, 6, &payload), SendResult::kOk);
  std::ranges::fill(payload, std::byte{'x'});

  EXPECT_EQ(
      RunInChild([&] {
        EXPECT_TRUE(node->IsForkedCopy());
        EXPECT_THAT(node->status().message(), HasSubstr("parent process"));
        for (const Status& status : {node->status(), node->Explain(SendResult::kPeerGone, to),
                                     node->SetServices({"pkg.Echo"}), node->Lookup("peer").status(),
                                     node->Await("peer", kPatience).status()}) {
          EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
        }
        EXPECT_EQ(batch.Commit(), SendResult::kPeerGone);
        EXPECT_EQ(batch.TryClaim({}, 6, &payload), SendResult::kPeerGone);
        EXPECT_EQ(node->Send(to, "child"), SendResult::kPeerGone);
        EXPECT_EQ(node->Send(to, std::string(1 << 20, 'c'), kWait), SendResult::kPeerGone);
        EXPECT_EQ(node->SendInPlace(to, {}, 4, [](std::span<std::byte>) {}), SendResult::kPeerGone);
        EXPECT_EQ(node->StartBatch(to).TryClaim({}, 6, &payload), SendResult::kPeerGone);
        EXPECT_EQ(node->AwaitRoom(to, {}, 8, kWait), SendResult::kPeerGone);
        EXPECT_EQ(node->MaxRecordMessage(to, {}), 0U);
        EXPECT_EQ(node->Poll(kIgnore), 0U);
        EXPECT_FALSE(node->Look());
        EXPECT_FALSE(node->Wait(std::chrono::milliseconds(1)));
        EXPECT_TRUE(node->Arm());
        EXPECT_EQ(node->Fd(), -1);
        node->Wake();
        node->SetPeerWatcher([](const PeerSnapshot&) { ADD_FAILURE() << "watcher called"; });
        EXPECT_EQ(node->Poll(kIgnore), 0U);
        EXPECT_TRUE(node->Peers().peers.empty());
        EXPECT_FALSE(node->IsLive(node->id()));
        node->Report(Status(StatusCode::kUnknown, "nobody hears this"));
        node.reset();
        EXPECT_TRUE(Open("child") != nullptr);
      }),
      0);

  // The parent notices nothing.
  { const Batch end = std::move(batch); }
  EXPECT_TRUE(node->status().ok());
  EXPECT_FALSE(node->IsForkedCopy());
  ASSERT_EQ(node->Send(to, "after"), SendResult::kOk);
  EXPECT_THAT(ReceiveTexts(*peer, 2), ElementsAre("before", "after"));
  EXPECT_THAT(ReceiveTexts(*node, 1), ElementsAre("unread"));
}

TEST_P(ForkTest, AChildEndsThatExitsWithTheNodeAlive) {
  static std::unique_ptr<Node> node;
  node = Open("node");
  AwaitQuietAllocator();
  const pid_t child = fork();
  if (child == 0) std::exit(0);  // destroys the copy
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(node->status().ok());
  node.reset();
}

TEST_P(ForkTest, ADaemonOpensANodeOfItsOwn) {
  SharedCounter done;
  std::unique_ptr<Node> peer;
  Child starter = Child::Fork([&] {
    auto node = Open("service");
    AwaitQuietAllocator();
    ASSERT_EQ(daemon(1, 1), 0);
    EXPECT_FALSE(node->status().ok());
    node.reset();
    // The process that had the name has gone.
    Result<std::unique_ptr<Node>> own = Node::Open(address_, {.name = "service"});
    for (; !own.ok(); own = Node::Open(address_, {.name = "service"})) {
      if (own.status().code() != StatusCode::kAlreadyExists) std::abort();
    }
    EXPECT_TRUE((*own)->status().ok());
    done.Add();
  });
  EXPECT_EQ(starter.Wait(), 0);
  done.AwaitAtLeast(1);
}

// A child that never used the node lives on.
TEST_P(ForkTest, AKilledParentsNameIsFreeThoughItsChildLives) {
  ProcessWithChild parent([&] { return Open("name"); });
  EXPECT_EQ(Node::Open(address_, {.name = "name"}).status().code(), StatusCode::kAlreadyExists);
  parent.Kill();
  const Result<std::unique_ptr<Node>> next = Node::Open(address_, {.name = "name"});
  EXPECT_TRUE(next.ok()) << next.status().ToString();
}

// Whatever other threads are at when the process forks.
TEST_P(ForkTest, NoLockOfAnotherThreadHangsTheChild) {
  auto peer = Open("peer");
  auto node = Open("node");
  const PeerId to = peer->id();
  const auto ignore = [](const TopicMessage&) {};
  const Result<Subscription> subscription = peer->Subscribe("news", ignore);
  Result<Topic> topic = node->Advertise("news", {.history = 1});
  ASSERT_TRUE(subscription.ok() && topic.ok());
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        (void)node->Send(to, "x");
        (void)node->SendInPlace(to, {}, 4, [](std::span<std::byte>) {});
        (void)node->SetServices({"pkg.Echo"});
        (void)node->SetServices({});
        (void)node->Explain(SendResult::kPeerGone, to);
        (void)topic->Publish("x");
        (void)node->Subscribe("news", ignore);
      }
    });
  }
  threads.emplace_back([&] {
    while (!stop) (void)node->Wait(std::chrono::microseconds(10));
  });
  threads.emplace_back([&] {
    while (!stop) (void)peer->Poll(kIgnore);
  });
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(RunInChild([&] {
                if (node->Send(to, "x") != SendResult::kPeerGone ||
                    node->AwaitRoom(to, {}, 100, kWait) != SendResult::kPeerGone ||
                    node->SetServices({}).ok() || node->Explain(SendResult::kPeerGone, to).ok() ||
                    topic->Publish("x") != SendResult::kPeerGone || topic->subscribers() != 0 ||
                    node->Subscribe("news", ignore).ok() || node->Poll(kIgnore) != 0 ||
                    node->Wait(std::chrono::nanoseconds(1))) {
                  _exit(2);
                }
                node.reset();
                peer.reset();
                _exit(0);
              }),
              0);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

INSTANTIATE_TEST_SUITE_P(Regions, ForkTest, ::testing::Values("file", "shm"),
                         [](const auto& region) { return region.param; });

}  // namespace
}  // namespace ivmq::testing
