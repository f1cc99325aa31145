// The transition tables of calls, and who tells the server of a cancel.
#include "src/call_state.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/inproc.h"

#include "src/call_table.h"

namespace ivmq::rpc::internal {
namespace {

template <typename Enum>
std::vector<Enum> UpTo(Enum last) {
  std::vector<Enum> all;
  for (std::uint8_t i = 0; i <= static_cast<std::uint8_t>(last); ++i) {
    all.push_back(static_cast<Enum>(i));
  }
  return all;
}

// The states that a walk reaches.
template <typename State, typename Event>
std::set<State> Reached(State first, Event last_event) {
  std::set<State> reached = {first};
  std::vector<State> open = {first};
  while (!open.empty()) {
    const State state = open.back();
    open.pop_back();
    for (const Event event : UpTo(last_event)) {
      const std::optional<State> next = After(state, event);
      if (next && reached.insert(*next).second) open.push_back(*next);
    }
  }
  return reached;
}

TEST(CallStateTest, EveryStateIsReached) {
  EXPECT_EQ(Reached(ClientCallState::kNew, ClientCallEvent::kCut).size(),
            UpTo(ClientCallState::kCut).size());
  EXPECT_EQ(Reached(CallbackState::kBeginning, CallbackEvent::kEnd).size(),
            UpTo(CallbackState::kCalledBack).size());
  EXPECT_EQ(Reached(ClientStreamState::kWaiting, ClientStreamEvent::kFinish).size(),
            UpTo(ClientStreamState::kFinished).size());
  EXPECT_EQ(Reached(MessageStreamState::kOpen, MessageStreamEvent::kEnd).size(),
            UpTo(MessageStreamState::kEnded).size());
  EXPECT_EQ(Reached(ServerCallState::kUnlisted, ServerCallEvent::kReuse).size(),
            UpTo(ServerCallState::kLingers).size());
  EXPECT_EQ(Reached(ServerReactorState::kNone, ServerReactorEvent::kFinish).size(),
            UpTo(ServerReactorState::kDone).size());
}

TEST(CallStateTest, ACallOfAClientEndsOnceAndForAll) {
  for (const ClientCallState state : UpTo(ClientCallState::kCut)) {
    for (const ClientCallEvent event : {ClientCallEvent::kAnswer, ClientCallEvent::kCut}) {
      const std::optional<ClientCallState> next = After(state, event);
      EXPECT_TRUE(!HasEnded(state) || !next.has_value());
      EXPECT_TRUE(!next.has_value() || HasEnded(*next));
    }
    const std::optional<ClientCallState> sent = After(state, ClientCallEvent::kSend);
    EXPECT_TRUE(!sent.has_value() || HasEnded(*sent) == HasEnded(state));
  }
}

TEST(CallStateTest, ARequestThatIsCutIsToldOfOnceIfItGoesAndElseNever) {
  // The sender tells the server if it finds the call cut; who cuts it, if it finds it sent.
  CallState<ClientCallState> cut_first(ClientCallState::kUnsent);
  EXPECT_NE(cut_first.On(ClientCallEvent::kCut), ClientCallState::kSent);
  EXPECT_EQ(cut_first.On(ClientCallEvent::kSend), ClientCallState::kCutUnsent);
  CallState<ClientCallState> sent_first(ClientCallState::kUnsent);
  EXPECT_NE(sent_first.On(ClientCallEvent::kSend), ClientCallState::kCutUnsent);
  EXPECT_EQ(sent_first.On(ClientCallEvent::kCut), ClientCallState::kSent);
  CallState<ClientCallState> never_sent(ClientCallState::kUnsent);
  EXPECT_NE(never_sent.On(ClientCallEvent::kCut), ClientCallState::kSent);
  // The answer may overtake the news that the request has gone.
  CallState<ClientCallState> answered(ClientCallState::kUnsent);
  answered.Set(ClientCallEvent::kAnswer);
  EXPECT_NE(answered.On(ClientCallEvent::kSend), ClientCallState::kCutUnsent);
}

TEST(CallStateTest, ACallbackComesBehindBothAndOnce) {
  for (const CallbackEvent first : UpTo(CallbackEvent::kEnd)) {
    for (const CallbackEvent second : UpTo(CallbackEvent::kEnd)) {
      const std::optional<CallbackState> one = After(CallbackState::kBeginning, first);
      ASSERT_TRUE(one.has_value());
      EXPECT_NE(one, CallbackState::kCalledBack);
      EXPECT_EQ(After(*one, second) == CallbackState::kCalledBack, first != second);
    }
  }
}

TEST(CallStateTest, AReactorOfAClientHearsOfTheBeginningBeforeTheEndAndOnce) {
  for (const ClientStreamState state : UpTo(ClientStreamState::kFinished)) {
    const std::optional<ClientStreamState> told = After(state, ClientStreamEvent::kTell);
    EXPECT_TRUE(!told.has_value() || !CanTell(*told));
    EXPECT_TRUE(!told.has_value() || HasEnded(*told) == HasEnded(state));
    // What comes late changes nothing.
    EXPECT_TRUE(!HasEnded(state) || After(state, ClientStreamEvent::kBegin) == state);
    EXPECT_EQ(After(state, ClientStreamEvent::kFinish).has_value(),
              HasEnded(state) && state != ClientStreamState::kFinished);
  }
}

TEST(CallStateTest, AStreamThatEndsOrHadItsLastMessageStaysSo) {
  for (const MessageStreamState state : UpTo(MessageStreamState::kEnded)) {
    EXPECT_EQ(After(state, MessageStreamEvent::kEnd), MessageStreamState::kEnded);
    EXPECT_EQ(After(state, MessageStreamEvent::kLast), std::max(state, MessageStreamState::kLast));
    EXPECT_EQ(After(state, MessageStreamEvent::kDiscard),
              std::max(state, MessageStreamState::kDiscards));
  }
}

TEST(CallStateTest, ACallOfAServerIsEndedForItsClientOnce) {
  for (const ServerCallState state : UpTo(ServerCallState::kLingers)) {
    EXPECT_EQ(After(state, ServerCallEvent::kTake).has_value(),
              state == ServerCallState::kUnlisted || state == ServerCallState::kOpen);
    EXPECT_EQ(After(state, ServerCallEvent::kReuse), ServerCallState::kUnlisted);
  }
  EXPECT_FALSE(After(ServerCallState::kLingers, ServerCallEvent::kCut).has_value());
}

TEST(CallStateTest, AReactorOfAServerHearsOfACancelBeforeItsEndAndOnce) {
  for (const ServerReactorState state : UpTo(ServerReactorState::kDone)) {
    EXPECT_TRUE(After(state, ServerReactorEvent::kCancel).has_value());
    EXPECT_EQ(After(state, ServerReactorEvent::kTell).has_value(),
              state == ServerReactorState::kCancelling);
  }
  EXPECT_FALSE(After(ServerReactorState::kCancelling, ServerReactorEvent::kEnd).has_value());
}

// ---- Calls whose request another thread sends ----

class CallTableTest : public ::testing::Test {
 protected:
  class Call final : public ClientCall {
   public:
    Call(const Node& node, ClientContext& context_in)
        : ClientCall(node, context_in, /*has_streams_in=*/false, /*waits_in=*/true) {}
    void End(Status /*status*/, const CallFrame* /*end*/) override {}
  };

