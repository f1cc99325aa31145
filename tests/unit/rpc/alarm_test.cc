#include <chrono>
#include <future>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/rpc/reactor.h"

namespace ivmq::testing {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using std::chrono::system_clock;

// What an alarm calls, and how it was.
struct Called {
  std::promise<bool> how;
  auto Callback() {
    return [this](bool ok) { how.set_value(ok); };
  }
  bool Await() { return how.get_future().get(); }
};

TEST(AlarmTest, ItCallsWithTrueWhenItsTimeHasCome) {
  const auto when = steady_clock::now() + milliseconds(20);
  rpc::Alarm alarm;
  Called called;
  alarm.Set(when, called.Callback());
  EXPECT_TRUE(called.Await());
  EXPECT_GE(steady_clock::now(), when);
}

TEST(AlarmTest, ATimeThatHasPassedHasCome) {
  for (const auto when : {system_clock::time_point::min(), system_clock::now()}) {
    rpc::Alarm alarm;
    Called called;
    alarm.Set(when, called.Callback());
    EXPECT_TRUE(called.Await());
  }
}

TEST(AlarmTest, OneThatIsCancelledDestroyedOrSetAnewCallsWithFalse) {
  rpc::Alarm alarm;
  Called cancelled;
  alarm.Set(system_clock::now() + hours(1), cancelled.Callback());
  alarm.Cancel();
  EXPECT_FALSE(cancelled.Await());
  alarm.Cancel();
  Called destroyed;
  std::make_unique<rpc::Alarm>()->Set(system_clock::time_point::max(), destroyed.Callback());
  EXPECT_FALSE(destroyed.Await());
  Called first;
  Called second;
  alarm.Set(system_clock::now() + hours(1), first.Callback());
  alarm.Set(system_clock::now(), second.Callback());
  EXPECT_FALSE(first.Await());
  EXPECT_TRUE(second.Await());
  Called moved;
  alarm.Set(system_clock::now() + hours(1), moved.Callback());
  alarm = rpc::Alarm();
  EXPECT_FALSE(moved.Await());
}

TEST(AlarmTest, TheEarlierOneComesFirst) {
  rpc::Alarm setter;
  rpc::Alarm late;
  rpc::Alarm early;
  std::vector<int> order;  // the alarms' thread's
  std::promise<void> both;
  // On the alarms' thread, which serves neither until both are set.
  setter.Set(steady_clock::now(), [&](bool) {
    const auto now = steady_clock::now();
    late.Set(now + milliseconds(2), [&](bool) {
      order.push_back(2);
      both.set_value();
    });
    early.Set(now + milliseconds(1), [&](bool) { order.push_back(1); });
  });
  both.get_future().get();
  EXPECT_EQ(order, (std::vector{1, 2}));
}

TEST(AlarmTest, ACallbackMaySetItsAlarmAgainAndDestroyIt) {
  auto alarm = std::make_unique<rpc::Alarm>();
  std::promise<void> done;
  int left = 3;
  std::function<void(bool)> again = [&](bool ok) {
    EXPECT_TRUE(ok);
    if (--left > 0) return alarm->Set(steady_clock::now() + milliseconds(1), again);
    alarm.reset();
    done.set_value();
  };
  alarm->Set(steady_clock::now(), again);
  done.get_future().get();
  EXPECT_EQ(alarm, nullptr);
}

TEST(AlarmTest, OneThatThrowsDisturbsNoOther) {
  rpc::Alarm thrower;
  rpc::Alarm other;
  Called called;
  thrower.Set(steady_clock::now(), [](bool) { throw std::runtime_error("as the test wants"); });
  other.Set(steady_clock::now() + milliseconds(1), called.Callback());
  EXPECT_TRUE(called.Await());
}

}  // namespace
}  // namespace ivmq::testing
