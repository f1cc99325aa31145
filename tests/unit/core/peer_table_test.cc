// Names and slots, one process; the races are in tests/process/core.
#include "ivmq/internal/peer_table.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/internal/arena.h"

#include "support/arena_check.h"
#include "support/eventfd_transport.h"
#include "support/random.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using layout::Life;
using layout::PeerState;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using testing::EventfdTransport;
using ::testing::HasSubstr;
using testing::Hub;
using ::testing::IsEmpty;
using testing::kMiB;

constexpr BootId kBoot = {0x1111, 0x2222};

class PeerTableTest : public ::testing::Test {
 protected:
  explicit PeerTableTest(std::uint32_t max_peers = 8)
      : hub_(kMiB, {.max_peers = max_peers}),
        transport_(hub_, 1, {.locks = false}),
        table_(hub_.region()) {}

  static ClaimRequest Request(const std::string& name, bool durable = false) {
    return {.name = name, .durable = durable, .pid = 4711, .boot_id = kBoot};
  }
  Life LifeOf(std::uint32_t slot) const {
    return Life::FromWord(hub_.region().slot(slot).life.load());
  }

  Hub hub_;
  EventfdTransport transport_;
  PeerTable table_;
};

TEST_F(PeerTableTest, AClaimedNameIsFoundWithItsData) {
  const Result<ClaimedSlot> claimed = table_.Claim(Request("vm1"), transport_);
  ASSERT_TRUE(claimed.ok()) << claimed.status().ToString();
  EXPECT_EQ(claimed->id.incarnation, 1U);
  EXPECT_FALSE(claimed->resumed);
  EXPECT_EQ(claimed->live_word, hub_.region().slot(claimed->id.slot).life.load());

  const std::optional<PeerInfo> found = table_.Find("vm1");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->id, claimed->id);
  EXPECT_EQ(found->name, "vm1");
  EXPECT_EQ(found->state, PeerState::kLive);
  EXPECT_EQ(found->pid, 4711U);
  EXPECT_EQ(found->boot_id, kBoot);
  EXPECT_EQ(found->ivposition, 1);
  EXPECT_FALSE(found->durable);
  EXPECT_TRUE(found->can_ring);
  EXPECT_TRUE(found->wakeable);
  EXPECT_GT(found->claimed_at, 0U);
  EXPECT_FALSE(table_.Find("vm2"));
  EXPECT_FALSE(table_.Find("vm"));
  EXPECT_FALSE(table_.Find(""));
}

TEST_F(PeerTableTest, AHeldNameIsRefusedWithItsHoldersData) {
  const Result<ClaimedSlot> holder = table_.Claim(Request("vm1"), transport_);
  ASSERT_TRUE(holder.ok());
  const Result<ClaimedSlot> second = table_.Claim(Request("vm1"), transport_);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), StatusCode::kAlreadyExists);
  EXPECT_THAT(second.status().message(), HasSubstr("'vm1'"));
  EXPECT_THAT(second.status().message(), HasSubstr("slot " + std::to_string(holder->id.slot)));
  EXPECT_THAT(second.status().message(), HasSubstr("pid 4711"));
  EXPECT_THAT(second.status().message(), HasSubstr("ivposition 1"));
  EXPECT_THAT(second.status().message(), HasSubstr("live"));
  EXPECT_EQ(table_.Snapshot().peers.size(), 1U);
}

TEST_F(PeerTableTest, AfterLeaveTheSlotIsFreeAndTheNextLifeHasAnotherIncarnation) {
  for (std::uint32_t incarnation = 1; incarnation < 5; ++incarnation) {
    const Result<ClaimedSlot> claimed = table_.Claim(Request("vm1"), transport_);
    ASSERT_TRUE(claimed.ok()) << claimed.status().ToString();
    EXPECT_EQ(claimed->id, (PeerId{0, incarnation}));
    table_.Leave(*claimed, transport_);
    EXPECT_FALSE(table_.Find("vm1"));
    EXPECT_EQ(LifeOf(0).state, PeerState::kFree);
  }
}

