// Nodes that talk within one process.
#include "ivmq/internal/arena.h"
#include "ivmq/internal/peer_table.h"
#include "ivmq/internal/ring.h"
#include "ivmq/node.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/node_pair.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using layout::Counter;
using layout::FrameKind;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Hub;
using testing::kIgnore;
using testing::kMiB;
using testing::kWait;
using testing::OpenNode;
using testing::PollUntil;
using testing::ReceiveTexts;

class NodeTest : public ::testing::Test {
 protected:
  NodeTest() : hub_(4 * kMiB, {.max_peers = 8}) {}

  std::unique_ptr<Node> Open(const std::string& name, NodeOptions options = {},
                             testing::EventfdTransportOptions transport = {}) {
    options.name = name;
    return OpenNode(hub_, next_ivposition_++, std::move(options), transport);
  }

  // The cell of the ring between two nodes, and the ring.
  [[nodiscard]] layout::Cell CellOf(PeerId producer, PeerId consumer) const {
    const Region& region = hub_.region();
    return layout::Cell::FromWord(
        region.cell(region.CellIndex(consumer.slot, producer.slot)).load());
  }
  [[nodiscard]] RingView RingOf(PeerId producer, PeerId consumer) const {
    return *hub_.region().RingOf(CellOf(producer, consumer));
  }

  Hub hub_;
  std::uint16_t next_ivposition_ = 1;
};

TEST_F(NodeTest, MessagesReachNamedPeersInBothDirections) {
  auto a = Open("a");
  auto b = Open("b");
  const Result<PeerInfo> to_b = a->Lookup("b");
  ASSERT_TRUE(to_b.ok()) << to_b.status().ToString();
  EXPECT_EQ(to_b->id, b->id());
  ASSERT_EQ(a->Send(to_b->id, "ping"), SendResult::kOk);
  EXPECT_THAT(ReceiveTexts(*b, 1), ElementsAre("ping"));
  ASSERT_EQ(b->Send(b->Lookup("a")->id, "pong"), SendResult::kOk);
  EXPECT_THAT(ReceiveTexts(*a, 1), ElementsAre("pong"));
}

TEST_F(NodeTest, AMessageComesWithItsSenderKindAndType) {
  auto a = Open("a");
  auto b = Open("b");
  ASSERT_EQ(a->Send(b->id(), {.type = 77}, {}), SendResult::kOk);
  ASSERT_EQ(a->Send(b->id(), {.kind = FrameKind::kTypedById, .type = 0xdeadbeef},
                    testing::Pattern(10, 1)),
            SendResult::kOk);
  ASSERT_EQ(a->Send(b->id(), {.kind = FrameKind::kTypedByName, .name = "pkg.Type"},
                    testing::Pattern(11, 2)),
            SendResult::kOk);
  int received = 0;
  ASSERT_TRUE(PollUntil(
      *b,
      [&](const Message& message) {
        EXPECT_EQ(message.from, a->id());
        EXPECT_FALSE(message.redelivered);
        switch (received++) {
          case 0:
            EXPECT_EQ(message.kind, FrameKind::kBytes);
            EXPECT_EQ(message.type, 77U);
            EXPECT_TRUE(message.payload.empty());
            EXPECT_TRUE(message.type_name.empty());
            break;
          case 1:
            EXPECT_EQ(message.kind, FrameKind::kTypedById);
            EXPECT_EQ(message.type, 0xdeadbeefU);
            EXPECT_TRUE(testing::HasPattern(message.payload, 1));
            EXPECT_EQ(message.payload.size(), 10U);
            break;
          default:
            EXPECT_EQ(message.kind, FrameKind::kTypedByName);
            EXPECT_EQ(message.type_name, "pkg.Type");
            EXPECT_TRUE(testing::HasPattern(message.payload, 2));
            EXPECT_EQ(message.payload.size(), 11U);
        }
      },
      [&] { return received == 3; }));
}

TEST_F(NodeTest, AHandlerSeesTheRegionItselfOnlyIfItsPeersAreTrusted) {
  const std::vector<std::byte> message = testing::Pattern(1000, 1);
  for (const bool trust : {false, true}) {
    auto a = Open("a");
    auto b = Open("b", {.trust_peers = trust});
    ASSERT_EQ(a->Send(b->id(), message), SendResult::kOk);
    const std::span<const std::byte> region = hub_.memory();
    std::size_t received = 0;
    EXPECT_TRUE(PollUntil(
        *b,
        [&](const Message& got) {
          const bool is_in_region = got.payload.data() >= region.data() &&
                                    got.payload.data() < region.data() + region.size();
          EXPECT_EQ(is_in_region, trust);
          ++received;
        },
        [&] { return received == 1; }));
  }
}

// Copied or handled in place, for every size around a record's and a fragment's limits.
TEST_F(NodeTest, MessagesOfAllSizesArriveWhole) {
  for (const bool trust : {false, true}) {
    auto a = Open("a");
    auto b = Open("b", {.trust_peers = trust});
    const std::uint64_t record = a->MaxRecordMessage(b->id(), {});
    ASSERT_GT(record, 1000U);
    std::vector<std::uint64_t> sizes = {0, 1, 7, 8, 9, 1000};
    for (std::uint64_t size = record - 20; size <= record + 20; ++size) sizes.push_back(size);
    for (std::uint64_t k = 1; k <= 9; ++k) {
      for (std::uint64_t size = k * record / 2 - 40; size <= k * record / 2 + 40; size += 5) {
        sizes.push_back(size);
      }
    }
    std::thread sender([&] {
      for (std::size_t i = 0; i < sizes.size(); ++i) {
        ASSERT_EQ(a->Send(b->id(), {.type = static_cast<std::uint32_t>(i)},
                          testing::Pattern(sizes[i], i), kWait),
                  SendResult::kOk);
      }
    });
    std::size_t received = 0;
    EXPECT_TRUE(PollUntil(
        *b,
        [&](const Message& message) {
          EXPECT_EQ(message.type, received);
          EXPECT_EQ(message.payload.size(), sizes[received]);
          EXPECT_TRUE(testing::HasPattern(message.payload, received)) << sizes[received];
          ++received;
        },
        [&] { return received == sizes.size(); }));
    sender.join();
    EXPECT_EQ(b->counter(Counter::kMessagesReceived), sizes.size());
    EXPECT_EQ(a->counter(Counter::kMessagesSent), sizes.size());
    EXPECT_EQ(a->counter(Counter::kBytesSent), b->counter(Counter::kBytesReceived));
  }
}

