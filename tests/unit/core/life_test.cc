// A node whose life was declared over while its process goes on: its slot, its rings and their
// units belong to others, so it writes nothing, and says why.
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/internal/peer_table.h"
#include "ivmq/node.h"

#include "support/child.h"
#include "support/header_crc.h"
#include "support/node_pair.h"
#include "support/reports.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using layout::Life;
using layout::PeerState;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Hub;
using testing::kIgnore;
using testing::kMiB;
using testing::kPatience;
using testing::kWait;
using testing::OpenNode;
using testing::PollUntil;
using testing::ReceiveTexts;
using ::testing::StartsWith;

// Counts the beats of a node's heartbeat, which asks for control messages at the end of each.
class CountingTransport : public testing::EventfdTransport {
 public:
  CountingTransport(Hub& hub, std::uint16_t ivposition, std::atomic<int>& beats)
      : EventfdTransport(hub, ivposition), beats_(beats), never_(eventfd(0, EFD_CLOEXEC)) {}
  ~CountingTransport() override { close(never_); }
  CountingTransport(const CountingTransport&) = delete;
  CountingTransport& operator=(const CountingTransport&) = delete;

  [[nodiscard]] int control_fd() const noexcept override { return never_; }
  [[nodiscard]] Status CheckPlace() const override {
    return moved_ ? Status(StatusCode::kFailedPrecondition, "moved elsewhere") : Status();
  }
  void Move() { moved_ = true; }
  bool HandleControl() noexcept override {
    ++beats_;
    beats_.notify_all();
    return true;
  }

 private:
  std::atomic<int>& beats_;
  int never_;
  std::atomic<bool> moved_{false};
};

class OwnLifeTest : public testing::NodeTest {
 protected:
  std::unique_ptr<Node> Open(const std::string& name, NodeOptions options = {}) {
    options.name = name;
    if (!options.on_report) options.on_report = reports_.Sink();
    return OpenNode(std::make_unique<CountingTransport>(hub_, next_ivposition_++, beats_),
                    std::move(options));
  }
  // As a server does that took the end of something for the node's death.
  void DeclareDead(const Node& node) {
    ASSERT_EQ(table_.MarkIvpositionDead(node.transport().info().ivposition), 1U);
  }
  // Until heartbeats that began after this call have ended. For a single node.
  void AwaitBeats() {
    for (const int until = beats_ + 2; beats_ < until;) beats_.wait(beats_);
  }
  [[nodiscard]] std::vector<std::uint64_t> Words() const {
    const std::span<std::byte> memory = hub_.memory();
    std::vector<std::uint64_t> words(memory.size() / sizeof(layout::Word));
    const auto* const word = reinterpret_cast<const layout::Word*>(memory.data());
    for (std::size_t i = 0; i < words.size(); ++i) words[i] = word[i].load();
    return words;
  }
  [[nodiscard]] layout::Word& LifeOf(PeerId peer) { return hub_.region().slot(peer.slot).life; }

  const PeerTable table_{region()};
  std::atomic<int> beats_{0};
  testing::Reports reports_;
};

