#include "src/readers.h"

#include <algorithm>
#include <utility>

#include "ivmq/internal/crash_point.h"

namespace ivmq {
namespace {

// A poll looks at every recently active ring, and at this many of the others.
constexpr std::size_t kColdLooks = 8;
// A ring counts as active until it was found empty so often in a row; every so many times it is
// looked after.
constexpr std::uint32_t kCoolAfter = 4096;
constexpr std::uint32_t kCoolingStep = 64;
// A large message of which no piece came for so many looks gives its memory to another one that
// needs it.
constexpr std::uint32_t kLooksOfStall = 8;

}  // namespace

Readers::Readers(NodeContext& context, Writers& writers, Subscriptions& subscriptions)
    : context_(context),
      writers_(writers),
      reassembler_(context),
      leases_(std::make_shared<LeaseBook>(context, *this)),
      delivery_(context, reassembler_, leases_, subscriptions),
      row_changes_(context.slot().inbound_changes) {
  const std::uint32_t slots = context.region.max_peers();
  entries_.reserve(slots);
  for (std::uint32_t s = 0; s < slots; ++s) {
    entries_.push_back({.reader = RingReader(context, reassembler_, s)});
  }
  hot_.reserve(slots);
  cold_.reserve(slots);
}

Readers::~Readers() { leases_->Detach(); }

// ---- Lists ----

void Readers::Settle(Entry& entry) {
  const bool is_listed = entry.place != Place::kNowhere;
  if (entry.reader.is_open() == is_listed) return;
  Move(entry, is_listed ? Place::kNowhere : Place::kHot);
  entry.idle_looks = 0;
}

void Readers::Move(Entry& entry, Place place) {
  if (entry.place == Place::kHot) std::erase(hot_, &entry);
  if (entry.place == Place::kCold) std::erase(cold_, &entry);
  if (place == Place::kHot) hot_.push_back(&entry);
  if (place == Place::kCold) cold_.push_back(&entry);
  entry.place = place;
}

void Readers::ResumeStalled() noexcept {
  if (std::exchange(ends_seen_, reassembler_.ends()) == reassembler_.ends()) return;
  for (Entry& entry : entries_) entry.reader.Resume();
}

// ---- Polling ----

std::size_t Readers::Poll(const Handler& handler, std::size_t limit) {
  if (due_.load(std::memory_order_relaxed) != 0 || RowChanged() || !cold_.empty()) [[unlikely]] {
    return AttendAndPoll(handler, limit);
  }
  return PollHot(handler, limit);
}

std::size_t Readers::AttendAndPoll(const Handler& handler, std::size_t limit) {
  if (polling_) return 0;
  Attend();
  WarmUp();
  return PollHot(handler, limit);
}

inline std::size_t Readers::PollHot(const Handler& handler, std::size_t limit) {
  if (polling_) [[unlikely]]
    return 0;  // called by a handler
  std::size_t count = 0;
  // Each poll begins with another ring, so that none is starved by a busy one. A ring that leaves
  // the list ends the looks; the others come first next time.
  const std::size_t hot = hot_.size();
  for (std::size_t looks = 0; looks < hot; ++looks) {
    if (next_hot_ >= hot) next_hot_ = 0;
    Entry& entry = *hot_[next_hot_++];
    if (entry.reader.consumer().HasRecord()) {
      entry.idle_looks = 0;
      count += Drain(entry, handler, limit - count);
      if (count >= limit || hot_.size() != hot) return count;
    } else if (++entry.idle_looks % kCoolingStep == 0) [[unlikely]] {
      CoolDown(entry);
      if (hot_.size() != hot) return count;
    }
  }
  ++next_hot_;
  return count;
}

std::size_t Readers::Drain(Entry& entry, const Handler& handler, std::size_t limit) {
  if (!context_.IsMyLife()) [[unlikely]]
    return 0;
  const Polling polling(*this);
  RingReader& reader = entry.reader;
  Consumer& consumer = reader.consumer();
  std::size_t handled = 0;
  std::span<const std::byte> record;
  for (std::size_t records = 0; records < limit; ++records) {
    const PeekResult peek = consumer.Peek(&record);
    if (peek != PeekResult::kRecord) {
      if (peek == PeekResult::kCorrupt) {
        reader.GiveUp("it holds a word that no correct peer writes");
      } else if (reader.state() == ReaderState::kEnding) {
        reader.FollowLife();
      }
      break;
    }
    Outcome outcome = delivery_.Take(reader, record, handler);
    if (outcome == Outcome::kStalled && MakeRoom(reassembler_.size_wanted())) [[unlikely]]
      outcome = delivery_.Take(reader, record, handler);
    if (outcome == Outcome::kStalled) [[unlikely]] {
      reader.Stall();
      break;
    }
    if (outcome == Outcome::kMalformed) [[unlikely]] {
      reader.GiveUp("it holds a frame that no correct peer sends");
      break;
    }
    // The handler may have taken long. What it handled a durable successor gets again.
    if (!context_.IsMyLife()) [[unlikely]]
      break;
    reader.Release();
    // At once: a handler may take long.
    if (consumer.has_wake_request()) [[unlikely]]
      reader.WakeProducer();
    if (outcome == Outcome::kHandled) {
      ++handled;
    } else if (outcome == Outcome::kHandledBlock) [[unlikely]] {
      // The record is small, but its block is not.
      reader.PublishReleased();
      IVMQ_CRASH_POINT("release.block_released");
      ++handled;
    }
  }
  // The next look that finds it empty is not to wait.
  if (reader.state() == ReaderState::kEnding) [[unlikely]]
    entry.idle_looks = kCoolingStep - 1;
  ResumeStalled();
  Settle(entry);
  return handled;
}

bool Readers::MakeRoom(std::uint64_t bytes) {
  while (!reassembler_.HasRoomFor(bytes)) {
    const auto longest =
        std::max_element(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
          return a.reader.assembly().idle_looks < b.reader.assembly().idle_looks;
        });
    if (longest->reader.assembly().idle_looks < kLooksOfStall) return false;
    (void)longest->reader.DropAssembly();
  }
  return true;
}

