#include "id_pool.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstdint>

#include <gtest/gtest.h>

namespace ivmq::server {
namespace {

constexpr std::uint32_t kVectors = 2;
constexpr std::uint16_t kFirstId = 1;
const IdSet kNobody;

std::uint16_t MustTake(IdPool& pool, const IdSet& held = kNobody) {
  const auto id = pool.Take(held);
  EXPECT_TRUE(id.ok()) << id.status().ToString();
  return id.ok() ? *id : 0;
}

TEST(IdPoolTest, IdsStartAtOneAndHaveNonBlockingEventfds) {
  IdPool pool(kVectors, IdPolicy::kLend, kFirstId, kFirstId);
  EXPECT_EQ(MustTake(pool), 1);
  EXPECT_EQ(MustTake(pool), 2);
  EXPECT_EQ(pool.size(), 2U);
  eventfd_t value = 0;
  EXPECT_EQ(eventfd_read(pool.eventfd(1, 1), &value), -1);
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_NE(pool.eventfd(1, 0), pool.eventfd(1, 1));
}

TEST(IdPoolTest, AnUnknownIdOrVectorHasNoEventfd) {
  IdPool pool(kVectors, IdPolicy::kLend, kFirstId, kFirstId);
  MustTake(pool);
  EXPECT_EQ(pool.eventfd(1, kVectors), -1);
  EXPECT_EQ(pool.eventfd(2, 0), -1);
  EXPECT_EQ(pool.eventfd(0xffff, 0), -1);
}

TEST(IdPoolTest, ALentIdKeepsItsEventfdsAndTheyAreDrained) {
  IdPool pool(kVectors, IdPolicy::kLend, kFirstId, kFirstId);
  MustTake(pool);
  const int doorbell = pool.eventfd(1, 1);
  ASSERT_EQ(eventfd_write(doorbell, 3), 0);
  pool.Lend(1);
  ASSERT_EQ(eventfd_write(doorbell, 4), 0);
  ASSERT_TRUE(pool.CanLend(kNobody));
  EXPECT_EQ(MustTake(pool), 1);
  EXPECT_EQ(pool.eventfd(1, 1), doorbell);
  eventfd_t value = 0;
  EXPECT_EQ(eventfd_read(doorbell, &value), -1);
}

// O_NONBLOCK is common to all who have the eventfd, and QEMU clears it.
TEST(IdPoolTest, AnEventfdThatBecameBlockingHoldsNobodyUp) {
  IdPool pool(1, IdPolicy::kLend, kFirstId, kFirstId);
  MustTake(pool);
  const int doorbell = pool.eventfd(1, 0);
  ASSERT_EQ(fcntl(doorbell, F_SETFL, O_RDWR), 0);
  pool.Lend(1);
  EXPECT_EQ(MustTake(pool), 1);
  EXPECT_NE(fcntl(doorbell, F_GETFL) & O_NONBLOCK, 0);

  // A full counter.
  ASSERT_EQ(fcntl(doorbell, F_SETFL, O_RDWR), 0);
  ASSERT_EQ(eventfd_write(doorbell, ~std::uint64_t{0} - 1), 0);
  for (int i = 0; i < 3; ++i) pool.Ring(1, 0);
  pool.Ring(1, 1);
  pool.Ring(2, 0);
  eventfd_t value = 0;
  ASSERT_EQ(eventfd_read(doorbell, &value), 0);
  // No write takes it there: it was the kernel's own signal, which does not wait, and which needs
  // no look whether it would.
  EXPECT_EQ(value, ~std::uint64_t{0});
  pool.Ring(1, 0);
  ASSERT_EQ(eventfd_read(doorbell, &value), 0);
  EXPECT_EQ(value, 1U);
}

TEST(IdPoolTest, AnIdThatALivingPeerOfTheRegionHoldsIsNeitherTakenNorLent) {
  IdPool pool(kVectors, IdPolicy::kLend, kFirstId, kFirstId);
  IdSet held;
  held.set(1).set(3);
  EXPECT_EQ(MustTake(pool, held), 2);
  EXPECT_EQ(MustTake(pool, held), 4);
  pool.Lend(2);
  held.set(2);
  EXPECT_FALSE(pool.CanLend(held));
  EXPECT_EQ(MustTake(pool, held), 5);
  held.reset(2);
  EXPECT_EQ(MustTake(pool, held), 2);
  // The former holders are dead: their ids are as good as any.
  held.reset();
  EXPECT_EQ(MustTake(pool, held), 1);
}

TEST(IdPoolTest, ARetiredIdNeverComesBack) {
  IdPool pool(1, IdPolicy::kUnique, kFirstId, kLastId - 2);
  for (std::uint32_t id = kLastId - 2; id <= kLastId; ++id) {
    EXPECT_EQ(MustTake(pool), id);
    pool.Retire(static_cast<std::uint16_t>(id));
    EXPECT_EQ(pool.size(), 0U);
  }
  // Neither 0xffff nor the ids below the first, which a former server may have announced.
  const auto none = pool.Take(kNobody);
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.status().code(), StatusCode::kResourceExhausted);
}

TEST(IdPoolTest, LendingGoesOnBelowTheFirstIdWhenThoseAboveAreUsedUp) {
  IdPool pool(1, IdPolicy::kLend, kFirstId, kLastId);
  EXPECT_EQ(MustTake(pool), kLastId);
  EXPECT_EQ(MustTake(pool), kFirstId);
}

TEST(IdPoolTest, ZeroIsAnIdLikeAnyOther) {
  IdPool pool(1, IdPolicy::kLend, 0, 0);
  EXPECT_EQ(MustTake(pool), 0);
  EXPECT_EQ(MustTake(pool), 1);
  pool.Lend(0);
  EXPECT_EQ(MustTake(pool), 0);
  IdPool later(1, IdPolicy::kLend, 0, kLastId);
  EXPECT_EQ(MustTake(later), kLastId);
  EXPECT_EQ(MustTake(later), 0);
}

TEST(IdPoolTest, AnIdThatGetsNoEventfdsIsNotUsedUp) {
  IdPool pool(kVectors, IdPolicy::kLend, kFirstId, kFirstId);
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit none{0, limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto refused = pool.Take(kNobody);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(pool.size(), 0U);
  EXPECT_EQ(MustTake(pool), 1);
}

}  // namespace
}  // namespace ivmq::server
