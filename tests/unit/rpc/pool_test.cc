// Whose turn it is on the pool.
#include "src/pool.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <semaphore>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ivmq::rpc::internal {
namespace {

using ::testing::ElementsAre;

// Notes its name where it runs, once it may.
class Noting final : public Pool::Job {
 public:
  Noting(std::string name, std::vector<std::string>& log, std::counting_semaphore<>& may_run,
         std::counting_semaphore<>& has_run)
      : name_(std::move(name)), log_(log), may_run_(may_run), has_run_(has_run) {}

  void Run() override {
    may_run_.acquire();
    log_.push_back(name_);
    has_run_.release();
  }
  void Refuse() override { FAIL() << name_; }

 private:
  const std::string name_;
  std::vector<std::string>& log_;
  std::counting_semaphore<>& may_run_;
  std::counting_semaphore<>& has_run_;
};

// With and without a thread that spins for the next job.
class PoolTurnsTest : public ::testing::TestWithParam<std::chrono::nanoseconds> {};

INSTANTIATE_TEST_SUITE_P(Spin, PoolTurnsTest,
                         ::testing::Values(std::chrono::nanoseconds(0), std::chrono::hours(1)));

TEST_P(PoolTurnsTest, EachFlowHasItsTurnHoweverManyJobsAnotherHas) {
  std::vector<std::string> log;
  std::counting_semaphore<> may_run{0};
  std::counting_semaphore<> has_run{0};
  const auto job = [&](const char* name) { return Noting(name, log, may_run, has_run); };
  Noting jobs[] = {job("a1"), job("a2"), job("a3"), job("a4"), job("b1"), job("b2"), job("c1")};
  const std::size_t flows[] = {0, 0, 0, 0, 5, 5, 3};
  Pool pool(1, 1, GetParam());
  for (std::size_t i = 0; i < std::size(jobs); ++i) pool.Submit(jobs[i], flows[i]);
  may_run.release(std::size(jobs));
  for (std::size_t i = 0; i < std::size(jobs); ++i) has_run.acquire();
  ASSERT_EQ(log.size(), std::size(jobs));
  // Whether the first one had been taken when the second came.
  const auto b1 = std::find(log.begin(), log.end(), "b1") - log.begin();
  const auto c1 = std::find(log.begin(), log.end(), "c1") - log.begin();
  EXPECT_LE(b1, 2);
  EXPECT_LE(c1, 3);
  std::vector<std::string> of_a;
  std::copy_if(log.begin(), log.end(), std::back_inserter(of_a),
               [](const std::string& name) { return name[0] == 'a'; });
  EXPECT_THAT(of_a, ElementsAre("a1", "a2", "a3", "a4"));
}

// Waits for another one, which therefore needs a thread of its own.
class Pair final : public Pool::Job {
 public:
  Pair(std::counting_semaphore<>& mine, std::counting_semaphore<>& other,
       std::counting_semaphore<>& has_run)
      : mine_(mine), other_(other), has_run_(has_run) {}
  void Run() override {
    other_.release();
    mine_.acquire();
    has_run_.release();
  }
  void Refuse() override { FAIL(); }

 private:
  std::counting_semaphore<>& mine_;
  std::counting_semaphore<>& other_;
  std::counting_semaphore<>& has_run_;
};

// One of them may go to the thread that spins; the other one must wake a thread that sleeps.
TEST_P(PoolTurnsTest, NoJobWaitsForAnotherWhileAThreadIsIdle) {
  std::counting_semaphore<> first{0};
  std::counting_semaphore<> second{0};
  std::counting_semaphore<> has_run{0};
  Pool pool(2, 2, GetParam());
  for (int i = 0; i < 1000; ++i) {
    Pair one(first, second, has_run);
    Pair other(second, first, has_run);
    pool.Submit(one, 0);
    pool.Submit(other, 1);
    has_run.acquire();
    has_run.acquire();
  }
}

}  // namespace
}  // namespace ivmq::rpc::internal
