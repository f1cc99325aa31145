// The consumer's ends of all pairs of a node: one RingReader for each slot.
#ifndef IVMQ_READERS_H_
#define IVMQ_READERS_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "src/delivery.h"
#include "src/node_context.h"
#include "src/reassembler.h"
#include "src/ring_reader.h"
#include "src/writers.h"

namespace ivmq {

// For one thread at a time: the node's poller.
class Readers {
 public:
  Readers(NodeContext& context, Writers& writers, Subscriptions& subscriptions);
  ~Readers();
  Readers(const Readers&) = delete;
  Readers& operator=(const Readers&) = delete;

  // While one lives, code of the user's runs on the poller's thread, and a Poll() that it calls
  // does nothing.
  class Polling {
   public:
    explicit Polling(Readers& readers) noexcept : readers_(readers) { readers_.polling_ = true; }
    ~Polling() { readers_.polling_ = false; }
    Polling(const Polling&) = delete;
    Polling& operator=(const Polling&) = delete;

   private:
    Readers& readers_;
  };
  [[nodiscard]] bool is_polling() const noexcept { return polling_; }

  // Handles up to `limit` messages. What the handler throws leaves the message where it is.
  std::size_t Poll(const Handler& handler, std::size_t limit);

  // Whether something waits: among the recently active rings and some of the others, or among all.
  [[nodiscard]] bool LookSome() noexcept;
  [[nodiscard]] bool LookAll() noexcept;

  // Whether nothing waits in the ring from that slot.
  [[nodiscard]] bool HasDrained(std::uint32_t slot) const noexcept;

  // Tells all producers about all released space. Before sleeping.
  void PublishReleased() noexcept;

  // How long a sleeper that doorbells wake may sleep without a look of its own: less than kNet
  // while housekeeping counts its looks at something, damage or a large message that stands still.
  [[nodiscard]] std::chrono::nanoseconds net() const noexcept {
    return looks_odd_ || reassembler_.is_busy() ? kLookAgain : kNet;
  }

  // What rarely is to be done: looks after the rings if that was asked for, opens new ones. A part
  // of Poll(), and to be called before sleeping, since who sleeps does not poll. Does nothing
  // within a handler.
  void Attend();

  // Asks Attend() to look after the rings: those of dead producers, damaged words. Thread-safe.
  void RequestHousekeeping() noexcept { due_.fetch_or(kHousekeeping, std::memory_order_relaxed); }
  // Asks it to look at leases, one of which has ended, and ends the poller's sleep. Thread-safe.
  void RequestLookAtLeases() noexcept;

 private:
  static constexpr std::chrono::milliseconds kLookAgain{250};

  // A reader, and where it stands in the lists.
  enum class Place : std::uint8_t { kNowhere, kHot, kCold };
  struct Entry {
    RingReader reader;
    Place place = Place::kNowhere;
    std::uint32_t idle_looks = 0;
  };

  [[nodiscard]] bool RowChanged() const noexcept {
    return row_changes_.load(std::memory_order_relaxed) != row_seen_;
  }
  // Reads the cells of this node's row.
  [[gnu::cold]] void ReadRow();
  [[gnu::cold]] void Housekeep();
  // Frees the rings from and to peers that are gone.
  void FollowLives();

  // Puts the entry where it belongs after something may have changed its state.
  void Settle(Entry& entry);
  void Move(Entry& entry, Place place);
  // Lets those go on that waited for memory, if some was given back.
  void ResumeStalled() noexcept;
  // Memory for another large message, if need be from one whose sender stopped midway.
  [[gnu::cold]] bool MakeRoom(std::uint64_t bytes);

  // A look at every recently active ring.
  [[gnu::always_inline]] inline std::size_t PollHot(const Handler& handler, std::size_t limit);
  // The same after what is rarely to be done.
  [[gnu::noinline]] std::size_t AttendAndPoll(const Handler& handler, std::size_t limit);
  // Handles up to `limit` records of one ring; returns how many messages that were.
  [[gnu::noinline]] std::size_t Drain(Entry& entry, const Handler& handler, std::size_t limit);
  // The ring was found empty for a while.
  [[gnu::noinline]] void CoolDown(Entry& entry);
  // Some of the rings that were not active: one that has something becomes active.
  [[gnu::noinline]] void WarmUp();

  NodeContext& context_;
  Writers& writers_;
  Reassembler reassembler_;
  std::shared_ptr<LeaseBook> leases_;
  Delivery delivery_;
  const layout::Word& row_changes_;  // grows with a change of this node's row or of a peer's life
  std::vector<Entry> entries_;       // by slot
  std::vector<Entry*> hot_;          // whose rings were active lately
  std::vector<Entry*> cold_;         // the other open ones
  std::size_t next_hot_ = 0;
  std::size_t next_cold_ = 0;
  std::uint64_t row_seen_ = 0;
  std::uint64_t ends_seen_ = 0;  // of the reassembler
  bool polling_ = false;
  bool looks_odd_ = false;  // a ring did when last looked after
  static constexpr std::uint32_t kHousekeeping = 1;
  static constexpr std::uint32_t kLeases = 2;
  std::atomic<std::uint32_t> due_{kHousekeeping};  // what Attend() was asked for
};

}  // namespace ivmq

#endif  // IVMQ_READERS_H_