TEST_F(PeerTableTest, ALateLeaveDoesNotHitTheSlotsNextOwner) {
  const Result<ClaimedSlot> first = table_.Claim(Request("vm1"), transport_);
  ASSERT_TRUE(first.ok());
  table_.Leave(*first, transport_);
  const Result<ClaimedSlot> next = table_.Claim(Request("vm2"), transport_);
  ASSERT_TRUE(next.ok());
  ASSERT_EQ(next->id.slot, first->id.slot);
  table_.Leave(*first, transport_);
  EXPECT_TRUE(table_.Find("vm2"));
}

TEST_F(PeerTableTest, ADurableNameReturnsToItsSlotAndRings) {
  const Result<ClaimedSlot> other = table_.Claim(Request("other"), transport_);
  const Result<ClaimedSlot> first = table_.Claim(Request("db", true), transport_);
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(Arena(hub_.region()).Carve(first->id.slot, other->id.slot, 1, 1).ok());
  table_.Leave(*first, transport_);
  const std::optional<PeerInfo> away = table_.Find("db");
  ASSERT_TRUE(away) << "a durable peer is found while it is away";
  EXPECT_EQ(away->state, PeerState::kDead);
  EXPECT_TRUE(away->durable);

  const Result<ClaimedSlot> again = table_.Claim(Request("db", true), transport_);
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  EXPECT_TRUE(again->resumed);
  EXPECT_EQ(again->id.slot, first->id.slot);
  EXPECT_EQ(again->id.incarnation, first->id.incarnation + 1);
  EXPECT_EQ(Arena(hub_.region()).Stats().rings, 1U);
}

TEST_F(PeerTableTest, ForgetEndsADurableNameThatIsAway) {
  EXPECT_EQ(table_.Forget("db").code(), StatusCode::kNotFound);
  const Result<ClaimedSlot> db = table_.Claim(Request("db", true), transport_);
  const Result<ClaimedSlot> other = table_.Claim(Request("other"), transport_);
  ASSERT_TRUE(Arena(hub_.region()).Carve(other->id.slot, db->id.slot, 1, 1).ok());
  EXPECT_EQ(table_.Forget("db").code(), StatusCode::kFailedPrecondition);
  table_.Leave(*other, transport_);
  table_.Leave(*db, transport_);
  ASSERT_TRUE(table_.Forget("db").ok());
  EXPECT_FALSE(table_.Find("db"));
  EXPECT_EQ(Arena(hub_.region()).Stats().rings, 0U);
  EXPECT_TRUE(table_.Snapshot().peers.empty());
}

