// What the processes of a mesh have sent and handled, in memory that outlives each of them: what a
// process stored there before it was killed stands there afterwards.
#ifndef IVMQ_TESTS_CAMPAIGN_KILL_LEDGER_H_
#define IVMQ_TESTS_CAMPAIGN_KILL_LEDGER_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "ivmq/internal/layout.h"
#include "ivmq/node.h"

#include "common/fault_log.h"

namespace ivmq::campaign {

inline constexpr std::uint32_t kProcesses = 8;
inline constexpr std::uint32_t kMostLives = 65536;  // of one process
inline constexpr std::uint32_t kNumberBits = 29;    // of a message's type; the rest is its sender

// Half of the processes keep their slot and their unread messages when they are killed.
constexpr bool IsDurable(std::uint32_t process) { return process < kProcesses / 2; }
std::string NameOf(std::uint32_t process);

// One word for a PeerId; 0 is nobody's.
constexpr std::uint64_t PeerWord(PeerId peer) {
  return std::uint64_t{peer.slot} << 32 | peer.incarnation;
}

enum class Sent : std::uint8_t {
  kNot,
  kBegun,  // the call has not returned: its process was killed, or is in it
  kOk,
  kRefused,  // any other result
};

// How often, and when, a message went to the handler. One atomic, so that a kill finds it whole.
struct alignas(8) Handled {
  std::uint16_t first_life = 0;  // of the receiver
  std::uint16_t last_life = 0;
  std::uint16_t times = 0;
  bool twice_unmarked = false;  // not the first time, and not marked as redelivered
};
static_assert(std::atomic<Handled>::is_always_lock_free);

struct Entry {
  std::atomic<std::uint64_t> to{0};  // PeerWord of the receiver's life that it was sent to
  std::atomic<Handled> handled{};
  std::atomic<std::uint32_t> size{0};
  std::atomic<std::uint16_t> life{0};  // of the sender
  std::atomic<bool> large{false};      // did not fit one record
  std::atomic<Sent> sent{Sent::kNot};  // stored behind the others
};

// The messages of one process to another, numbered from 1.
struct Pair {
  std::atomic<std::uint32_t> next{1};
  std::atomic<std::uint32_t> final_message{0};  // the one sent when all faults were over
  // The last number handled, by life of an ephemeral sender; a durable one's messages stay in one
  // ring, so all its lives count as 0.
  std::array<std::atomic<std::uint32_t>, kMostLives> last{};
};

// Written by the one process, or by the referee while there is none.
struct Process {
  std::atomic<std::uint32_t> life{0};                          // the present one, from 1
  std::array<std::atomic<std::uint64_t>, kMostLives> lives{};  // PeerWord of each
  std::atomic<bool> ready{false};                              // its node is open
  std::atomic<std::int64_t> sending_since{0};                  // monotonic ns; 0: not in a call
  std::atomic<std::int64_t> polled_at{0};                      // the last poll's end
  std::atomic<bool> done{false};                               // its final messages are sent
  std::atomic<bool> leaves{false};  // the referee asks it to end in order
  std::atomic<std::uint64_t> rings_given_up{0};
};

enum class Phase : std::uint8_t { kFaults, kFinal, kEnd };

// What no entry shows.
enum class Fault : std::uint8_t {
  kOutOfOrder,
  kChanged,    // other bytes, size, number or sender
  kWrongLife,  // Message::from is not the sender's life
  kNotEnded,   // a call or a poll that did not return
  kCrashed,    // a process that ended by itself
  kDeclaredDead,
  kCannotOpen,
  kCount,
};

class Ledger {
 public:
  // For `most_messages` of each pair; more are not sent.
  explicit Ledger(std::uint32_t most_messages);
  ~Ledger();
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  [[nodiscard]] std::uint32_t most_messages() const { return most_messages_; }
  [[nodiscard]] Process& process(std::uint32_t index) const { return shared_->processes[index]; }
  [[nodiscard]] Pair& pair(std::uint32_t from, std::uint32_t to) const {
    return shared_->pairs[from * kProcesses + to];
  }
  [[nodiscard]] Entry& entry(std::uint32_t from, std::uint32_t to, std::uint32_t number) const {
    return entries_[std::size_t{from * kProcesses + to} * (most_messages_ + 1) + number];
  }
  // Whether a process has had nearly as many lives as there is room for.
  [[nodiscard]] bool IsFull() const;
  [[nodiscard]] std::atomic<Phase>& phase() const { return shared_->phase; }

  [[nodiscard]] FaultLog<Fault>& faults() const { return shared_->faults; }

 private:
  struct Shared {
    std::atomic<Phase> phase{Phase::kFaults};
    std::array<Process, kProcesses> processes;
    std::array<Pair, kProcesses * kProcesses> pairs;
    FaultLog<Fault> faults;
  };

  const std::uint32_t most_messages_;
  std::size_t bytes_ = 0;
  Shared* shared_ = nullptr;
  Entry* entries_ = nullptr;
};

}  // namespace ivmq::campaign

#endif  // IVMQ_TESTS_CAMPAIGN_KILL_LEDGER_H_
