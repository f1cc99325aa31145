// Looks at the records of a ring without taking part in it.
#ifndef IVMQ_TOOLS_COMMON_RING_CURSOR_H_
#define IVMQ_TOOLS_COMMON_RING_CURSOR_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "ivmq/internal/layout.h"
#include "ivmq/internal/ring.h"

namespace ivmq::inspect {

// Follows the commit words from a position on. Never writes, and never reads outside of the ring.
// Thread-compatible.
class RingCursor {
 public:
  // REQUIRES: `position` is a multiple of kRecordAlign.
  RingCursor(const RingView& ring, std::uint64_t position) noexcept
      : ring_(ring), position_(position) {}

  enum class [[nodiscard]] Step : std::uint8_t{
      kRecord,   // there is a record: see below
      kPad,      // the rest of the ring, up to its start, is not used
      kEnd,      // nothing is committed here
      kDamaged,  // a word that no correct producer leaves: see word()
  };
  // Looks at the position, and moves behind what is there.
  Step Next() noexcept;

  // Behind the last record or pad.
  [[nodiscard]] std::uint64_t position() const noexcept { return position_; }
  // Of the last step.
  [[nodiscard]] std::uint64_t word() const noexcept { return word_; }
  // The last record: where it starts, and its payload, which is shared memory. Its bytes are those
  // of the record as long as the ring's `released` has not passed the start.
  [[nodiscard]] std::uint64_t start() const noexcept { return start_; }
  [[nodiscard]] std::span<const std::byte> payload() const noexcept { return payload_; }

 private:
  RingView ring_;
  std::uint64_t position_;
  std::uint64_t start_ = 0;
  std::uint64_t word_ = 0;
  std::span<const std::byte> payload_;
};

// What the records say that the consumer has not acknowledged.
struct Unread {
  std::uint64_t messages = 0;  // data records
  std::uint64_t bytes = 0;     // of records, headers and pads included
  bool complete = true;        // false: there are more than were counted
  std::string problem{};       // empty, or what was found that no correct peer writes
};

// Counts from `acked` to the last committed record, and says so if `committed` lies behind it. Takes
// at most `*steps`, and subtracts what it took. If the ring moves on meanwhile it begins again, and
// gives up after a few times. What is not counted to the end has the bytes that `committed` says.
Unread CountUnread(const RingView& ring, std::uint64_t* steps);

}  // namespace ivmq::inspect

#endif  // IVMQ_TOOLS_COMMON_RING_CURSOR_H_