TEST_F(NodeTest, SizesBeyondTheLimitAreRefusedAtBothEnds) {
  auto a = Open("a");
  auto strict = Open("strict", {.max_message_bytes = 1000});
  std::vector<std::byte> bytes(64 * kMiB + 1);
  EXPECT_EQ(a->Send(strict->id(), bytes), SendResult::kTooLarge);
  EXPECT_EQ(strict->Send(a->id(), std::span(bytes).first(1001)), SendResult::kTooLarge);
  EXPECT_EQ(strict->Send(a->id(), std::span(bytes).first(1000)), SendResult::kOk);
  EXPECT_EQ(a->Send(a->id(), {.kind = FrameKind::kTypedByName, .name = std::string(1025, 'n')}, {}),
            SendResult::kTooLarge);

  // What `a` may send and `strict` does not take: dropped, counted, and the rest arrives.
  for (const std::uint64_t size : {1001U, 200000U}) {
    const std::uint64_t before =
        strict->counter(Counter::kDropped) + strict->counter(Counter::kAssembliesLost);
    std::thread sender([&] {
      EXPECT_EQ(a->Send(strict->id(), std::span(bytes).first(size), kWait), SendResult::kOk);
      EXPECT_EQ(a->Send(strict->id(), "after", kWait), SendResult::kOk);
    });
    EXPECT_THAT(ReceiveTexts(*strict, 1), ElementsAre("after"));
    sender.join();
    EXPECT_EQ(strict->counter(Counter::kDropped) + strict->counter(Counter::kAssembliesLost),
              before + 1);
  }
}

// ---- Names ----

TEST_F(NodeTest, ANameIsHeldWhileItsNodeLives) {
  auto a = Open("a");
  Result<std::unique_ptr<Node>> second = Node::Open(MakeTransport(hub_, 9), {.name = "a"});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), StatusCode::kAlreadyExists);
  EXPECT_THAT(second.status().message(), HasSubstr("test:9"));
  EXPECT_THAT(second.status().message(), HasSubstr(std::to_string(getpid())));
  a.reset();
  EXPECT_EQ(Open("a")->name(), "a");
}

TEST_F(NodeTest, AnonymousNodesHaveNamesOfTheirOwn) {
  auto a = Open("");
  auto b = Open("");
  EXPECT_THAT(a->name(), ::testing::StartsWith("anonymous-"));
  EXPECT_NE(a->name(), b->name());
}