// Each call that could write: sent and received records, repairs, room, services, sleeps, the end.
TEST_F(OwnLifeTest, ADeadPeerWritesNothing) {
  auto peer = Open("peer");
  auto dead = Open("dead");
  ASSERT_TRUE(dead->SetServices({"pkg.Echo"}).ok());
  const PeerId to = peer->id();
  ASSERT_EQ(dead->Send(to, "first"), SendResult::kOk);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(peer->Send(dead->id(), "unread"), SendResult::kOk);
  std::size_t handled = 0;
  EXPECT_EQ(dead->Poll([&](const Message&) { ++handled; }, 1), 1U);
  (void)dead->Arm();
  Batch claimed_before = dead->StartBatch(to);
  std::span<std::byte> payload;
  ASSERT_EQ(claimed_before.TryClaim({}, 8, &payload), SendResult::kOk);
  std::ranges::fill(payload, std::byte{1});
  DeclareDead(*dead);
  peer.reset();
  table_.Reclaim();
  AwaitBeats();  // one that had begun before may write still
  const std::vector<std::uint64_t> before = Words();

  EXPECT_EQ(claimed_before.Commit(), SendResult::kPeerGone);
  EXPECT_EQ(claimed_before.TryClaim({}, 8, &payload), SendResult::kPeerGone);
  { const Batch ends = std::move(claimed_before); }
  EXPECT_EQ(dead->Send(to, "late"), SendResult::kPeerGone);
  EXPECT_EQ(dead->Send(to, std::string(kMiB, 'x'), kWait), SendResult::kPeerGone);
  EXPECT_EQ(dead->SendInPlace(to, {}, 4, [](std::span<std::byte>) {}), SendResult::kPeerGone);
  EXPECT_EQ(dead->AwaitRoom(to, {}, 100, kWait), SendResult::kPeerGone);
  EXPECT_EQ(dead->MaxRecordMessage(to, {}), 0U);
  EXPECT_EQ(dead->SetServices({"pkg.Other"}).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(dead->Poll([&](const Message&) { ++handled; }), 0U);
  (void)dead->Arm();
  (void)dead->Poll(kIgnore);
  EXPECT_FALSE(dead->Look());
  EXPECT_FALSE(dead->Wait(std::chrono::milliseconds(1)));
  AwaitBeats();
  dead.reset();
  EXPECT_EQ(handled, 1U);
  EXPECT_TRUE(Words() == before) << "it wrote to the region";
}

TEST_F(OwnLifeTest, ADeadPeerSaysWhyInEachAnswerAndReportsItOnce) {
  auto peer = Open("peer");
  auto dead = Open("dead");
  EXPECT_TRUE(dead->status().ok());
  ASSERT_EQ(dead->Send(peer->id(), "first"), SendResult::kOk);
  DeclareDead(*dead);
  peer.reset();
  EXPECT_EQ(dead->Send(PeerId{}, "late"), SendResult::kPeerGone);
  for (const Status& status :
       {dead->status(), dead->Explain(SendResult::kPeerGone, {}), dead->SetServices({}),
        dead->Lookup("peer").status(), dead->Await("peer", kPatience).status()}) {
    EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
    EXPECT_THAT(status.message(), HasSubstr("'dead'"));
  }
  AwaitBeats();
  const std::string reason = dead->status().ToString();
  dead.reset();
  EXPECT_THAT(reports_.Await(1), ElementsAre(reason));
}

// Its slot is taken again: the old owner must not store its own life word over the new one's.
TEST_F(OwnLifeTest, ADeadPeerDoesNotComeBack) {
  auto old = Open("name");
  const PeerId old_id = old->id();
  DeclareDead(*old);
  table_.Reclaim();
  AwaitBeats();
  EXPECT_EQ(Life::FromWord(LifeOf(old_id).load()).state, PeerState::kFree);

  // Another life in the slot, and even the old word itself.
  const Life next{.incarnation = old_id.incarnation + 1, .state = PeerState::kLive};
  for (const std::uint64_t word :
       {next.ToWord(), Life{old_id.incarnation, 2, 0, PeerState::kLive}.ToWord()}) {
    LifeOf(old_id) = word;
    AwaitBeats();
    EXPECT_EQ(LifeOf(old_id).load(), word);
    EXPECT_FALSE(old->status().ok());
  }
}

TEST_F(OwnLifeTest, ALifeThatEndsInAHandlerAcknowledgesNothing) {
  auto peer = Open("peer");
  auto dead = Open("dead", {.durable = true});
  for (const char* const text : {"one", "two"}) {
    ASSERT_EQ(peer->Send(dead->id(), text), SendResult::kOk);
  }
  std::vector<std::string> texts;
  (void)dead->Poll([&](const Message& message) {
    texts.emplace_back(message.text());
    DeclareDead(*dead);
  });
  EXPECT_THAT(texts, ElementsAre("one"));
  dead.reset();
  auto successor = Open("dead", {.durable = true});
  std::vector<bool> redelivered;
  texts.clear();
  ASSERT_TRUE(PollUntil(
      *successor,
      [&](const Message& message) {
        texts.emplace_back(message.text());
        redelivered.push_back(message.redelivered);
      },
      [&] { return texts.size() == 2; }));
  EXPECT_THAT(texts, ElementsAre("one", "two"));
  EXPECT_THAT(redelivered, ElementsAre(true, false));
}

TEST_F(OwnLifeTest, WhoSleepsWhenItsLifeEndsIsWoken) {
  auto peer = Open("peer");
  auto dead = Open("dead");
  const std::string text(4000, 'x');
  while (dead->Send(peer->id(), text) == SendResult::kOk) {
  }
  std::thread sender(
      [&] { EXPECT_EQ(dead->Send(peer->id(), text, kWait), SendResult::kPeerGone); });
  std::thread poller([&] { EXPECT_TRUE(dead->Wait(kPatience)); });
  // Both sleep.
  while (hub_.region().slot(dead->id().slot).armed.load() % 2 == 0 ||
         dead->counter(layout::Counter::kRingsFull) < 2) {
    std::this_thread::yield();
  }
  DeclareDead(*dead);
  sender.join();
  poller.join();
}

// ---- The end in order ----

// Tells what the node had done by the time its transport went.
class LastTransport : public testing::EventfdTransport {
 public:
  LastTransport(Hub& hub, PeerState& state, std::uint64_t& rings)
      : EventfdTransport(hub, 1), hub_(hub), state_(state), rings_(rings) {}
  ~LastTransport() override {
    state_ = Life::FromWord(hub_.region().slot(0).life.load()).state;
    rings_ = hub_.rings();
  }
  LastTransport(const LastTransport&) = delete;
  LastTransport& operator=(const LastTransport&) = delete;

 private:
  Hub& hub_;
  PeerState& state_;
  std::uint64_t& rings_;
};

TEST_F(OwnLifeTest, TheTransportGoesLast) {
  PeerState state{};
  std::uint64_t rings = 0;
  auto node = OpenNode(std::make_unique<LastTransport>(hub_, state, rings), {.name = "node"});
  auto peer = Open("peer");
  const std::uint64_t before = hub_.rings();
  node.reset();
  EXPECT_EQ(state, PeerState::kFree) << "the transport went before the node had left";
  EXPECT_GT(rings, before) << "the others were not told";
  EXPECT_EQ(hub_.rings(), rings) << "the transport was used afterwards";
}

// At the end of the program, when statics are destroyed.
TEST_F(OwnLifeTest, ANodeInStaticStorageLeavesInOrder) {
  EXPECT_EQ(testing::RunInChild([&] {
              static std::string reported;  // outlives the node
              static std::unique_ptr<Node> node;
              node = OpenNode(hub_, 1, {.name = "static", .on_report = [](const Status& s) {
                                          reported = s.message();
                                        }});
              node->Report(Status(StatusCode::kUnknown, "told before the end"));
              std::exit(0);
            }),
            0);
  EXPECT_EQ(Life::FromWord(hub_.region().slot(0).life.load()),
            (Life{1, layout::kNoIvposition, 0, PeerState::kFree}));
}

// Damage to the word is no end: it is put right before anything else is done.
TEST_F(OwnLifeTest, DamageToItsLifeWordIsPutRightAtOnce) {
  auto peer = Open("peer");
  auto node = Open("node");
  const std::uint64_t word = LifeOf(node->id());
  const Life life = Life::FromWord(word);
  for (const Life& damaged :
       {Life{life.incarnation, 77, life.flags, PeerState::kLive},
        Life{life.incarnation, life.ivposition, 0xff, PeerState::kLive},
        Life{life.incarnation, life.ivposition, life.flags, PeerState::kClaiming},
        Life{life.incarnation, life.ivposition, life.flags, static_cast<PeerState>(0x7f)}}) {
    LifeOf(node->id()) = damaged.ToWord();
    EXPECT_EQ(node->Send(peer->id(), "x"), SendResult::kOk);
    EXPECT_EQ(LifeOf(node->id()).load(), word);
  }
  EXPECT_TRUE(node->status().ok());
  EXPECT_EQ(ReceiveTexts(*peer, 4).size(), 4U);
}

// Changes the header's immutable bytes under a node that reads them: word by word.
void ChangeHeader(std::span<std::byte> region,
                  const std::function<void(std::span<std::byte>)>& change) {
  constexpr std::size_t kBytes = layout::kHeaderImmutableBytes;
  std::array<std::byte, kBytes> header;
  std::memcpy(header.data(), region.data(), kBytes);
  change(header);
  for (std::size_t i = 0; i < kBytes; i += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, header.data() + i, sizeof(word));
    reinterpret_cast<layout::Word*>(region.data() + i)->store(word);
  }
}