  CallTableTest() {
    auto region = InprocRegion::Create(std::uint64_t{4} << 20, {.max_peers = 4});
    EXPECT_TRUE(region.ok()) << region.status().ToString();
    auto node = Node::Open(*(*region)->Join(), {.name = "a"});
    EXPECT_TRUE(node.ok()) << node.status().ToString();
    node_ = *std::move(node);
  }
  std::uint64_t InsertQueued(Call& call) {
    call.life.SetPeer(kPeer);
    EXPECT_TRUE(table_.Insert(call));
    EXPECT_TRUE(table_.SetQueued(call.id));
    EXPECT_TRUE(table_.WantsRequest(call.id));
    return call.id;
  }

  static constexpr PeerId kPeer{1, 1};
  std::unique_ptr<Node> node_;
  ClientContext context_;
  CallTable table_;
};

TEST_F(CallTableTest, AQueuedRequestKnowsWhetherItsCallWasCutMeanwhile) {
  Call cut(*node_, context_);
  const std::uint64_t cut_id = InsertQueued(cut);
  const TakenCall taken = table_.Remove(cut_id);
  EXPECT_EQ(taken.call, &cut);
  EXPECT_FALSE(taken.was_sent());
  EXPECT_FALSE(table_.WantsRequest(cut_id));
  Call answered(*node_, context_);
  const std::uint64_t answered_id = InsertQueued(answered);
  EXPECT_EQ(table_.RemoveAnswered(answered_id, kPeer), &answered);
  Call sent(*node_, context_);
  const std::uint64_t sent_id = InsertQueued(sent);

  EXPECT_TRUE(table_.FinishRequest(cut_id, /*sent=*/true).is_cut);
  EXPECT_FALSE(table_.FinishRequest(answered_id, /*sent=*/true).is_cut);
  EXPECT_FALSE(table_.FinishRequest(sent_id, /*sent=*/true).is_cut);
  EXPECT_TRUE(table_.Remove(sent_id).was_sent());
}

TEST_F(CallTableTest, NoOtherCallGetsTheEntryOfOneWhoseRequestIsQueued) {
  Call first(*node_, context_);
  const std::uint64_t id = InsertQueued(first);
  (void)table_.Remove(id);
  Call second(*node_, context_);
  EXPECT_TRUE(table_.Insert(second));
  EXPECT_NE(second.id % CallTable::kMostCalls, id % CallTable::kMostCalls);
  (void)table_.FinishRequest(id, /*sent=*/false);
  Call third(*node_, context_);
  EXPECT_TRUE(table_.Insert(third));
  EXPECT_EQ(third.id % CallTable::kMostCalls, id % CallTable::kMostCalls);
  EXPECT_NE(third.id, id);
}

}  // namespace
}  // namespace ivmq::rpc::internal
