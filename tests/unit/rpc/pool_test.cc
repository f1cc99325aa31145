// Whose turn it is on the pool.
#include "src/pool.h"

#include <algorithm>
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

TEST(PoolTurnsTest, EachFlowHasItsTurnHoweverManyJobsAnotherHas) {
  std::vector<std::string> log;
  std::counting_semaphore<> may_run{0};
  std::counting_semaphore<> has_run{0};
  const auto job = [&](const char* name) { return Noting(name, log, may_run, has_run); };
  Noting jobs[] = {job("a1"), job("a2"), job("a3"), job("a4"), job("b1"), job("b2"), job("c1")};
  const std::size_t flows[] = {0, 0, 0, 0, 5, 5, 3};
  Pool pool(1, 1);
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

}  // namespace
}  // namespace ivmq::rpc::internal