void Readers::WarmUp() {
  const std::size_t looks = std::min(cold_.size(), kColdLooks);
  for (std::size_t i = 0; i < looks && !cold_.empty(); ++i) {
    if (++next_cold_ >= cold_.size()) next_cold_ = 0;
    Entry& entry = *cold_[next_cold_];
    if (entry.reader.consumer().HasRecord()) Move(entry, Place::kHot);
  }
}

void Readers::CoolDown(Entry& entry) {
  if (entry.reader.state() == ReaderState::kEnding) {
    entry.reader.FollowLife();
    return Settle(entry);
  }
  // The ring has run dry: tell its producer about all the space.
  entry.reader.PublishReleased();
  if (entry.idle_looks < kCoolAfter) return;
  entry.idle_looks = 0;
  Move(entry, Place::kCold);
}

// ---- Looks ----

bool Readers::LookSome() noexcept {
  if (RowChanged()) return true;
  for (const Entry* entry : hot_) {
    if (entry->reader.HasWork()) return true;
  }
  const std::size_t looks = std::min(cold_.size(), kColdLooks);
  for (std::size_t i = 0; i < looks; ++i) {
    if (++next_cold_ >= cold_.size()) next_cold_ = 0;
    if (cold_[next_cold_]->reader.HasWork()) {
      // The poll that follows begins its looks behind this one: step back.
      next_cold_ = (next_cold_ == 0 ? cold_.size() : next_cold_) - 1;
      return true;
    }
  }
  return false;
}

bool Readers::LookAll() noexcept {
  if (RowChanged() || (due_.load(std::memory_order_relaxed) & kLeases) != 0) return true;
  for (const Entry* entry : hot_) {
    if (entry->reader.HasWork()) return true;
  }
  for (Entry* entry : cold_) {
    if (!entry->reader.HasWork()) continue;
    Move(*entry, Place::kHot);  // so that the next poll finds it at once
    return true;
  }
  return false;
}

bool Readers::HasDrained(std::uint32_t slot) const noexcept {
  if (RowChanged()) return false;
  if (slot >= entries_.size()) return true;
  const RingReader& reader = entries_[slot].reader;
  return !reader.is_open() || !reader.consumer().HasRecord();
}

void Readers::PublishReleased() noexcept {
  for (const auto* list : {&hot_, &cold_}) {
    for (Entry* const entry : *list) entry->reader.PublishReleased();
  }
}

// ---- Housekeeping ----

void Readers::Attend() {
  if (polling_ || !context_.IsMyLife()) return;
  if (due_.load(std::memory_order_relaxed) != 0) {
    const std::uint32_t due = due_.exchange(0, std::memory_order_acquire);
    if ((due & kLeases) != 0) {
      for (Entry& entry : entries_) entry.reader.LookAtLeases();
    }
    if ((due & kHousekeeping) != 0) Housekeep();
  }
  if (RowChanged()) {
    ReadRow();
    FollowLives();
  }
  ResumeStalled();
}

void Readers::RequestLookAtLeases() noexcept {
  due_.fetch_or(kLeases, std::memory_order_release);
  // As a waker's look at a sleeper: see wake.h. The poller looks at `due_` behind its Arm().
  FullFence();
  if ((context_.slot().armed.load(std::memory_order_relaxed) & 1) != 0) {
    context_.sleeper->Notify();
  }
}

void Readers::ReadRow() {
  const std::uint64_t changes = row_changes_.load(std::memory_order_acquire);
  bool again = false;
  for (Entry& entry : entries_) {
    again |= !entry.reader.ReadCell();
    Settle(entry);
  }
  row_seen_ = again ? changes - 1 : changes;
}

void Readers::FollowLives() {
  for (Entry& entry : entries_) {
    entry.reader.FollowLife();
    Settle(entry);
  }
  writers_.FreeUnread();
}

void Readers::Housekeep() {
  for (Entry& entry : entries_) {
    entry.reader.BeginLook();
    entry.reader.Resume();
  }
  ReadRow();
  FollowLives();
  looks_odd_ = false;
  for (Entry& entry : entries_) {
    if (!context_.IsMyLife()) return;
    looks_odd_ |= entry.reader.LookAfter();
    Settle(entry);
  }
}

}  // namespace ivmq
