// What sending and polling a small message must not do: allocate, or enter the kernel. This program
// counts all allocations of the thread that asks for it.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include <gtest/gtest.h>

#include "ivmq/node.h"

#include "support/allocations.h"
#include "support/child.h"
#include "support/node_pair.h"

namespace ivmq {
namespace {

using testing::AllocationsOfThisThread;
using testing::Hub;

// Two nodes, and everything done once that is done once.
class WarmPair {
 public:
  explicit WarmPair(bool trust_peers)
      : hub_(1U << 20, {.max_peers = 4}),
        a_(testing::OpenNode(hub_, 1, Options("a", trust_peers))),
        b_(testing::OpenNode(hub_, 2, Options("b", trust_peers))) {
    RoundTrips(600);  // all sizes
  }

  // Every result is checked without GoogleTest, which allocates.
  void RoundTrips(int count) {
    std::array<std::byte, 256> message{};
    const MessageType by_name{
        .kind = layout::FrameKind::kTypedByName, .type = 0, .name = "pkg.Type"};
    for (int i = 0; i < count; ++i) {
      const auto bytes = std::span(message).first(static_cast<std::size_t>(i) % message.size());
      if (a_->Send(b_->id(), i % 2 == 0 ? MessageType{} : by_name, bytes) != SendResult::kOk) {
        std::abort();
      }
      {
        Batch batch = a_->StartBatch(b_->id());
        for (int k = 0; k < 3; ++k) {
          std::span<std::byte> payload;
          if (batch.TryClaim({}, 40, &payload) != SendResult::kOk) std::abort();
        }
        if (batch.Commit() != SendResult::kOk) std::abort();
      }
      std::size_t echoed = 0;
      const auto echo = [&](const Message& received) {
        if (b_->Send(received.from, received.payload) != SendResult::kOk) std::abort();
        ++echoed;
      };
      while (echoed < 4) (void)b_->Poll(echo);
      std::size_t returned = 0;
      while (returned < 4) returned += a_->Poll([](const Message&) {});
    }
  }
  void IdlePolls(int count) {
    for (int i = 0; i < count; ++i) {
      if (a_->Poll([](const Message&) {}) != 0) std::abort();
    }
  }
  [[nodiscard]] std::uint64_t rings() const { return hub_.rings(); }

 private:
  static NodeOptions Options(const char* name, bool trust_peers) {
    NodeOptions options;
    options.name = name;
    options.trust_peers = trust_peers;
    return options;
  }

  Hub hub_;
  std::unique_ptr<Node> a_;
  std::unique_ptr<Node> b_;
};

TEST(HotPathTest, TheCounterCounts) {
  const std::uint64_t before = AllocationsOfThisThread();
  void* const one = ::operator new(1);  // a new-expression may be optimized away
  EXPECT_EQ(AllocationsOfThisThread(), before + 1);
  ::operator delete(one);
}

TEST(HotPathTest, SmallMessagesAreSentAndHandledWithoutAllocation) {
  for (const bool trust_peers : {false, true}) {
    WarmPair pair(trust_peers);
    const std::uint64_t rings = pair.rings();
    const std::uint64_t before = AllocationsOfThisThread();
    pair.RoundTrips(20000);
    pair.IdlePolls(20000);
    EXPECT_EQ(AllocationsOfThisThread(), before);
    EXPECT_EQ(pair.rings(), rings) << "nobody slept";
  }
}

// A topic, and everything done once that is done once.
class WarmTopic {
 public:
  WarmTopic()
      : hub_(1U << 20, {.max_peers = 4}),
        a_(testing::OpenNode(hub_, 1, {.name = "a"})),
        b_(testing::OpenNode(hub_, 2, {.name = "b"})),
        subscription_(b_->Subscribe("camera/*", [this](const TopicMessage&) { ++got_; })),
        topic_(a_->Advertise("camera/front")) {
    PublishAndPoll(600);
  }

  void PublishAndPoll(int count) {
    std::array<std::byte, 256> message{};
    for (int i = 0; i < count; ++i) {
      const auto bytes = std::span(message).first(static_cast<std::size_t>(i) % message.size());
      for (int k = 0; k < 3; ++k) {
        if (topic_->PublishTyped({}, bytes) != SendResult::kOk) std::abort();
      }
      const std::uint64_t until = got_ + 3;
      while (got_ < until) (void)b_->Poll([](const Message&) {});
    }
    if (topic_->dropped() != 0) std::abort();
  }

 private:
  Hub hub_;
  std::uint64_t got_ = 0;
  std::unique_ptr<Node> a_;
  std::unique_ptr<Node> b_;
  Result<Subscription> subscription_;
  Result<Topic> topic_;
};

TEST(HotPathTest, SmallMessagesOfTopicsArePublishedAndHandledWithoutAllocation) {
  WarmTopic topic;
  const std::uint64_t before = AllocationsOfThisThread();
  topic.PublishAndPoll(20000);
  EXPECT_EQ(AllocationsOfThisThread(), before);
}

// From here on any system call of this thread ends the process with SIGSYS; ending it is allowed.
void ForbidSystemCalls() {
  std::array<sock_filter, 4> filter = {{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
  }};
  const sock_fprog program{.len = filter.size(), .filter = filter.data()};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    std::abort();
  }
}

// Not _exit: a sanitizer makes system calls of its own before a function that does not return.
void End() { (void)syscall(SYS_exit_group, 0); }

TEST(HotPathTest, ASystemCallWouldBeSeen) {
  testing::Child child = testing::Child::Fork([] {
    ForbidSystemCalls();
    (void)syscall(SYS_getppid);
    End();
  });
  EXPECT_EQ(child.Wait(), 128 + SIGSYS);
}

#ifndef __SANITIZE_THREAD__  // which makes system calls of its own at any time
TEST(HotPathTest, MessagesBetweenPollingNodesNeedNoSystemCall) {
  testing::Child child = testing::Child::Fork([] {
    WarmPair pair(false);
    ForbidSystemCalls();
    pair.RoundTrips(20000);
    pair.IdlePolls(20000);
    End();
  });
  EXPECT_EQ(child.Wait(), 0);
}

TEST(HotPathTest, TopicsBetweenPollingNodesNeedNoSystemCall) {
  testing::Child child = testing::Child::Fork([] {
    WarmTopic topic;
    ForbidSystemCalls();
    topic.PublishAndPoll(20000);
    End();
  });
  EXPECT_EQ(child.Wait(), 0);
}
#endif

}  // namespace
}  // namespace ivmq