TEST_F(PeerTableTest, BadNamesAreRefused) {
  const std::vector<std::string> bad = {"",
                                        std::string(64, 'x'),
                                        std::string(1000, 'x'),
                                        "a\nb",
                                        std::string("a\0b", 3),
                                        "\x1b[31m",
                                        "a\x7f",
                                        "\t",
                                        "\xff\xfe",
                                        "a\xc3"};
  for (const std::string& name : bad) {
    EXPECT_EQ(CheckName(name).code(), StatusCode::kInvalidArgument)
        << ::testing::PrintToString(name);
    EXPECT_EQ(table_.Claim(Request(name), transport_).status().code(),
              StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(table_.Snapshot().peers.empty());
}

TEST_F(PeerTableTest, GoodNamesAreKeptToTheByte) {
  for (const std::string& name :
       {std::string("a"), std::string(63, 'x'), std::string("vm-1.host_2"),
        std::string("\xc3\xa4\xe4\xb8\xad")}) {
    EXPECT_TRUE(CheckName(name).ok()) << name;
    const Result<ClaimedSlot> claimed = table_.Claim(Request(name), transport_);
    ASSERT_TRUE(claimed.ok()) << claimed.status().ToString();
    EXPECT_EQ(table_.Read(claimed->id.slot)->name, name);
  }
}

TEST_F(PeerTableTest, AShortNameDoesNotInheritALongOnesTail) {
  const Result<ClaimedSlot> first = table_.Claim(Request(std::string(63, 'x')), transport_);
  table_.Leave(*first, transport_);
  const Result<ClaimedSlot> second = table_.Claim(Request("y"), transport_);
  EXPECT_EQ(table_.Read(second->id.slot)->name, "y");
}

TEST_F(PeerTableTest, AFullTableIsResourceExhausted) {
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(table_.Claim(Request("p" + std::to_string(i)), transport_).ok());
  }
  const Result<ClaimedSlot> ninth = table_.Claim(Request("p8"), transport_);
  EXPECT_EQ(ninth.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(ninth.status().message(), HasSubstr("8"));
  EXPECT_EQ(table_.Claim(Request("p3"), transport_).status().code(), StatusCode::kAlreadyExists)
      << "a held name is the nearer reason";
}

TEST_F(PeerTableTest, TheGenerationChangesWithEveryComingAndGoing) {
  std::uint64_t last = table_.generation();
  const auto changed = [&] {
    const std::uint64_t now = table_.generation();
    return now != std::exchange(last, now);
  };
  const Result<ClaimedSlot> claimed = table_.Claim(Request("a", true), transport_);
  EXPECT_TRUE(changed());
  EXPECT_FALSE(changed());
  table_.Leave(*claimed, transport_);
  EXPECT_TRUE(changed());
  ASSERT_TRUE(table_.Forget("a").ok());
  EXPECT_TRUE(changed());
  ASSERT_TRUE(table_.Claim(Request("b"), transport_).ok());
  EXPECT_TRUE(changed());
  EXPECT_EQ(table_.MarkIvpositionDead(1), 1U);
  EXPECT_TRUE(changed());
  EXPECT_EQ(table_.Snapshot().generation, last);
}

// ---- Death ----

TEST_F(PeerTableTest, MarkIvpositionDeadSparesTheNewBoot) {
  const BootId new_boot = {0x3333, 0x4444};
  EventfdTransport elsewhere(hub_, 2, {.locks = false});
  ASSERT_TRUE(table_.Claim(Request("old1"), transport_).ok());
  ASSERT_TRUE(table_.Claim(Request("old2", true), transport_).ok());
  ASSERT_TRUE(table_.Claim(Request("other"), elsewhere).ok());
  ClaimRequest request = Request("new");
  request.boot_id = new_boot;
  ASSERT_TRUE(table_.Claim(request, transport_).ok());  // claiming marks the old boot's slots
  EXPECT_FALSE(table_.Find("old1"));
  EXPECT_EQ(table_.Find("old2")->state, PeerState::kDead);
  EXPECT_EQ(table_.Find("other")->state, PeerState::kLive);
  EXPECT_EQ(table_.Find("new")->state, PeerState::kLive);
  EXPECT_EQ(table_.MarkIvpositionDead(1, &new_boot), 0U);
  EXPECT_EQ(table_.MarkIvpositionDead(1), 1U);
  EXPECT_EQ(table_.MarkIvpositionDead(1), 0U);
  EXPECT_EQ(table_.Find("other")->state, PeerState::kLive);
}

TEST_F(PeerTableTest, TwoPeersOfOneGuestDoNotEndEachOther) {
  ASSERT_TRUE(table_.Claim(Request("a"), transport_).ok());
  ASSERT_TRUE(table_.Claim(Request("b"), transport_).ok());
  EXPECT_TRUE(table_.Find("a"));
  EXPECT_TRUE(table_.Find("b"));
}

TEST_F(PeerTableTest, ASlotWhoseLockNobodyHoldsIsDead) {
  auto holder = std::make_unique<EventfdTransport>(hub_, 1);
  EventfdTransport observer(hub_, 2);
  ASSERT_TRUE(table_.Claim(Request("a"), *holder).ok());
  const Result<ClaimedSlot> own = table_.Claim(Request("b"), observer);
  ASSERT_TRUE(own.ok());
  ASSERT_TRUE(table_.Claim(Request("unlocked"), transport_).ok());
  EXPECT_EQ(table_.MarkUnlockedDead(observer, own->id.slot), 0U);
  holder.reset();
  EXPECT_EQ(table_.MarkUnlockedDead(observer, own->id.slot), 1U);
  table_.Reclaim();
  EXPECT_FALSE(table_.Find("a"));
  EXPECT_TRUE(table_.Find("b"));
  EXPECT_TRUE(table_.Find("unlocked")) << "a slot without a lock domain is not judged by locks";
}

TEST_F(PeerTableTest, AfterLeaveTheLockIsFreeAgain) {
  EventfdTransport transport(hub_, 1);
  EventfdTransport observer(hub_, 2);
  const Result<ClaimedSlot> claimed = table_.Claim(Request("a"), transport);
  ASSERT_TRUE(claimed.ok());
  EXPECT_TRUE(observer.IsSlotLocked(claimed->id.slot));
  table_.Leave(*claimed, transport);
  EXPECT_FALSE(observer.IsSlotLocked(claimed->id.slot));
}

TEST_F(PeerTableTest, ARefusedClaimLeavesNoLockAndNoSlot) {
  EventfdTransport holder(hub_, 1);
  EventfdTransport loser(hub_, 2);
  EventfdTransport observer(hub_, 3);
  const Result<ClaimedSlot> claimed = table_.Claim(Request("a"), holder);
  ASSERT_TRUE(claimed.ok());
  ASSERT_FALSE(table_.Claim(Request("a"), loser).ok());
  for (std::uint32_t s = 0; s < 8; ++s) {
    EXPECT_EQ(observer.IsSlotLocked(s), s == claimed->id.slot);
    EXPECT_EQ(LifeOf(s).state, s == claimed->id.slot ? PeerState::kLive : PeerState::kFree);
  }
}

// Somebody outside the table may hold a byte of the lock file: a copy of a descriptor in a child,
// say.
TEST_F(PeerTableTest, ASlotWhoseLockIsBusyIsPassedOver) {
  EventfdTransport squatter(hub_, 1);
  EventfdTransport transport(hub_, 2);
  ASSERT_TRUE(squatter.LockSlot(0).ok());
  const Result<ClaimedSlot> claimed = table_.Claim(Request("a"), transport);
  ASSERT_TRUE(claimed.ok()) << claimed.status().ToString();
  EXPECT_NE(claimed->id.slot, 0U);
}

// A device that only this process can have: what lives under its ivposition is what is left of the
// last one.
TEST_F(PeerTableTest, AnExclusiveTransportBuriesItsPredecessors) {
  ASSERT_TRUE(table_.Claim(Request("a"), transport_).ok());
  EventfdTransport shared(hub_, 1, {.locks = false});
  EXPECT_FALSE(table_.Claim(Request("a"), shared).ok());
  EventfdTransport exclusive(hub_, 1, {.locks = false, .exclusive = true});
  const Result<ClaimedSlot> second = table_.Claim(Request("a"), exclusive);
  EXPECT_TRUE(second.ok()) << second.status().ToString();
}

// As a guest's driver that marks slots dead when their process ends.
class RegisteringTransport : public EventfdTransport {
 public:
  using EventfdTransport::EventfdTransport;

  Status RegisterSlot(std::uint32_t slot, std::uint64_t live_word,
                      std::span<const std::uint64_t, 2> boot_id) override {
    if (slot == taken) return {StatusCode::kAborted, "another process is claiming it"};
    EXPECT_EQ(boot_id[0], kBoot[0]);
    EXPECT_EQ(boot_id[1], kBoot[1]);
    EXPECT_FALSE(registered);
    life_then = memory_life(slot);
    registered = {slot, live_word};
    return {};
  }
  void UnregisterSlot(std::uint32_t slot) noexcept override {
    EXPECT_EQ(registered->first, slot);
    registered.reset();
  }

  std::optional<std::uint32_t> taken;
  std::optional<std::pair<std::uint32_t, std::uint64_t>> registered;
  Life life_then;
  std::function<Life(std::uint32_t)> memory_life;
};

TEST_F(PeerTableTest, ASlotIsRegisteredBeforeItIsClaimedAndUntilItIsLeft) {
  RegisteringTransport transport(hub_, 1);
  transport.memory_life = [this](std::uint32_t slot) { return LifeOf(slot); };
  const Result<ClaimedSlot> claimed = table_.Claim(Request("a"), transport);
  ASSERT_TRUE(claimed.ok());
  EXPECT_EQ(transport.life_then.state, PeerState::kFree);
  EXPECT_EQ(transport.registered, std::pair(claimed->id.slot, claimed->live_word));
  RegisteringTransport loser(hub_, 2);
  loser.memory_life = transport.memory_life;
  ASSERT_FALSE(table_.Claim(Request("a"), loser).ok());
  EXPECT_FALSE(loser.registered) << "a claim that failed leaves nothing behind";
  table_.Leave(*claimed, transport);
  EXPECT_FALSE(transport.registered);
}

TEST_F(PeerTableTest, ASlotThatAnotherProcessRegistersIsPassedOver) {
  RegisteringTransport transport(hub_, 1);
  transport.memory_life = [this](std::uint32_t slot) { return LifeOf(slot); };
  transport.taken = 0;
  const Result<ClaimedSlot> claimed = table_.Claim(Request("a"), transport);
  ASSERT_TRUE(claimed.ok()) << claimed.status().ToString();
  EXPECT_EQ(claimed->id.slot, 1U);
}

class TwoSlotTableTest : public PeerTableTest {
 protected:
  TwoSlotTableTest() : PeerTableTest(2) {}
};

TEST_F(TwoSlotTableTest, AFullTableSaysWhichSlotsOnlyTheirLocksTake) {
  EventfdTransport squatter(hub_, 1);
  EventfdTransport holder(hub_, 2);
  EventfdTransport late(hub_, 3);
  ASSERT_TRUE(squatter.LockSlot(0).ok());
  ASSERT_TRUE(table_.Claim(Request("a"), holder).ok());
  const Status full = table_.Claim(Request("b"), late).status();
  EXPECT_EQ(full.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(full.message(), HasSubstr("1 of them are free"));
}

// Killed between the first and the last store of its claim. Nobody holds a lock, no server saw it.
TEST_F(TwoSlotTableTest, AClaimerKilledBeforeItWroteItsNameGivesItsSlotBack) {
  const Life corpse{7, layout::kNoIvposition, 0, PeerState::kClaiming};
  hub_.region().slot(0).life.store(corpse.ToWord());
  EventfdTransport one(hub_, 1);
  EventfdTransport two(hub_, 2);
  EXPECT_TRUE(table_.Claim(Request("a"), one).ok());
  const Result<ClaimedSlot> second = table_.Claim(Request("b"), two);
  ASSERT_TRUE(second.ok()) << second.status().ToString();
  EXPECT_EQ(second->id, (PeerId{0, 8}));
}

TEST_F(TwoSlotTableTest, AClaimerKilledAfterItWroteItsNameGivesTheNameBack) {
  EventfdTransport transport(hub_, 1);
  const Result<ClaimedSlot> claimed = table_.Claim(Request("a"), transport_);
  ASSERT_TRUE(claimed.ok());
  testing::SetState(hub_.region(), claimed->id.slot, PeerState::kClaiming);
  const Result<ClaimedSlot> second = table_.Claim(Request("a"), transport);
  ASSERT_TRUE(second.ok()) << second.status().ToString();
  EXPECT_EQ(table_.Find("a")->id, second->id);
}

TEST_F(TwoSlotTableTest, AResumerKilledBeforeItWroteAnythingLosesNoNameAndNoRing) {
  const ClaimRequest durable{.name = "a", .durable = true, .pid = 1, .boot_id = {1, 2}};
  const Result<ClaimedSlot> first = table_.Claim(durable, transport_);
  ASSERT_TRUE(first.ok());
  table_.Leave(*first, transport_);
  // The first store of the next claim, and no other.
  Life life = LifeOf(first->id.slot);
  ASSERT_EQ(life.state, PeerState::kDead);
  life.incarnation += 1;
  life.flags |= layout::kPeerResumed;
  life.state = PeerState::kClaiming;
  hub_.region().slot(first->id.slot).life.store(life.ToWord());

  EventfdTransport transport(hub_, 1);
  const Result<ClaimedSlot> third = table_.Claim(durable, transport);
  ASSERT_TRUE(third.ok()) << third.status().ToString();
  EXPECT_EQ(third->id, (PeerId{first->id.slot, life.incarnation + 1}));
  EXPECT_TRUE(third->resumed);
  // The same through `ivmq forget`.
  table_.Leave(*third, transport);
  life = LifeOf(first->id.slot);
  life.incarnation += 1;
  hub_.region().slot(first->id.slot).life.store(life.ToWord());
  EXPECT_TRUE(table_.Forget("a").ok());
  EXPECT_EQ(LifeOf(first->id.slot).state, PeerState::kFree);
}

// ---- Claims while somebody scribbles ----

// Does something to a slot between a claimer's look at it and its compare-and-swap.
class ScribblingTransport : public EventfdTransport {
 public:
  ScribblingTransport(Hub& hub, std::function<void(std::uint32_t slot)> scribble)
      : EventfdTransport(hub, 1), scribble_(std::move(scribble)) {}
  Status LockSlot(std::uint32_t slot) override {
    scribble_(slot);
    return EventfdTransport::LockSlot(slot);
  }

 private:
  std::function<void(std::uint32_t)> scribble_;
};

class HostileClaimTest : public PeerTableTest {
 protected:
  // Calls `scribble` with ever new numbers while `body` runs.
  static void While(const std::function<void(std::uint32_t)>& scribble,
                    const std::function<void()>& body) {
    std::atomic<bool> stop{false};
    std::atomic<bool> began{false};
    std::thread scribbler([&] {
      for (std::uint32_t i = 1; !stop; ++i) {
        scribble(i);
        began = true;
        began.notify_one();
      }
    });
    began.wait(false);
    body();
    stop = true;
    scribbler.join();
  }
  layout::PeerSlot& Slot(std::uint32_t slot) { return hub_.region().slot(slot); }
};

TEST_F(HostileClaimTest, AClaimPassesOverSlotsThatChangeAtEachLook) {
  ScribblingTransport transport(hub_, [this](std::uint32_t slot) {
    if (slot < 5) Slot(slot).life.fetch_add(std::uint64_t{1} << 32);
  });
  const Result<ClaimedSlot> claimed = table_.Claim(Request("a"), transport);
  ASSERT_TRUE(claimed.ok()) << claimed.status().ToString();
  EXPECT_EQ(claimed->id.slot, 5U);
}

TEST_F(HostileClaimTest, AClaimEndsIfEverySlotChangesAtEachLook) {
  ScribblingTransport transport(
      hub_, [this](std::uint32_t slot) { Slot(slot).life.fetch_add(std::uint64_t{1} << 32); });
  EXPECT_FALSE(table_.Claim(Request("a"), transport).ok());
}

TEST_F(HostileClaimTest, AClaimIsNotHeldUpByOneThatBeginsAgainAndAgain) {
  While(
      [this](std::uint32_t i) {
        Slot(5).life = Life{.incarnation = i, .state = PeerState::kClaiming}.ToWord();
      },
      [this] {
        const Result<ClaimedSlot> claimed = table_.Claim(Request("a"), transport_);
        EXPECT_TRUE(claimed.ok()) << claimed.status().ToString();
      });
}

// Of the same name, in a slot that loses against the claimer's.
TEST_F(HostileClaimTest, AClaimOutlastsRivalsThatComeAgainAndAgain) {
  const Result<ClaimedSlot> model = table_.Claim(Request("a"), transport_);
  ASSERT_TRUE(model.ok());
  for (std::size_t i = 0; i < Slot(5).name.size(); ++i) {
    Slot(5).name[i] = Slot(model->id.slot).name[i].load();
  }
  table_.Leave(*model, transport_);
  While(
      [this](std::uint32_t i) {
        Slot(5).name_incarnation = i;
        Slot(5).life = Life{.incarnation = i, .state = PeerState::kClaiming}.ToWord();
      },
      [this] {
        const Result<ClaimedSlot> claimed = table_.Claim(Request("a"), transport_);
        EXPECT_TRUE(claimed.ok()) << claimed.status().ToString();
      });
}

// A dead durable slot of the name that is seen and cannot be had.
TEST_F(HostileClaimTest, AClaimOfADurableNameEndsThoughItsSlotFlaps) {
  const Result<ClaimedSlot> first = table_.Claim(Request("a", true), transport_);
  ASSERT_TRUE(first.ok());
  table_.Leave(*first, transport_);
  Life life = LifeOf(first->id.slot);
  layout::PeerSlot& slot = Slot(first->id.slot);
  ScribblingTransport transport(hub_, [&](std::uint32_t) {
    ++life.incarnation;
    slot.name_incarnation = life.incarnation;
    slot.life = life.ToWord();
  });
  EXPECT_EQ(table_.Claim(Request("a", true), transport).status().code(), StatusCode::kUnavailable);
}

TEST_F(HostileClaimTest, AClaimEndsWhateverStandsInTheTable) {
  testing::Random random(testing::TestSeed());
  const std::uint64_t memory_words = sizeof(layout::PeerSlot) / sizeof(layout::Word);
  While(
      [&](std::uint32_t) {
        const auto slot = static_cast<std::uint32_t>(testing::Below(random, 8));
        auto* const words = reinterpret_cast<layout::Word*>(&Slot(slot));
        const bool is_life = testing::Below(random, 2) == 0;
        words[is_life ? 0 : testing::Below(random, memory_words)] =
            is_life ? testing::Below(random, 4) << 32 | testing::Below(random, 5) : random();
      },
      [this] {
        for (int i = 0; i < 20; ++i) {
          const Result<ClaimedSlot> claimed = table_.Claim(Request("a"), transport_);
          if (claimed.ok()) table_.Leave(*claimed, transport_);
        }
      });
}

// ---- Services ----

TEST_F(PeerTableTest, WhatAPeerOffersIsReadUntilItSaysOtherwiseOrEnds) {
  const Result<ClaimedSlot> claimed = table_.Claim(Request("vm1", true), transport_);
  ASSERT_TRUE(claimed.ok());
  EXPECT_THAT(table_.Find("vm1")->services, IsEmpty());
  const std::uint64_t before = table_.generation();
  EXPECT_TRUE(table_.WriteServices(claimed->id, {"pkg.Echo", "Plain"}));
  EXPECT_NE(table_.generation(), before);
  EXPECT_THAT(table_.Find("vm1")->services, ElementsAre("pkg.Echo", "Plain"));

  const std::uint64_t written = table_.generation();
  EXPECT_FALSE(table_.WriteServices(claimed->id, {"pkg.Echo", "Plain"}));
  EXPECT_EQ(table_.generation(), written) << "nobody is told of what stayed";
  EXPECT_TRUE(table_.WriteServices(claimed->id, {"Plain"}));
  EXPECT_THAT(table_.Find("vm1")->services, ElementsAre("Plain"));
  table_.Leave(*claimed, transport_);
  EXPECT_THAT(table_.Find("vm1")->services, IsEmpty()) << "who is away offers nothing";
}

TEST_F(PeerTableTest, ASlotsNextOwnerDoesNotInheritServices) {
  for (const bool durable : {false, true}) {
    const std::string name = durable ? "durable" : "ephemeral";
    const Result<ClaimedSlot> first = table_.Claim(Request(name, durable), transport_);
    ASSERT_TRUE(first.ok());
    (void)table_.WriteServices(first->id, {"pkg.Echo"});
    table_.Leave(*first, transport_);
    const Result<ClaimedSlot> next = table_.Claim(Request(name, durable), transport_);
    ASSERT_TRUE(next.ok());
    ASSERT_EQ(next->id.slot, first->id.slot);
    EXPECT_THAT(table_.Find(name)->services, IsEmpty());
    // A former owner that did not hear of its end.
    (void)table_.WriteServices(first->id, {"pkg.Late"});
    EXPECT_THAT(table_.Find(name)->services, IsEmpty());
    (void)table_.WriteServices(next->id, {"pkg.New"});
    EXPECT_THAT(table_.Find(name)->services, ElementsAre("pkg.New"));
  }
}

TEST(CheckServicesTest, RefusesWhatIsNoServicesName) {
  for (const char* const name :
       {"", ".", "a.", ".a", "a..b", "9a", "a.9", "a b", "a/b", "a\n", "\xc3\xa4"}) {
    EXPECT_EQ(CheckServices({name}).code(), StatusCode::kInvalidArgument) << name;
  }
  EXPECT_EQ(CheckServices({"a", "b", "a"}).code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(CheckServices({"_", "a9._b.C_1", "A"}).ok());
}

TEST(CheckServicesTest, RefusesMoreThanASlotHoldsWithTheNumbers) {
  std::vector<std::string> services{std::string(layout::kServiceTextBytes - 3, 'a'), "b"};
  EXPECT_TRUE(CheckServices(services).ok());
  services[1] = "bb";
  const Status status = CheckServices(services);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("1265"), HasSubstr("1264")));
}

TEST_F(PeerTableTest, ServicesThatChangeMeanwhileAreReadWholeOrNotAtAll) {
  const Result<ClaimedSlot> claimed = table_.Claim(Request("vm1"), transport_);
  ASSERT_TRUE(claimed.ok());
  const std::vector<std::string> odd(1, std::string(400, 'o'));
  const std::vector<std::string> even{std::string(500, 'e'), "Even"};
  std::atomic<bool> stop{false};
  std::thread owner([&] {
    while (!stop) {
      (void)table_.WriteServices(claimed->id, odd);
      (void)table_.WriteServices(claimed->id, even);
    }
  });
  for (int i = 0; i < 20000; ++i) {
    const std::optional<PeerInfo> peer = table_.Read(claimed->id.slot);
    ASSERT_TRUE(peer);
    ASSERT_THAT(peer->services, AnyOf(IsEmpty(), odd, even));
  }
  stop = true;
  owner.join();
}

TEST_F(PeerTableTest, ServicesWhoseOwnerDiedWhileItChangedThemAreNone) {
  const Result<ClaimedSlot> claimed = table_.Claim(Request("vm1"), transport_);
  ASSERT_TRUE(claimed.ok());
  (void)table_.WriteServices(claimed->id, {"pkg.Echo"});
  hub_.region().slot(claimed->id.slot).services.sequence.fetch_add(1);
  EXPECT_THAT(table_.Find("vm1")->services, IsEmpty());
}

// ---- Topics ----

TEST_F(PeerTableTest, WhatAPeerSaysOfItsTopicsStandsBesideItsServices) {
  const Result<ClaimedSlot> claimed = table_.Claim(Request("vm1"), transport_);
  ASSERT_TRUE(claimed.ok());
  EXPECT_THAT(table_.ReadTopics(claimed->id), IsEmpty());
  const std::vector<std::string> longest{std::string(layout::kTopicTextBytes - 3, 't'), "u"};
  (void)table_.WriteServices(claimed->id, {"pkg.Echo"});
  const std::uint64_t before = table_.generation();
  EXPECT_TRUE(table_.WriteTopics(claimed->id, longest));
  EXPECT_NE(table_.generation(), before);
  EXPECT_EQ(table_.ReadTopics(claimed->id), longest);
  EXPECT_FALSE(table_.WriteTopics(claimed->id, longest));
  EXPECT_THAT(table_.Find("vm1")->services, ElementsAre("pkg.Echo"));
  EXPECT_THAT(table_.ReadTopics({claimed->id.slot, claimed->id.incarnation + 1}), IsEmpty())
      << "another life says nothing";
}

// ---- Hostile bytes ----

TEST_F(PeerTableTest, ASlotFullOfAnythingIsReadWithoutHarm) {
  testing::Random random(testing::TestSeed());
  for (int round = 0; round < 2000; ++round) {
    for (std::uint32_t s = 0; s < 8; ++s) {
      auto* words = reinterpret_cast<std::uint64_t*>(&hub_.region().slot(s));
      for (std::size_t i = 0; i < sizeof(layout::PeerSlot) / 8; ++i) words[i] = random();
      // Often a state that is known and an identity that fits, so that the rest is looked at.
      if (testing::Below(random, 4) != 0) {
        Life life = LifeOf(s);
        life.state = static_cast<PeerState>(testing::Below(random, 5));
        hub_.region().slot(s).life.store(life.ToWord());
        hub_.region().slot(s).name_incarnation.store(life.incarnation);
        hub_.region().slot(s).services.sequence.store(std::uint64_t{life.incarnation} << 32 |
                                                      testing::Below(random, 2));
        hub_.region().slot(s).services_text[0].store(0x0041'00'42'2e41ULL);  // "A.B", "A"
        hub_.region().slot(s).topics.sequence.store(std::uint64_t{life.incarnation} << 32);
      }
    }
    for (const PeerInfo& peer : table_.Snapshot().peers) {
      EXPECT_LT(peer.name.size(), layout::kNameBytes);
      for (const char c : peer.name) EXPECT_GE(static_cast<unsigned char>(c), 0x20U);
      for (const std::string& service : peer.services) {
        EXPECT_TRUE(CheckServices({service}).ok()) << service;
      }
      for (const std::string& topic : table_.ReadTopics(peer.id)) {
        EXPECT_LT(topic.size(), layout::kTopicTextBytes);
      }
    }
    (void)table_.Find("vm1");
    (void)table_.MarkUnlockedDead(transport_, std::nullopt);
    (void)table_.MarkIvpositionDead(static_cast<std::uint16_t>(random()), &kBoot);
    table_.WakeAll(transport_, std::nullopt);
    table_.Reclaim();
    (void)table_.Forget("vm1");
  }
}

TEST(BootIdTest, IsTheSameForEveryReader) {
  const BootId id = ReadBootId();
  EXPECT_NE(id, (BootId{0, 0}));
  EXPECT_EQ(id, ReadBootId());
}

}  // namespace
}  // namespace ivmq