TEST_F(NodeTest, LookupAndAwaitSayWhoIsMissing) {
  auto a = Open("a");
  EXPECT_EQ(a->Lookup("b").status().code(), StatusCode::kNotFound);
  EXPECT_THAT(a->Lookup("b").status().message(), HasSubstr("'b'"));
  const Result<PeerInfo> none = a->Await("b", milliseconds(1));
  EXPECT_EQ(none.status().code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(none.status().message(), HasSubstr("'b'"));
}

TEST_F(NodeTest, AwaitFindsAPeerThatComesLater) {
  auto a = Open("a");
  std::unique_ptr<Node> b;
  std::thread later([&] { b = Open("b"); });
  const Result<PeerInfo> found = a->Await("b", testing::kPatience);
  later.join();
  ASSERT_TRUE(found.ok()) << found.status().ToString();
  EXPECT_EQ(found->id, b->id());
}

TEST_F(NodeTest, OpenRefusesWhatIsNoRegion) {
  Hub broken(kMiB);
  broken.memory()[0] ^= std::byte{1};
  Result<std::unique_ptr<Node>> node = Node::Open(MakeTransport(broken, 3), {.name = "a"});
  ASSERT_FALSE(node.ok());
  EXPECT_EQ(node.status().code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(node.status().message(), HasSubstr("test:3"));
}

// As sandboxes and old kernels do. A node that cannot sleep would spin.
void RefuseSleepToThisThread() {
  std::array<sock_filter, 4> filter{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_epoll_pwait2, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog program{.len = filter.size(), .filter = filter.data()};
  ASSERT_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
  ASSERT_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

TEST_F(NodeTest, OpenFailsWhereTheKernelLetsNobodySleep) {
  Status status;
  std::thread([&] {
    RefuseSleepToThisThread();
    status = Node::Open(testing::MakeTransport(hub_, 1), {.name = "a"}).status();
  }).join();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("epoll_pwait2: Operation not permitted"));
}

TEST_F(NodeTest, OptionsThatContradictEachOtherAreRefused) {
  Result<std::unique_ptr<Node>> node = Node::Open(
      MakeTransport(hub_, 3), {.name = "a", .max_message_bytes = 1000, .reassembly_bytes = 999});
  EXPECT_EQ(node.status().code(), StatusCode::kInvalidArgument);
}

// ---- Watching ----

TEST_F(NodeTest, TheWatcherIsCalledOnceAtFirstAndForEventsThatCoalesced) {
  auto a = Open("a");
  std::vector<PeerSnapshot> seen;
  a->SetPeerWatcher([&](const PeerSnapshot& snapshot) { seen.push_back(snapshot); });
  (void)a->Poll(kIgnore);
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_EQ(seen[0].peers.size(), 1U);
  (void)a->Poll(kIgnore);
  EXPECT_EQ(seen.size(), 1U) << "nothing had changed";

  auto b = Open("b");
  Open("c").reset();
  (void)a->Poll(kIgnore);
  ASSERT_EQ(seen.size(), 2U) << "several events, one call";
  EXPECT_NE(seen[1].generation, seen[0].generation);
  std::set<std::string> names;
  for (const PeerInfo& peer : seen[1].peers) names.insert(peer.name);
  EXPECT_EQ(names, (std::set<std::string>{"a", "b"}));

  // A peer that left and came back in between is another incarnation.
  const PeerId old = b->id();
  b.reset();
  b = Open("b");
  (void)a->Poll(kIgnore);
  ASSERT_EQ(seen.size(), 3U);
  for (const PeerInfo& peer : seen[2].peers) {
    if (peer.name == "b") {
      EXPECT_NE(peer.id, old);
    }
  }
}

TEST_F(NodeTest, AWaitingWatcherIsWokenByAPeerThatComes) {
  auto a = Open("a");
  std::size_t peers = 0;
  a->SetPeerWatcher([&](const PeerSnapshot& snapshot) { peers = snapshot.peers.size(); });
  std::unique_ptr<Node> b;
  std::thread later([&] { b = Open("b"); });
  EXPECT_TRUE(PollUntil(*a, kIgnore, [&] { return peers == 2; }));
  later.join();
}

TEST_F(NodeTest, AWaitingWatcherHearsWhatPeersOffer) {
  auto a = Open("a");
  auto b = Open("b");
  std::vector<std::string> services{"not called yet"};
  a->SetPeerWatcher([&](const PeerSnapshot& snapshot) {
    for (const PeerInfo& peer : snapshot.peers) {
      if (peer.name == "b") services = peer.services;
    }
  });
  (void)a->Poll(kIgnore);
  EXPECT_TRUE(services.empty());
  const std::vector<std::string> offered{"pkg.Echo", "pkg.Other"};
  std::thread later([&] { EXPECT_TRUE(b->SetServices(offered).ok()); });
  EXPECT_TRUE(PollUntil(*a, kIgnore, [&] { return services == offered; }));
  later.join();
  later = std::thread([&] { EXPECT_TRUE(b->SetServices({}).ok()); });
  EXPECT_TRUE(PollUntil(*a, kIgnore, [&] { return services.empty(); }));
  later.join();
}

TEST_F(NodeTest, ServicesThatAreRefusedLeaveThoseOfBefore) {
  auto a = Open("a");
  ASSERT_TRUE(a->SetServices({"pkg.Echo"}).ok());
  EXPECT_EQ(a->SetServices({"no name"}).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(a->SetServices({std::string(layout::kServiceTextBytes, 'x')}).code(),
            StatusCode::kResourceExhausted);
  EXPECT_EQ(a->Lookup("a")->services, std::vector<std::string>{"pkg.Echo"});
}

TEST_F(NodeTest, DamageToServicesDoesNotLast) {
  auto a = Open("a");
  auto b = Open("b");
  ASSERT_TRUE(b->SetServices({"pkg.Echo"}).ok());
  std::vector<std::string> services;
  a->SetPeerWatcher([&](const PeerSnapshot&) { services = a->Lookup("b")->services; });
  layout::PeerSlot& slot = hub_.region().slot(b->id().slot);
  slot.services_text[0].store(0);
  slot.services_sequence.fetch_add(1);
  EXPECT_TRUE(
      PollUntil(*a, kIgnore, [&] { return services == std::vector<std::string>{"pkg.Echo"}; }));
}

// ---- Full rings ----

class FullRingTest : public NodeTest {
 protected:
  FullRingTest() : a_(Open("a")), b_(Open("b")) {
    while (a_->Send(b_->id(), bytes_) == SendResult::kOk) ++sent_;
  }

  // Until a sender has said in the ring that it waits.
  static void AwaitArmed(const RingView& ring) {
    while (ring.header->space_armed.load() % 2 == 0) std::this_thread::yield();
  }

  std::vector<std::byte> bytes_ = testing::Pattern(1000, 1);
  std::unique_ptr<Node> a_;
  std::unique_ptr<Node> b_;
  std::size_t sent_ = 0;
};

TEST_F(FullRingTest, EachChoiceGivesItsOwnResult) {
  EXPECT_GT(sent_, 10U);
  EXPECT_EQ(a_->Send(b_->id(), bytes_), SendResult::kFull);
  EXPECT_GE(a_->counter(Counter::kRingsFull), 2U);
  EXPECT_EQ(a_->counter(Counter::kDropped), 0U);
  EXPECT_EQ(a_->Send(b_->id(), bytes_, {.when_full = WhenFull::kDrop}), SendResult::kDropped);
  EXPECT_EQ(a_->counter(Counter::kDropped), 1U);
  EXPECT_EQ(a_->Send(b_->id(), bytes_, {.when_full = WhenFull::kWait, .timeout = milliseconds(1)}),
            SendResult::kTimedOut);
  EXPECT_EQ(a_->AwaitRoom(b_->id(), {}, 1000, {}), SendResult::kFull);
  EXPECT_EQ(ReceiveTexts(*b_, sent_).size(), sent_);
  EXPECT_EQ(b_->Poll(kIgnore), 0U) << "what was refused came all the same";
  EXPECT_EQ(a_->AwaitRoom(b_->id(), {}, 1000, {}), SendResult::kOk);
}

TEST_F(FullRingTest, AWaitingSenderIsWokenWhenThereIsRoom) {
  std::atomic<SendResult> result{SendResult::kFull};
  std::thread sender([&] { result.store(a_->Send(b_->id(), "last", kWait)); });
  AwaitArmed(RingOf(a_->id(), b_->id()));
  const std::vector<std::string> texts = ReceiveTexts(*b_, sent_ + 1);
  sender.join();
  EXPECT_EQ(result, SendResult::kOk);
  EXPECT_EQ(texts.back(), "last");
  EXPECT_GT(b_->counter(Counter::kDoorbellsRung), 0U) << "nobody rang for the waiting sender";
}

TEST_F(FullRingTest, AWaitingSenderIsWokenWhenItsReceiverEnds) {
  const RingView ring = RingOf(a_->id(), b_->id());
  const PeerId b = b_->id();
  SendResult result = SendResult::kOk;
  std::thread sender([&] { result = a_->Send(b, "last", kWait); });
  AwaitArmed(ring);
  const std::uint64_t before = hub_.rings();
  b_.reset();
  EXPECT_GT(hub_.rings(), before) << "nobody rang for the waiting sender";
  sender.join();
  EXPECT_EQ(result, SendResult::kPeerGone);
  EXPECT_EQ(ring.header->space_armed.load() % 2, 0U);
}

// The two take events from different sets.
TEST_F(FullRingTest, AWaitingSenderLeavesTheWakeUpOfAnEventLoop) {
  auto c = Open("c");
  const RingView ring = RingOf(a_->id(), b_->id());
  std::thread sender([&] { EXPECT_EQ(a_->Send(b_->id(), "last", kWait), SendResult::kOk); });
  AwaitArmed(ring);
  pollfd wait{.fd = a_->Fd(), .events = POLLIN, .revents = 0};
  do {
    while (!a_->Arm()) (void)a_->Poll(kIgnore);
    if (poll(&wait, 1, 0) == 0) break;
    (void)a_->Poll(kIgnore);  // takes what woke it before
  } while (true);
  const std::uint64_t armed = ring.header->space_armed.load();
  ASSERT_EQ(c->Send(a_->id(), "wake up"), SendResult::kOk);
  while (ring.header->space_armed.load() == armed) std::this_thread::yield();
  EXPECT_EQ(poll(&wait, 1, 0), 1) << "the sender took the doorbell of the loop";
  EXPECT_THAT(ReceiveTexts(*a_, 1), ElementsAre("wake up"));
  EXPECT_EQ(ReceiveTexts(*b_, sent_ + 1).back(), "last");
  sender.join();
}

TEST_F(FullRingTest, ManySendersMayWaitAtOnce) {
  constexpr int kSenders = 4;
  constexpr int kEach = 300;
  std::vector<std::thread> senders;
  for (int i = 0; i < kSenders; ++i) {
    senders.emplace_back([&] {
      for (int k = 0; k < kEach; ++k) EXPECT_EQ(a_->Send(b_->id(), bytes_, kWait), SendResult::kOk);
    });
  }
  std::size_t received = 0;
  EXPECT_TRUE(PollUntil(
      *b_,
      [&](const Message& message) {
        EXPECT_TRUE(testing::HasPattern(message.payload, 1));
        ++received;
      },
      [&] { return received == sent_ + kSenders * kEach; }));
  for (std::thread& sender : senders) sender.join();
}

// ---- Peers that are gone, arenas that are full ----

TEST_F(NodeTest, ASendToALifeThatEndedIsPeerGone) {
  auto a = Open("a");
  auto b = Open("b");
  const PeerId old = b->id();
  ASSERT_EQ(a->Send(old, "unread"), SendResult::kOk);
  b.reset();
  EXPECT_EQ(a->Send(old, "x"), SendResult::kPeerGone);
  EXPECT_EQ(a->Explain(SendResult::kPeerGone, old).code(), StatusCode::kUnavailable);
  b = Open("b");
  EXPECT_EQ(a->Send(old, "x"), SendResult::kPeerGone) << "another life in the same slot";
  EXPECT_EQ(a->Send(b->id(), "new", kWait), SendResult::kOk);
  EXPECT_THAT(ReceiveTexts(*b, 1), ElementsAre("new"));
  EXPECT_EQ(a->Send({1000, 1}, "x"), SendResult::kPeerGone);
  EXPECT_EQ(a->Send({7, 1}, "x"), SendResult::kPeerGone);
}

TEST_F(NodeTest, WhatAPeerSentBeforeItLeftArrives) {
  auto a = Open("a");
  auto b = Open("b");
  const PeerId from = a->id();
  ASSERT_EQ(a->Send(b->id(), "last words"), SendResult::kOk);
  a.reset();
  bool received = false;
  EXPECT_TRUE(PollUntil(
      *b,
      [&](const Message& message) {
        EXPECT_EQ(message.from, from);
        EXPECT_EQ(testing::AsText(message.payload), "last words");
        received = true;
      },
      [&] { return received; }));
}

TEST_F(NodeTest, RingsAndSlotOfAPeerThatLeftAreReclaimed) {
  auto a = Open("a");
  const Arena arena(hub_.region());
  const std::uint32_t all = arena.Stats().units_free;
  for (int round = 0; round < 3; ++round) {
    auto b = Open("b");
    ASSERT_EQ(a->Send(b->id(), "x", kWait), SendResult::kOk);
    ASSERT_EQ(b->Send(a->id(), "y", kWait), SendResult::kOk);
    EXPECT_EQ(arena.Stats().rings, 2U);
    b.reset();
    EXPECT_TRUE(PollUntil(*a, kIgnore, [&] {
      return arena.Stats().units_free == all &&
             PeerTable(hub_.region()).Snapshot().peers.size() == 1;
    }));
  }
}

// ---- Rings that ended ----

TEST_F(NodeTest, ARingThatWasGivenUpIsNotWrittenToAgain) {
  auto a = Open("a");
  auto b = Open("b");
  ASSERT_EQ(a->Send(b->id(), "x"), SendResult::kOk);
  const RingView ring = RingOf(a->id(), b->id());
  ring.CommitWordAt(0).store(1);
  EXPECT_TRUE(PollUntil(*b, kIgnore, [&] { return b->counter(Counter::kRingsPoisoned) == 1; }));
  // As if the units were another ring's.
  for (layout::Word* const word :
       {&ring.header->released, &ring.header->acked, &ring.header->delivered}) {
    word->store(64);
  }
  const auto beats = [&] { return hub_.region().slot(b->id().slot).heartbeat.load(); };
  const std::uint64_t before = beats();
  EXPECT_TRUE(PollUntil(*b, kIgnore, [&] { return beats() >= before + 2; }));
  (void)b->Poll(kIgnore);
  EXPECT_EQ(ring.header->released.load(), 64U);
  EXPECT_EQ(ring.header->acked.load(), 64U);
  EXPECT_EQ(ring.header->delivered.load(), 64U);
}

// Its predecessor may have died before it said so.
TEST_F(NodeTest, ARingThatASuccessorGoesOnWithIsAnnounced) {
  auto consumer = Open("consumer");
  auto durable = Open("durable", {.durable = true});
  ASSERT_EQ(durable->Send(consumer->id(), "first"), SendResult::kOk);
  durable.reset();
  durable = Open("durable", {.durable = true});
  const auto& changes = hub_.region().slot(consumer->id().slot).inbound_changes;
  const std::uint64_t before = changes.load();
  ASSERT_EQ(durable->Send(consumer->id(), "second"), SendResult::kOk);
  EXPECT_GT(changes.load(), before);
  EXPECT_THAT(ReceiveTexts(*consumer, 2), ElementsAre("first", "second"));
}

TEST_F(NodeTest, AWithdrawnRingIsNotReplacedBeforeItsReaderLetsGo) {
  auto consumer = Open("consumer");
  auto durable = Open("durable", {.durable = true});
  ASSERT_EQ(durable->Send(consumer->id(), "lost"), SendResult::kOk);
  const RingView ring = RingOf(durable->id(), consumer->id());
  durable.reset();
  ring.CommitWordAt(0).store(1);
  const std::uint32_t generation = CellOf({.slot = 1}, consumer->id()).generation;
  // Neither by the successor that withdraws it nor by the next one.
  for (int life = 0; life < 2; ++life) {
    durable = Open("durable", {.durable = true});
    EXPECT_EQ(durable->Send(consumer->id(), "x"), SendResult::kFull) << life;
    EXPECT_EQ(CellOf(durable->id(), consumer->id()).state, layout::CellState::kWithdrawn) << life;
    EXPECT_EQ(CellOf(durable->id(), consumer->id()).generation, generation) << life;
    if (life == 0) durable.reset();
  }
  std::thread sender(
      [&] { EXPECT_EQ(durable->Send(consumer->id(), "new", kWait), SendResult::kOk); });
  EXPECT_THAT(ReceiveTexts(*consumer, 1), ElementsAre("new"));
  sender.join();
}

TEST(NodeArenaTest, AFullArenaIsNoRoomWithNumbersAndAttachedPairsGoOn) {
  Hub hub(kMiB / 4, {.max_peers = 8});
  std::vector<std::unique_ptr<Node>> nodes;
  for (std::uint16_t i = 0; i < 8; ++i) {
    nodes.push_back(OpenNode(hub, i, {.name = "n" + std::to_string(i)}));
  }
  std::vector<std::pair<Node*, Node*>> pairs;
  bool refused = false;
  for (auto& from : nodes) {
    for (auto& to : nodes) {
      if (from == to) continue;
      const SendResult result = from->Send(to->id(), "x");
      if (result == SendResult::kOk) {
        pairs.emplace_back(from.get(), to.get());
      } else {
        refused = true;
        EXPECT_EQ(result, SendResult::kNoRoom);
        EXPECT_THAT(from->Explain(result, to->id()).message(), HasSubstr("units"));
        EXPECT_EQ(from->Explain(result, to->id()).code(), StatusCode::kResourceExhausted);
      }
    }
  }
  ASSERT_TRUE(refused);
  ASSERT_FALSE(pairs.empty());
  for (const auto& [from, to] : pairs) EXPECT_EQ(from->Send(to->id(), "y"), SendResult::kOk);
  std::size_t received = 0;
  for (auto& node : nodes) {
    while (node->Poll([&](const Message&) { ++received; }) != 0) {
    }
  }
  EXPECT_EQ(received, 2 * pairs.size());
}

// ---- Batches ----

TEST_F(NodeTest, ABatchIsInvisibleUntilItsCommitAndDroppedWithoutOne) {
  auto a = Open("a");
  auto b = Open("b");
  for (const bool commit : {false, true}) {
    {
      Batch batch = a->StartBatch(b->id());
      for (int i = 0; i < 3; ++i) {
        std::span<std::byte> payload;
        ASSERT_EQ(batch.TryClaim({}, 1, &payload), SendResult::kOk);
        ASSERT_EQ(payload.size(), 1U);
        payload[0] = static_cast<std::byte>('0' + i);
      }
      EXPECT_EQ(b->Poll(kIgnore), 0U);
      if (commit) {
        EXPECT_EQ(batch.Commit(), SendResult::kOk);
      }
    }
    if (commit) {
      EXPECT_THAT(ReceiveTexts(*b, 3), ElementsAre("0", "1", "2"));
    } else {
      EXPECT_EQ(b->Poll(kIgnore), 0U);
    }
  }
  EXPECT_EQ(a->counter(Counter::kMessagesSent), 3U);
}

TEST_F(NodeTest, AClaimLargerThanARecordIsTooLargeAndKeepsTheBatch) {
  auto a = Open("a");
  auto b = Open("b");
  const std::uint64_t record = a->MaxRecordMessage(b->id(), {});
  {
    Batch batch = a->StartBatch(b->id());
    std::span<std::byte> payload;
    ASSERT_EQ(batch.TryClaim({}, 2, &payload), SendResult::kOk);
    std::memcpy(payload.data(), "ok", 2);
    EXPECT_EQ(batch.TryClaim({}, record + 1, &payload), SendResult::kTooLarge);
    EXPECT_EQ(batch.Commit(), SendResult::kOk);
  }
  EXPECT_THAT(ReceiveTexts(*b, 1), ElementsAre("ok"));
  std::vector<std::byte> largest(record);
  Batch batch = a->StartBatch(b->id());
  std::span<std::byte> payload;
  EXPECT_EQ(batch.TryClaim({}, record, &payload), SendResult::kOk);
}

// ---- Written in place ----

TEST_F(NodeTest, AMessageIsWrittenIntoTheRingItself) {
  auto a = Open("a");
  auto b = Open("b");
  const auto write = [](std::span<std::byte> to) { std::memcpy(to.data(), "here", to.size()); };
  EXPECT_EQ(a->SendInPlace(b->id(), {}, 4, write), SendResult::kOk);
  EXPECT_THAT(ReceiveTexts(*b, 1), ElementsAre("here"));
  EXPECT_EQ(a->counter(Counter::kMessagesSent), 1U);
}

TEST_F(NodeTest, AMessageThatCannotBeWrittenIntoTheRingIsNotWritten) {
  auto a = Open("a");
  auto b = Open("b");
  const auto never = [](std::span<std::byte>) { FAIL(); };
  const std::uint64_t record = a->MaxRecordMessage(b->id(), {});
  EXPECT_EQ(a->SendInPlace(b->id(), {}, record + 1, never), SendResult::kTooLarge);
  EXPECT_EQ(a->SendInPlace({.slot = 1000, .incarnation = 1}, {}, 1, never), SendResult::kPeerGone);
  const auto fill = [](std::span<std::byte> to) { std::ranges::fill(to, std::byte{'x'}); };
  SendResult result = SendResult::kOk;
  while (result == SendResult::kOk) result = a->SendInPlace(b->id(), {}, record, fill);
  EXPECT_EQ(result, SendResult::kFull);
}

// ---- Sleeping and waking ----

TEST_F(NodeTest, ALookSeesWhatAPollWouldFind) {
  auto a = Open("a");
  auto b = Open("b");
  while (b->Poll(kIgnore) != 0 || b->Look()) {
  }
  ASSERT_EQ(a->Send(b->id(), "first of its ring"), SendResult::kOk);
  EXPECT_TRUE(b->Look());
  EXPECT_EQ(b->Poll(kIgnore), 1U);
  EXPECT_FALSE(b->Look());
  ASSERT_EQ(a->Send(b->id(), "another"), SendResult::kOk);
  EXPECT_TRUE(b->Look());
  EXPECT_EQ(b->Poll(kIgnore), 1U);
  b->Wake();
  EXPECT_TRUE(b->Look());
  EXPECT_TRUE(b->Wait(milliseconds(0)));
  EXPECT_FALSE(b->Look());
  ASSERT_TRUE(b->Arm());
  EXPECT_TRUE(b->Look());  // senders would ring
  EXPECT_EQ(b->Poll(kIgnore), 0U);
  EXPECT_FALSE(b->Look());
}

TEST_F(NodeTest, WaitReturnsFalseWhenNothingCame) {
  for (const auto budget : {std::chrono::microseconds(0), std::chrono::microseconds(50)}) {
    auto a = Open("a", {.spin_budget = budget});
    EXPECT_FALSE(a->Wait(milliseconds(1)));
    EXPECT_FALSE(a->Wait(milliseconds(0)));
  }
}

TEST_F(NodeTest, WakeEndsThisOrTheNextWait) {
  for (const bool wakeable : {true, false}) {
    auto a = Open("a", {.spin_budget = std::chrono::nanoseconds(0)}, {.wakeable = wakeable});
    a->Wake();
    EXPECT_TRUE(a->Wait(testing::kPatience));
    std::thread waker([&] { a->Wake(); });
    EXPECT_TRUE(a->Wait(testing::kPatience));
    waker.join();
  }
}

TEST_F(NodeTest, AWakeBetweenArmAndPollIsNotTakenByThePoll) {
  // What the waker wants may be looked at only once a round: behind the sleep.
  auto a = Open("a", {.spin_budget = std::chrono::nanoseconds(0)});
  const auto arm = [&] {
    while (!a->Arm()) (void)a->Poll(kIgnore);
  };
  arm();
  a->Wake();
  EXPECT_EQ(a->Poll(kIgnore), 0U);
  EXPECT_FALSE(a->Arm());
  arm();
  a->Wake();
  EXPECT_EQ(a->Poll(kIgnore), 0U);
  EXPECT_TRUE(a->Wait(milliseconds(0)));
  // It counts once.
  EXPECT_FALSE(a->Wait(milliseconds(0)));
}

TEST_F(NodeTest, ASleepingReceiverIsRungAndTheNetFindsNothing) {
  auto a = Open("a");
  auto b = Open("b", {.spin_budget = std::chrono::nanoseconds(0)});
  constexpr int kMessages = 2000;
  std::thread sender([&] {
    for (int i = 0; i < kMessages; ++i) {
      EXPECT_EQ(a->Send(b->id(), "x", kWait), SendResult::kOk);
      if (i % 7 == 0) {
        // Until the receiver sleeps.
        for (int k = 0; k < 1000 && hub_.region().slot(b->id().slot).armed.load() % 2 == 0; ++k) {
          std::this_thread::yield();
        }
      }
    }
  });
  EXPECT_EQ(ReceiveTexts(*b, kMessages).size(), static_cast<std::size_t>(kMessages));
  sender.join();
  EXPECT_GT(b->counter(Counter::kSleeps), 0U);
  EXPECT_EQ(b->counter(Counter::kNetFinds), 0U);
  EXPECT_GT(a->counter(Counter::kDoorbellsRung), 0U);
}

// A peer whose doorbells do not arrive, although it rings.
class DeafTransport : public testing::EventfdTransport {
 public:
  using EventfdTransport::EventfdTransport;
  void Ring(std::uint16_t, std::uint32_t) noexcept override {}
};

TEST_F(NodeTest, OnlyWhatTheNetFindsIsCountedAsAMissedWakeUp) {
  auto b = Open("b", {.spin_budget = std::chrono::nanoseconds(0)});
  auto deaf =
      *Node::Open(std::make_unique<DeafTransport>(hub_, next_ivposition_++), {.name = "deaf"});
  const layout::Word& armed = hub_.region().slot(b->id().slot).armed;
  const auto send_to_sleeper = [&] {
    while (armed.load() % 2 == 0) std::this_thread::yield();
    EXPECT_EQ(deaf->Send(b->id(), "x"), SendResult::kOk);
  };
  // What its own short waits find, it would have found with any doorbell.
  for (int i = 0; i < 50; ++i) {
    std::thread sender(send_to_sleeper);
    while (b->Poll(kIgnore) == 0) (void)b->Wait(milliseconds(1));
    sender.join();
  }
  EXPECT_EQ(b->counter(Counter::kNetFinds), 0U);
  // Unless something else wakes it, such as the news that a peer has joined.
  while (b->counter(Counter::kNetFinds) == 0) {
    std::thread sender(send_to_sleeper);
    while (b->Poll(kIgnore) == 0) (void)b->Wait(testing::kPatience);
    sender.join();
  }
}

// Nothing is open yet when it joins: a sleeper must not wait for its doorbell all the same.
TEST_F(NodeTest, TheFirstMessageOfAPeerThatCannotRingIsNotLeftToTheNet) {
  auto b = Open("b", {.spin_budget = std::chrono::nanoseconds(0)});
  std::thread receiver([&] {
    while (b->Poll(kIgnore) == 0) (void)b->Wait(testing::kPatience);
  });
  auto mute = Open("mute", {}, {.can_ring = false});
  const std::uint64_t before = b->counter(Counter::kSleeps);
  while (b->counter(Counter::kSleeps) < before + 100) std::this_thread::yield();
  EXPECT_EQ(mute->Send(b->id(), "first"), SendResult::kOk);
  receiver.join();
  EXPECT_EQ(b->counter(Counter::kNetFinds), 0U);
}

TEST_F(NodeTest, AReceiverThatDoesNotSleepCostsNoDoorbell) {
  auto a = Open("a");
  auto b = Open("b");
  const std::uint64_t before = hub_.rings();
  for (int i = 0; i < 5000; ++i) {
    ASSERT_EQ(a->Send(b->id(), "x"), SendResult::kOk);
    std::size_t received = 0;
    while (received == 0) received = b->Poll(kIgnore);
  }
  EXPECT_EQ(hub_.rings(), before);
  EXPECT_EQ(a->counter(Counter::kDoorbellsRung), 0U);
}

TEST_F(NodeTest, OneDoorbellIsRungForASleepThatManyMessagesEnd) {
  auto a = Open("a");
  auto b = Open("b");
  ASSERT_TRUE(b->Arm());
  for (int i = 0; i < 100; ++i) ASSERT_EQ(a->Send(b->id(), "x"), SendResult::kOk);
  EXPECT_EQ(a->counter(Counter::kDoorbellsRung), 1U);
}

TEST_F(NodeTest, APeerThatCannotRingDoesNotTry) {
  auto mute = Open("mute", {}, {.can_ring = false});
  auto b = Open("b");
  ASSERT_TRUE(b->Arm());
  const std::uint64_t before = hub_.rings();
  ASSERT_EQ(mute->Send(b->id(), "x"), SendResult::kOk);
  EXPECT_EQ(hub_.rings(), before);
  EXPECT_EQ(mute->counter(Counter::kDoorbellsRung), 0U);
  EXPECT_THAT(ReceiveTexts(*b, 1), ElementsAre("x"));
}

TEST_F(NodeTest, PeersWithoutDoorbellsFindTheirMessages) {
  const testing::EventfdTransportOptions plain{.wakeable = false, .can_ring = false};
  auto a = Open("a", {}, plain);
  auto b = Open("b", {}, plain);
  auto rung = Open("rung");  // can be rung, but these two cannot ring
  std::thread sender([&] {
    for (int i = 0; i < 200; ++i) {
      EXPECT_EQ(a->Send(b->id(), "b", kWait), SendResult::kOk);
      EXPECT_EQ(a->Send(rung->id(), "r", kWait), SendResult::kOk);
    }
  });
  EXPECT_EQ(ReceiveTexts(*b, 200).size(), 200U);
  EXPECT_EQ(ReceiveTexts(*rung, 200).size(), 200U);
  sender.join();
  EXPECT_EQ(hub_.rings(), 0U);
}

TEST_F(NodeTest, FdAndArmFitIntoAnEventLoop) {
  for (const bool doorbells : {true, false}) {
    auto a = Open("a", {}, {.wakeable = doorbells, .can_ring = doorbells});
    auto b = Open("b", {}, {.wakeable = doorbells, .can_ring = doorbells});
    constexpr std::size_t kMessages = 3000;
    std::thread sender([&] {
      testing::Random random(1);
      for (std::size_t i = 0; i < kMessages; ++i) {
        EXPECT_EQ(a->Send(b->id(), {.type = static_cast<std::uint32_t>(i)}, {}, kWait),
                  SendResult::kOk);
        if (testing::Below(random, 10) == 0) std::this_thread::yield();
      }
    });
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{.events = EPOLLIN, .data = {}};
    ASSERT_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, b->Fd(), &event), 0);
    std::size_t received = 0;
    const auto handler = [&](const Message& message) { EXPECT_EQ(message.type, received++); };
    while (received < kMessages) {
      if (b->Poll(handler) != 0) continue;
      if (!b->Arm()) continue;
      ASSERT_EQ(epoll_wait(epoll, &event, 1, 30000), 1) << "Fd() never became readable";
    }
    sender.join();
    close(epoll);
  }
}

TEST_F(NodeTest, WakeMakesFdReadable) {
  auto a = Open("a");
  while (!a->Arm()) (void)a->Poll(kIgnore);
  a->Wake();
  pollfd wait{.fd = a->Fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&wait, 1, 30000), 1);
}

// ---- Threads and handlers ----

TEST_F(NodeTest, ThreadsMaySendAtOnceToOneAndToManyPeers) {
  auto a = Open("a");
  auto b = Open("b");
  auto c = Open("c");
  constexpr std::uint32_t kThreads = 4;
  constexpr std::uint32_t kEach = 1500;
  std::vector<std::thread> senders;
  for (std::uint32_t t = 0; t < kThreads; ++t) {
    senders.emplace_back([&, t] {
      for (std::uint32_t i = 0; i < kEach; ++i) {
        const auto bytes = testing::Pattern(i % 100, i);
        for (Node* to : {b.get(), c.get()}) {
          EXPECT_EQ(a->Send(to->id(), {.type = t << 24 | i}, bytes, kWait), SendResult::kOk);
        }
      }
    });
  }
  std::thread second_receiver;
  const auto receive = [&](Node& node) {
    std::array<std::uint32_t, kThreads> next{};
    std::uint32_t received = 0;
    EXPECT_TRUE(PollUntil(
        node,
        [&](const Message& message) {
          const std::uint32_t t = message.type >> 24;
          const std::uint32_t i = message.type & 0xffffff;
          ASSERT_LT(t, kThreads);
          EXPECT_EQ(i, next[t]++) << "each thread's messages keep their order";
          EXPECT_TRUE(testing::HasPattern(message.payload, i));
          ++received;
        },
        [&] { return received == kThreads * kEach; }));
  };
  second_receiver = std::thread([&] { receive(*c); });
  receive(*b);
  second_receiver.join();
  for (std::thread& sender : senders) sender.join();
}

TEST_F(NodeTest, AHandlerMaySendAndLookAround) {
  auto a = Open("a");
  auto b = Open("b");
  ASSERT_EQ(a->Send(b->id(), "question"), SendResult::kOk);
  bool answered = false;
  EXPECT_TRUE(PollUntil(
      *b,
      [&](const Message& message) {
        EXPECT_EQ(b->Poll(kIgnore), 0U) << "polling within a handler does nothing";
        EXPECT_EQ(b->Peers().peers.size(), 2U);
        EXPECT_EQ(b->Send(message.from, "answer"), SendResult::kOk);
        answered = true;
      },
      [&] { return answered; }));
  EXPECT_THAT(ReceiveTexts(*a, 1), ElementsAre("answer"));
}

TEST_F(NodeTest, ReceivingIsFairAmongSenders) {
  auto hub_node = Open("hub");
  auto busy = Open("busy");
  auto quiet = Open("quiet");
  while (busy->Send(hub_node->id(), "b") == SendResult::kOk) {
  }
  ASSERT_EQ(quiet->Send(hub_node->id(), "q"), SendResult::kOk);
  bool heard = false;
  for (int polls = 0; polls < 10 && !heard; ++polls) {
    (void)hub_node->Poll(
        [&](const Message& message) {
          if (message.from == quiet->id()) heard = true;
        },
        8);
    while (busy->Send(hub_node->id(), "b") == SendResult::kOk) {
    }
  }
  EXPECT_TRUE(heard) << "a busy ring starved a quiet one";
}

TEST_F(NodeTest, APollHandlesNoMoreThanItsLimit) {
  auto a = Open("a");
  auto b = Open("b");
  for (int i = 0; i < 10; ++i) ASSERT_EQ(a->Send(b->id(), "x"), SendResult::kOk);
  std::size_t calls = 0;
  EXPECT_EQ(b->Poll([&](const Message&) { ++calls; }, 3), 3U);
  EXPECT_EQ(calls, 3U);
  EXPECT_EQ(ReceiveTexts(*b, 7).size(), 7U);
}

TEST_F(NodeTest, CountersAreSeenByOthers) {
  auto a = Open("a");
  auto b = Open("b");
  for (int i = 0; i < 5; ++i) ASSERT_EQ(a->Send(b->id(), "abc"), SendResult::kOk);
  a->Count(Counter::kUnhandled, 3);
  EXPECT_EQ(a->counter(Counter::kUnhandled), 3U);
  EXPECT_EQ(a->counter(Counter::kMessagesSent), 5U);
  EXPECT_EQ(a->counter(Counter::kBytesSent), 15U);
  EXPECT_TRUE(PollUntil(*b, kIgnore, [&] {
    const Result<PeerInfo> info = b->Lookup("a");
    return info.ok() && info->counters[static_cast<std::size_t>(Counter::kMessagesSent)] == 5 &&
           info->counters[static_cast<std::size_t>(Counter::kUnhandled)] == 3;
  }));
}

TEST_F(NodeTest, EveryResultHasAName) {
  for (int i = 0; i <= static_cast<int>(SendResult::kNoRoom); ++i) {
    EXPECT_NE(SendResultName(static_cast<SendResult>(i)), "unknown");
  }
}

}  // namespace
}  // namespace ivmq
