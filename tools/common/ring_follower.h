// Reads along in the ring of a pair that lives, without either end noticing.
#ifndef IVMQ_TOOLS_COMMON_RING_FOLLOWER_H_
#define IVMQ_TOOLS_COMMON_RING_FOLLOWER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "ivmq/internal/region.h"

#include "common/ring_cursor.h"
#include "common/ring_messages.h"

namespace ivmq::inspect {

// Best effort: the two ends do not wait for it. What was overwritten before it was copied is
// missed, and said to be. A record that the consumer has given back while it was copied is taken if
// its commit word and the next one still stand as they did; one in a heap is not. Thread-compatible.
class RingFollower {
 public:
  // REQUIRES: both slots < max_peers(). Begins with what the consumer has not handled yet.
  RingFollower(const Region& region, std::uint32_t producer, std::uint32_t consumer)
      : region_(region), producer_(producer), consumer_(consumer), reader_(region, producer) {}

  // Hands out the messages that have come since the last look. Returns how many records it passed;
  // 0: there was nothing. Looks at one round of the ring at most.
  std::size_t Look(const std::function<void(const RingMessage&)>& take);

  // Bytes of records that were overwritten before they were copied; and messages, known to be some,
  // that could not be read.
  [[nodiscard]] std::uint64_t missed_bytes() const noexcept { return missed_bytes_; }
  [[nodiscard]] std::uint64_t lost_messages() const noexcept { return lost_messages_; }
  // Whether there is a ring.
  [[nodiscard]] bool has_ring() const noexcept { return ring_.has_value(); }

 private:
  enum class Step : std::uint8_t { kPassed, kEnd };

  // Finds the pair's ring, which may be another one than before. False: there is none.
  bool Open();
  Step Pass(const std::function<void(const RingMessage&)>& take);
  // Whether what was copied of the record that the cursor has passed was still it.
  [[nodiscard]] bool IsIntact(const RingCursor& cursor, bool is_from_heap) const;
  // Goes on at `acked`.
  void Skip(std::uint64_t acked);

  Region region_;
  std::uint32_t producer_;
  std::uint32_t consumer_;
  MessageReader reader_;
  std::optional<RingView> ring_;
  layout::Cell cell_;
  bool has_looked_ = false;
  std::uint64_t position_ = 0;
  std::uint64_t missed_bytes_ = 0;
  std::uint64_t lost_messages_ = 0;
  std::vector<std::byte> copy_;
};

}  // namespace ivmq::inspect

#endif  // IVMQ_TOOLS_COMMON_RING_FOLLOWER_H_
