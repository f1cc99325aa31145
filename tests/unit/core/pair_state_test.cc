// The transition tables of the two ends of a pair.
#include "src/pair_state.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace ivmq {
namespace {

constexpr std::array kWriterStates = {WriterState::kNone, WriterState::kLive, WriterState::kLost,
                                      WriterState::kWithdrawn};
constexpr std::array kWriterEvents = {WriterEvent::kAdopt, WriterEvent::kLose,
                                      WriterEvent::kWithdraw, WriterEvent::kLetGo};
constexpr std::array kReaderStates = {ReaderState::kNone, ReaderState::kLive, ReaderState::kStalled,
                                      ReaderState::kEnding, ReaderState::kGivenUp};
constexpr std::array kReaderEvents = {ReaderEvent::kOpen,   ReaderEvent::kStall,
                                      ReaderEvent::kResume, ReaderEvent::kEnd,
                                      ReaderEvent::kGiveUp, ReaderEvent::kForget};

// The states that a walk from kNone reaches.
template <typename State, std::size_t kEvents, typename Event>
std::set<State> Reached(const std::array<Event, kEvents>& events) {
  std::set<State> reached = {State::kNone};
  std::vector<State> open = {State::kNone};
  while (!open.empty()) {
    const State state = open.back();
    open.pop_back();
    for (const Event event : events) {
      const std::optional<State> next = After(state, event);
      if (next && reached.insert(*next).second) open.push_back(*next);
    }
  }
  return reached;
}

TEST(PairStateTest, EveryStateOfAWriterIsReachedAndLeadsBackToNone) {
  EXPECT_EQ(Reached<WriterState>(kWriterEvents).size(), kWriterStates.size());
  for (const WriterState state : kWriterStates) {
    EXPECT_EQ(After(state, WriterEvent::kLetGo), WriterState::kNone);
  }
}

TEST(PairStateTest, AWriterAdoptsARingOnlyWhereItHasNone) {
  for (const WriterState state : kWriterStates) {
    const std::optional<WriterState> next = After(state, WriterEvent::kAdopt);
    EXPECT_EQ(next.has_value(), state == WriterState::kNone);
  }
}

TEST(PairStateTest, AWriterLosesOnlyALiveRing) {
  for (const WriterState state : kWriterStates) {
    EXPECT_EQ(After(state, WriterEvent::kLose).has_value(), state == WriterState::kLive);
  }
}

TEST(PairStateTest, NothingButAnAdoptionMakesAWriterLive) {
  for (const WriterState state : kWriterStates) {
    for (const WriterEvent event : kWriterEvents) {
      if (event != WriterEvent::kAdopt) {
        EXPECT_NE(After(state, event), WriterState::kLive);
      }
    }
  }
}

TEST(PairStateTest, EveryStateOfAReaderIsReachedAndLeadsBackToNone) {
  EXPECT_EQ(Reached<ReaderState>(kReaderEvents).size(), kReaderStates.size());
  for (const ReaderState state : kReaderStates) {
    EXPECT_EQ(After(state, ReaderEvent::kForget), ReaderState::kNone);
  }
}

TEST(PairStateTest, AReaderOpensAndGivesUpARingInAnyState) {
  for (const ReaderState state : kReaderStates) {
    EXPECT_EQ(After(state, ReaderEvent::kOpen), ReaderState::kLive);
    EXPECT_EQ(After(state, ReaderEvent::kGiveUp), ReaderState::kGivenUp);
  }
}

TEST(PairStateTest, OnlyAnOpenRingStallsOrEnds) {
  for (const ReaderState state : kReaderStates) {
    EXPECT_EQ(After(state, ReaderEvent::kStall).has_value(), IsOpen(state));
    const std::optional<ReaderState> ended = After(state, ReaderEvent::kEnd);
    EXPECT_EQ(ended && *ended != state, state == ReaderState::kLive);
  }
}

TEST(PairStateTest, NothingButARingOpensAReader) {
  for (const ReaderState state : {ReaderState::kNone, ReaderState::kGivenUp}) {
    for (const ReaderEvent event : kReaderEvents) {
      const std::optional<ReaderState> next = After(state, event);
      EXPECT_EQ(next && IsOpen(*next), event == ReaderEvent::kOpen);
    }
  }
}

}  // namespace
}  // namespace ivmq
