// The calls that the members of a mesh have in progress, and what became of them, in memory that
// outlives each member.
#ifndef IVMQ_TESTS_CAMPAIGN_RPC_BOOK_H_
#define IVMQ_TESTS_CAMPAIGN_RPC_BOOK_H_

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/fault_log.h"

namespace ivmq::campaign {

inline constexpr std::uint32_t kMembers = 5;
inline constexpr std::uint32_t kCallers = 2;    // threads that wait for their calls
inline constexpr std::uint32_t kCallbacks = 8;  // calls in progress for which nobody waits
inline constexpr std::uint64_t kMostCalls = std::uint64_t{1} << 22;  // of one member
// A call, an end of a member, or the opening of a node may take so much longer than it has to.
inline constexpr std::chrono::seconds kSlack{20};

inline std::string NameOfMember(std::uint32_t member) { return "member-" + std::to_string(member); }

enum class Op : std::uint8_t {
  kEcho,
  kSlow,
  kWait,    // until it is cancelled
  kNested,  // calls another one
  kThrow,
  kLarge,  // nearly 64 MiB, there or back
  kDown,   // a stream from the server, which its client reads slowly or not to its end
  kUp,     // a stream to the server
  kTalk,   // both
  kCount,
};
inline constexpr std::size_t kOps = static_cast<std::size_t>(Op::kCount);
inline constexpr std::array<std::string_view, kOps> kOpNames{"echo",
                                                             "slow handler",
                                                             "handler that waits to be cancelled",
                                                             "nested",
                                                             "handler that throws",
                                                             "64 MiB",
                                                             "stream to the client",
                                                             "stream to the server",
                                                             "talk"};

enum class Phase : std::uint8_t { kFaults, kFinal, kEnd };

enum class Fault : std::uint8_t {
  kNotEnded,
  kEndedTwice,
  kRanTwice,
  kStatus,        // one that the promises do not allow
  kResponse,      // OK, with another response
  kStream,        // a gap in a stream, or OK without its end
  kEarly,         // DEADLINE_EXCEEDED before the deadline
  kNotCancelled,  // a handler whose client was gone, and which was not told
  kStuck,         // no call succeeded after the last fault
  kCannotOpen,
  kNotLeft,
  kCrashed,
  kCount,
};

// A call in progress.
struct Flight {
  std::atomic<std::uint64_t> call{0};     // its number; 0: none
  std::atomic<std::int64_t> deadline{0};  // monotonic ns
  std::atomic<Op> op{};
};

struct Member {
  std::atomic<std::uint64_t> next{1};  // number of a call
  std::atomic<std::uint32_t> life{0};
  std::atomic<bool> ready{false};
  std::atomic<bool> leaves{false};  // the referee asks it to end in order
  std::atomic<bool> done{false};    // its final calls have succeeded
  std::array<Flight, kCallers + kCallbacks> flights;
  // Of each call of this member, a bit for each depth at which its handler has run.
  std::array<std::atomic<std::uint8_t>, kMostCalls> runs;
};

struct Book {
  std::atomic<Phase> phase{Phase::kFaults};
  std::array<Member, kMembers> members;
  FaultLog<Fault> faults;
  std::array<std::array<std::atomic<std::uint64_t>, 17>, kOps> ends{};  // by status
  std::atomic<std::uint64_t> stream_messages{0};
  std::atomic<std::uint64_t> handlers{0};
  std::atomic<std::uint64_t> cancels_seen{0};  // by handlers that waited for that
};

}  // namespace ivmq::campaign

#endif  // IVMQ_TESTS_CAMPAIGN_RPC_BOOK_H_
