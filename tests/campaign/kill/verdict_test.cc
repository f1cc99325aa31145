// That the campaign sees broken promises, and excuses no more than docs/guarantees.md does.
#include "kill/verdict.h"

#include <cstdint>

#include <gtest/gtest.h>

#include "kill/ledger.h"

namespace ivmq::campaign {
namespace {

constexpr std::uint32_t kSender = 1;   // a durable one
constexpr std::uint32_t kDurable = 0;  // receivers
constexpr std::uint32_t kEphemeral = 7;

// A mesh that has sent and handled one message for each pair, and what the tests add to that.
class VerdictTest : public ::testing::Test {
 protected:
  VerdictTest() : ledger_(100) {
    for (std::uint32_t from = 0; from < kProcesses; ++from) {
      BeginLife(from);
      for (std::uint32_t to = 0; to < kProcesses; ++to) ledger_.pair(from, to).next = 1;
    }
  }

  void BeginLife(std::uint32_t process) {
    Process& its = ledger_.process(process);
    its.life = its.life + 1;
    its.lives[its.life] = PeerWord({process, its.life});
  }
  // Returns its number.
  std::uint32_t Add(std::uint32_t to, Sent sent, bool large = false) {
    Pair& pair = ledger_.pair(kSender, to);
    const std::uint32_t number = pair.next++;
    Entry& entry = ledger_.entry(kSender, to, number);
    entry.to = ledger_.process(to).lives[ledger_.process(to).life].load();
    entry.life = 1;
    entry.large = large;
    entry.sent = sent;
    return number;
  }
  void Handle(std::uint32_t to, std::uint32_t number, bool twice_unmarked = false) {
    const auto life = static_cast<std::uint16_t>(ledger_.process(to).life);
    const std::uint16_t times = twice_unmarked ? 2 : 1;
    ledger_.entry(kSender, to, number).handled = Handled{life, life, times, twice_unmarked};
  }
  void AddHandled(std::uint32_t to) { Handle(to, Add(to, Sent::kOk)); }
  // Judges when each pair has handled a last message.
  Verdict Judge() {
    for (const std::uint32_t to : {kDurable, kEphemeral}) {
      const std::uint32_t last = Add(to, Sent::kOk);
      Handle(to, last);
      ledger_.pair(kSender, to).final_message = last;
    }
    Verdict verdict = campaign::Judge(ledger_);
    EXPECT_EQ(verdict.stuck, kProcesses * (kProcesses - 1) - 2U) << "all pairs that sent nothing";
    return verdict;
  }

  const Ledger ledger_;
};

TEST_F(VerdictTest, WhatWasHandledIsNotLost) {
  for (const std::uint32_t to : {kDurable, kEphemeral}) AddHandled(to);
  (void)Add(kDurable, Sent::kRefused);
  (void)Add(kDurable, Sent::kBegun);
  const Verdict verdict = Judge();
  EXPECT_EQ(verdict.ok, 4U);
  EXPECT_EQ(verdict.handled, 4U);
  EXPECT_EQ(verdict.refused, 1U);
  EXPECT_EQ(verdict.unfinished, 1U);
  EXPECT_EQ(verdict.lost + verdict.twice_unmarked + verdict.refused_yet_handled, 0U);
  EXPECT_FALSE(verdict.holds()) << "pairs are stuck";
}

TEST_F(VerdictTest, ADurableReceiverLosesNoSmallMessage) {
  AddHandled(kDurable);
  (void)Add(kDurable, Sent::kOk);
  BeginLife(kDurable);
  EXPECT_EQ(Judge().lost, 1U);
}

TEST_F(VerdictTest, ADurableReceiversDeathCutsOneLargeMessage) {
  AddHandled(kDurable);
  (void)Add(kDurable, Sent::kOk, true);
  (void)Add(kDurable, Sent::kOk, true);
  BeginLife(kDurable);
  const Verdict verdict = Judge();
  EXPECT_EQ(verdict.excused_cut, 1U);
  EXPECT_EQ(verdict.lost, 1U);
}

TEST_F(VerdictTest, ALargeMessageIsNotCutWithoutADeath) {
  AddHandled(kDurable);
  (void)Add(kDurable, Sent::kOk, true);
  AddHandled(kDurable);
  BeginLife(kDurable);
  const Verdict verdict = Judge();
  EXPECT_EQ(verdict.excused_cut, 0U);
  EXPECT_EQ(verdict.lost, 1U);
}

TEST_F(VerdictTest, AnEphemeralReceiversDeathLosesOnlyWhatItHadNotRead) {
  (void)Add(kEphemeral, Sent::kOk);  // a gap before what it read
  AddHandled(kEphemeral);
  (void)Add(kEphemeral, Sent::kOk);
  (void)Add(kEphemeral, Sent::kOk);
  BeginLife(kEphemeral);
  const Verdict verdict = Judge();
  EXPECT_EQ(verdict.excused_unread, 2U);
  EXPECT_EQ(verdict.lost, 1U);
}

TEST_F(VerdictTest, NothingToALifeThatGoesOnIsExcused) {
  BeginLife(kEphemeral);
  const std::uint32_t last = Add(kEphemeral, Sent::kOk);
  Handle(kEphemeral, last);
  ledger_.pair(kSender, kEphemeral).final_message = last;
  (void)Add(kEphemeral, Sent::kOk);
  EXPECT_EQ(campaign::Judge(ledger_).lost, 1U);
}

TEST_F(VerdictTest, WhatComesTwiceOrThoughItWasRefusedIsSeen) {
  Handle(kDurable, Add(kDurable, Sent::kOk), true);
  Handle(kDurable, Add(kDurable, Sent::kRefused));
  const Verdict verdict = Judge();
  EXPECT_EQ(verdict.twice_unmarked, 1U);
  EXPECT_EQ(verdict.refused_yet_handled, 1U);
}

}  // namespace
}  // namespace ivmq::campaign