// What a guest finds that was restored beside another region: slots and rings are strangers'.
TEST_F(OwnLifeTest, ANodeInAnotherRegionWritesNothingAndSaysWhy) {
  auto node = Open("node");
  const PeerId id = node->id();
  const std::uint64_t life = LifeOf(id);
  ChangeHeader(hub_.memory(), [](std::span<std::byte> header) {
    header[offsetof(layout::Header, region_id)] ^= std::byte{1};
    testing::RepairHeaderCrc(header);
  });
  EXPECT_THAT(reports_.Await(1), ElementsAre(StartsWith("FAILED_PRECONDITION")));
  EXPECT_EQ(node->status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(node->Send(id, "x"), SendResult::kPeerGone);
  AwaitBeats();
  const std::vector<std::uint64_t> before = Words();
  AwaitBeats();
  node.reset();
  EXPECT_EQ(Words(), before);
  EXPECT_EQ(LifeOf(id), life) << "it is a stranger's";
}

TEST_F(OwnLifeTest, ADamagedHeaderEndsNoLife) {
  auto node = Open("node");
  ChangeHeader(hub_.memory(), [](std::span<std::byte> header) {
    for (std::size_t i = 0; i < header.size(); i += 8) header[i] ^= std::byte{0x10};
  });
  AwaitBeats();
  EXPECT_TRUE(node->status().ok()) << node->status().ToString();
  EXPECT_TRUE(reports_.All().empty());
}

TEST_F(OwnLifeTest, ANodeWhoseTransportFindsItselfElsewhereWritesNothingAndSaysWhy) {
  auto transport = std::make_unique<CountingTransport>(hub_, 1, beats_);
  CountingTransport& place = *transport;
  auto node = OpenNode(std::move(transport), {.name = "node", .on_report = reports_.Sink()});
  const PeerId id = node->id();
  const std::uint64_t life = LifeOf(id);
  place.Move();
  EXPECT_THAT(reports_.Await(1), ElementsAre(HasSubstr("moved elsewhere")));
  EXPECT_EQ(node->status().code(), StatusCode::kFailedPrecondition);
  node.reset();
  EXPECT_EQ(LifeOf(id), life);
}

}  // namespace
}  // namespace ivmq
