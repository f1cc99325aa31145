#include "log_limiter.h"

#include <chrono>

#include <gtest/gtest.h>

namespace ivmq::server {
namespace {

using std::chrono::seconds;

constexpr uid_t kUser = 1000;
constexpr LogLimiter::Clock::time_point kStart{};

TEST(LogLimiterTest, AUserHasTenSecondsWorthAtOnceAndThenItsRate) {
  LogLimiter limiter(2);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(limiter.Ask(kUser, kStart), 0U);
  EXPECT_FALSE(limiter.Ask(kUser, kStart));
  EXPECT_FALSE(limiter.Ask(kUser, kStart));
  EXPECT_EQ(limiter.Ask(kUser, kStart + seconds(1)), 2U) << "what was left out";
  EXPECT_EQ(limiter.Ask(kUser, kStart + seconds(1)), 0U);
  EXPECT_FALSE(limiter.Ask(kUser, kStart + seconds(1)));
}

TEST(LogLimiterTest, QuietSavesNoMoreThanTheStock) {
  LogLimiter limiter(1);
  EXPECT_EQ(limiter.Ask(kUser, kStart), 0U);
  const auto later = kStart + std::chrono::hours(24);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(limiter.Ask(kUser, later), 0U);
  EXPECT_FALSE(limiter.Ask(kUser, later));
}

TEST(LogLimiterTest, OneUserDoesNotUseUpAnothersLines) {
  LogLimiter limiter(1);
  for (int i = 0; i < 100; ++i) (void)limiter.Ask(kUser, kStart);
  for (uid_t user = 2000; user < 6000; ++user) EXPECT_EQ(limiter.Ask(user, kStart), 0U);
  // However many others there were, it is remembered.
  EXPECT_EQ(limiter.Ask(kUser, kStart + seconds(100)), 90U);
}

TEST(LogLimiterTest, ItsRateMayChangeAndWhatItLeavesOutIsCounted) {
  LogLimiter limiter(0);
  EXPECT_EQ(limiter.Ask(kUser, kStart), 0U);
  limiter.SetRate(1);
  for (int i = 0; i < 13; ++i) (void)limiter.Ask(kUser, kStart);
  EXPECT_EQ(limiter.omitted(), 3U);
  EXPECT_EQ(limiter.Ask(kUser, kStart + seconds(1)), 3U);
  EXPECT_EQ(limiter.omitted(), 3U);
}

TEST(LogLimiterTest, ZeroIsNoLimit) {
  LogLimiter limiter(0);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(limiter.Ask(kUser, kStart), 0U);
}

}  // namespace
}  // namespace ivmq::server
