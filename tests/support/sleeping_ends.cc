#include "support/sleeping_ends.h"

#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdlib>
#include <new>
#include <span>

#include "ivmq/internal/fence.h"

#include "support/random.h"

namespace ivmq::testing {
namespace {

constexpr int kNetMilliseconds = 1000;

int MakeDoorbell() {
  const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd < 0) std::abort();
  return fd;
}

void Ring(int doorbell) {
  const std::uint64_t one = 1;
  if (write(doorbell, &one, sizeof(one)) != sizeof(one)) std::abort();
}

// True if a doorbell ended the sleep.
bool Sleep(int doorbell) {
  pollfd wait{.fd = doorbell, .events = POLLIN, .revents = 0};
  const bool rung = poll(&wait, 1, kNetMilliseconds) > 0;
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t size = read(doorbell, &count, sizeof(count));
  return rung;
}

// Between nothing and some hundred instructions, now and then a turn of the scheduler.
void Pause(Random& random) {
  const std::uint64_t kind = Below(random, 64);
  if (kind == 0) {
    sched_yield();
  } else if (kind < 32) {
    for (std::uint64_t i = Below(random, 200); i > 0; --i) SpinPause();
  }
}

}  // namespace

SleepingEnds::SleepingEnds(unsigned producers, std::uint64_t capacity)
    : words_(sizeof(layout::Word)),
      armed_(new (words_.bytes().data()) layout::Word(0)),
      doorbell_(MakeDoorbell()) {
  for (unsigned i = 0; i < producers; ++i) {
    rings_.push_back(std::make_unique<TestRing>(capacity));
    space_doorbells_.push_back(MakeDoorbell());
  }
}

SleepingEnds::~SleepingEnds() {
  close(doorbell_);
  for (const int fd : space_doorbells_) close(fd);
}

SleepFigures SleepingEnds::Produce(unsigned number, std::uint64_t messages, std::uint64_t seed) {
  Random random(seed);
  Producer producer(rings_[number]->view);
  Armed space(producer.space_armed());
  WakeCheck consumer;
  SleepFigures figures;
  for (std::uint64_t sent = 0; sent < messages;) {
    std::uint64_t claimed = 0;
    const std::uint64_t batch = 1 + Below(random, 4);
    const std::uint64_t size = 8 + SkewedSize(random, 120);
    std::span<std::byte> payload;
    while (claimed < batch && sent + claimed < messages &&
           producer.TryClaim(size, &payload) == ClaimResult::kOk) {
      FillPattern(payload, sent + claimed);
      ++claimed;
    }
    if (claimed != 0) {
      producer.Commit();
      FullFence();
      if (consumer.MustRing(*armed_)) Ring(doorbell_);
      sent += claimed;
      Pause(random);
      continue;
    }
    space.Arm();
    if (producer.TryClaim(size, &payload) == ClaimResult::kFull) {
      ++figures.sleeps;
      if (!Sleep(space_doorbells_[number]) &&
          producer.TryClaim(size, &payload) == ClaimResult::kOk) {
        ++figures.net_finds;
      }
    }
    producer.Abort();
    space.Disarm();
  }
  return figures;
}

SleepFigures SleepingEnds::Consume(std::uint64_t messages, std::uint64_t seed) {
  Random random(~seed);
  std::vector<Consumer> consumers;
  for (const auto& ring : rings_) consumers.push_back(*Consumer::Open(ring->view));
  std::vector<std::uint64_t> received(rings_.size());
  Armed armed(*armed_);
  SleepFigures figures;
  const auto publish = [&](std::size_t i) {
    consumers[i].PublishReleased();
    if (consumers[i].TakeWakeRequest()) Ring(space_doorbells_[i]);
  };
  const auto has_record = [&] {
    for (const Consumer& consumer : consumers) {
      if (consumer.HasRecord()) return true;
    }
    return false;
  };
  while (figures.received < messages * rings_.size()) {
    bool found = false;
    for (std::size_t i = 0; i < consumers.size(); ++i) {
      PeekResult end = PeekResult::kRecord;
      const std::size_t count = consumers[i].Poll(
          [&](std::span<const std::byte> bytes) {
            if (!HasPattern(bytes, received[i]++)) ++figures.out_of_order;
          },
          1 + Below(random, 8), &end);
      if (consumers[i].TakeWakeRequest()) Ring(space_doorbells_[i]);
      figures.received += count;
      found = found || count != 0;
    }
    if (found) {
      Pause(random);
      continue;
    }
    for (std::size_t i = 0; i < consumers.size(); ++i) publish(i);
    armed.Arm();
    if (!has_record()) {
      ++figures.sleeps;
      if (!Sleep(doorbell_) && has_record()) ++figures.net_finds;
    }
    armed.Disarm();
  }
  for (std::size_t i = 0; i < consumers.size(); ++i) publish(i);
  return figures;
}

}  // namespace ivmq::testing
