// The states of the two ends of a directed pair, and what leads from one to another.
//
// RingWriter and RingReader have one state each and change it in one function each, which asks the
// tables here.
#ifndef IVMQ_PAIR_STATE_H_
#define IVMQ_PAIR_STATE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace ivmq {

// ---- The producer's end ----

enum class WriterState : std::uint8_t {
  kNone,       // no ring
  kLive,       // the producer writes the ring
  kLost,       // its consumer gave it up while records were claimed: whoever claimed them lets go
  kWithdrawn,  // the consumer was asked to let go of what it reads: then a ring can be carved
};

enum class WriterEvent : std::uint8_t {
  kAdopt,     // a ring was carved, or a predecessor's taken up
  kLose,      // the consumer has let go, and records are claimed
  kWithdraw,  // the ring cannot be written, and its consumer has to know
  kLetGo,     // nothing is written to the ring any more: its units may become another's
};

// The state that an event leads to; nullopt: it cannot happen there.
//
//                kAdopt   kLose    kWithdraw    kLetGo
//   kNone        kLive    -        kWithdrawn   kNone
//   kLive        -        kLost    kWithdrawn   kNone
//   kLost        -        -        -            kNone
//   kWithdrawn   -        -        -            kNone
[[nodiscard]] constexpr std::optional<WriterState> After(WriterState state,
                                                         WriterEvent event) noexcept {
  using enum WriterState;
  using Row = std::array<std::optional<WriterState>, 4>;
  constexpr std::optional<WriterState> kNever = std::nullopt;
  constexpr std::array<Row, 4> kTable = {{
      {kLive, kNever, kWithdrawn, kNone},
      {kNever, kLost, kWithdrawn, kNone},
      {kNever, kNever, kNever, kNone},
      {kNever, kNever, kNever, kNone},
  }};
  return kTable[static_cast<std::size_t>(state)][static_cast<std::size_t>(event)];
}

// ---- The consumer's end ----

enum class ReaderState : std::uint8_t {
  kNone,     // no ring
  kLive,     // the consumer reads the ring
  kStalled,  // it does, but the next fragment waits for memory
  kEnding,   // its producer is gone: it is read to its end
  kGivenUp,  // it was closed here: its producer, if there is one, has to carve another
};

enum class ReaderEvent : std::uint8_t {
  kOpen,    // the cell names a ring, in place of any former one
  kStall,   // there is no memory for the next fragment
  kResume,  // there may be memory again, or the producer is back
  kEnd,     // the producer is gone
  kGiveUp,  // the ring cannot be read any more
  kForget,  // the cell has nothing for this node: the producer is gone, or says so
};

// The state that an event leads to; nullopt: it cannot happen there.
//
//                kOpen   kStall     kResume   kEnd       kGiveUp    kForget
//   kNone        kLive   -          kNone     kNone      kGivenUp   kNone
//   kLive        kLive   kStalled   kLive     kEnding    kGivenUp   kNone
//   kStalled     kLive   kStalled   kLive     kStalled   kGivenUp   kNone
//   kEnding      kLive   kStalled   kLive     kEnding    kGivenUp   kNone
//   kGivenUp     kLive   -          kGivenUp  kGivenUp   kGivenUp   kNone
[[nodiscard]] constexpr std::optional<ReaderState> After(ReaderState state,
                                                         ReaderEvent event) noexcept {
  using enum ReaderState;
  using Row = std::array<std::optional<ReaderState>, 6>;
  constexpr std::optional<ReaderState> kNever = std::nullopt;
  constexpr std::array<Row, 5> kTable = {{
      {kLive, kNever, kNone, kNone, kGivenUp, kNone},
      {kLive, kStalled, kLive, kEnding, kGivenUp, kNone},
      {kLive, kStalled, kLive, kStalled, kGivenUp, kNone},
      {kLive, kStalled, kLive, kEnding, kGivenUp, kNone},
      {kLive, kNever, kGivenUp, kGivenUp, kGivenUp, kNone},
  }};
  return kTable[static_cast<std::size_t>(state)][static_cast<std::size_t>(event)];
}

// Whether records are read.
[[nodiscard]] constexpr bool IsOpen(ReaderState state) noexcept {
  return state == ReaderState::kLive || state == ReaderState::kStalled ||
         state == ReaderState::kEnding;
}

}  // namespace ivmq

#endif  // IVMQ_PAIR_STATE_H_
