// Several producers and one consumer that sleep on eventfds by the protocol of wake.h, in threads
// or in forked processes.
#ifndef IVMQ_TESTS_SUPPORT_SLEEPING_ENDS_H_
#define IVMQ_TESTS_SUPPORT_SLEEPING_ENDS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "ivmq/internal/ring.h"
#include "ivmq/internal/wake.h"

#include "support/shared_memory.h"

namespace ivmq::testing {

struct SleepFigures {
  std::uint64_t received = 0;
  std::uint64_t out_of_order = 0;
  std::uint64_t sleeps = 0;
  std::uint64_t net_finds =
      0;  // sleeps of a whole second after which something waited all the same
};

// Made before threads are started or processes forked.
class SleepingEnds {
 public:
  SleepingEnds(unsigned producers, std::uint64_t capacity);
  ~SleepingEnds();
  SleepingEnds(const SleepingEnds&) = delete;
  SleepingEnds& operator=(const SleepingEnds&) = delete;

  // Sends `messages` messages in random batches with random pauses; sleeps when the ring is full.
  // Returns the figures of its own sleeps.
  SleepFigures Produce(unsigned producer, std::uint64_t messages, std::uint64_t seed);
  // Receives `messages` from each producer.
  SleepFigures Consume(std::uint64_t messages, std::uint64_t seed);

 private:
  SharedMemory words_;
  layout::Word* armed_;
  std::vector<std::unique_ptr<TestRing>> rings_;
  int doorbell_;
  std::vector<int> space_doorbells_;
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_SUPPORT_SLEEPING_ENDS_H_
