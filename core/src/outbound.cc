#include "src/outbound.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "ivmq/spin.h"

#include "src/peer_slot.h"
#include "src/str_cat.h"

namespace ivmq {
namespace {

using layout::Cell;
using layout::CellState;
using layout::Counter;
using layout::Life;
using layout::PeerState;
using std::chrono::nanoseconds;

// A sender that finds the ring claimed by another thread's code looks this often at least.
constexpr nanoseconds kLongestClaimLook = std::chrono::milliseconds(1);
constexpr std::uint64_t kFragmentOverhead = sizeof(layout::Frame) + sizeof(layout::FragmentHeader);

// What fragments carry pieces of: a frame with its type name and message, as one record would hold
// it.
class InnerFrame {
 public:
  InnerFrame(const MessageType& type, std::span<const std::byte> message)
      : head_size_(sizeof(layout::Frame) + type.name.size()), message_(message) {
    const layout::Frame frame{.kind = type.kind,
                              .name_bytes = static_cast<std::uint16_t>(type.name.size()),
                              .type = type.type};
    std::memcpy(head_.data(), &frame, sizeof(frame));
    if (!type.name.empty()) {
      std::memcpy(head_.data() + sizeof(frame), type.name.data(), type.name.size());
    }
  }

  [[nodiscard]] std::uint64_t size() const noexcept { return head_size_ + message_.size(); }

  // Fills `out` with the bytes from `offset` on.
  void Copy(std::span<std::byte> out, std::uint64_t offset) const noexcept {
    if (offset < head_size_) {
      const std::uint64_t part = std::min<std::uint64_t>(out.size(), head_size_ - offset);
      std::memcpy(out.data(), head_.data() + offset, part);
      out = out.subspan(part);
      offset += part;
    }
    if (!out.empty()) std::memcpy(out.data(), message_.data() + (offset - head_size_), out.size());
  }

 private:
  std::array<std::byte, sizeof(layout::Frame) + kMaxTypeName> head_;
  std::uint64_t head_size_;
  std::span<const std::byte> message_;
};

void WriteFragment(std::span<std::byte> record, std::uint32_t number, std::uint64_t total,
                   std::uint64_t offset) noexcept {
  const layout::Frame frame{.kind = layout::FrameKind::kFragment, .type = number};
  const layout::FragmentHeader fragment{.total = total, .offset = offset};
  std::memcpy(record.data(), &frame, sizeof(frame));
  std::memcpy(record.data() + sizeof(frame), &fragment, sizeof(fragment));
}

bool IsEmpty(std::uint64_t cell_word) noexcept {
  return Cell::FromWord(cell_word).state == CellState::kEmpty;
}

bool TakesMessages(const Life& life) noexcept {
  return life.state == PeerState::kLive || (life.state == PeerState::kDead && IsDurable(life));
}

}  // namespace

Outbound::Outbound(NodeContext& context)
    : context_(context), links_(std::make_unique<OutLink[]>(context.region.max_peers())) {
  for (std::uint32_t s = 0; s < context.region.max_peers(); ++s) {
    links_[s].slot = &context.region.slot(s);
  }
}

SendResult Outbound::AwaitRing(OutLink& link, const Patience& patience) {
  Spin spin(std::min(patience.deadline, Clock::now() + context_.options.spin_budget));
  bool spins = context_.options.spin_budget > nanoseconds(0);
  nanoseconds interval = kFirstPoll;
  for (;;) {
    const std::uint64_t ticket = context_.sleeper->Ticket();
    const void* const owner = link.claimed_by.load(std::memory_order_relaxed);
    if (owner == ThisThread()) return SendResult::kBusy;
    if (owner == nullptr) {
      link.lock.lock();
      if (!link.is_claimed()) return SendResult::kOk;
      link.lock.unlock();
    }
    if (!context_.IsMyLife()) return SendResult::kPeerGone;
    if (patience.IsStopped()) return SendResult::kStopped;
    const nanoseconds left = patience.deadline - Clock::now();
    if (left <= nanoseconds(0)) return SendResult::kTimedOut;
    if (spins && (spins = spin.Pause())) continue;
    // The end of a claim says nothing, so that it costs nothing.
    (void)context_.sleeper->Sleep(std::min(left, interval), ticket);
    interval = std::min(interval * 2, kLongestClaimLook);
  }
}

SendResult Outbound::Open(OutLink& link, PeerId to) {
  if (!context_.IsMyLife()) return SendResult::kPeerGone;
  const layout::PeerSlot& slot = context_.region.slot(to.slot);
  const std::uint64_t life_word = slot.life.load(std::memory_order_acquire);
  const Life life = Life::FromWord(life_word);
  if (life.incarnation != to.incarnation || !TakesMessages(life)) {
    link.error = Status(StatusCode::kUnavailable,
                        StrCat("the peer of slot ", to.slot, ", incarnation ", to.incarnation,
                               ", is gone; look its name up again"));
    return SendResult::kPeerGone;
  }
  link.to = to;
  link.life_word = life_word;
  link.wakeable = (life.flags & layout::kPeerWakeable) != 0 && context_.transport->info().can_ring;
  link.can_ring = (life.flags & layout::kPeerCanRing) != 0;
  link.vector = slot.vector.load(std::memory_order_relaxed);
  if (link.open) {
    // The same slot lives again: a durable peer has come back and goes on reading its rings.
    return SendResult::kOk;
  }

  // A predecessor of ours, with the same durable name, may have left a ring.
  const std::uint32_t index = context_.region.CellIndex(to.slot, context_.self.id.slot);
  const std::uint64_t cell_word = context_.region.cell(index).load(std::memory_order_acquire);
  const Cell cell = Cell::FromWord(cell_word);
  if (const auto ring = context_.region.RingOf(cell); ring && cell.state == CellState::kLive) {
    const Result<Producer> producer = Producer::Recover(*ring);
    if (producer.ok() && !producer->ConsumerClosed()) {
      ring->header->producer_incarnation.store(context_.self.id.incarnation,
                                               std::memory_order_relaxed);
      // The predecessor may have died before it could say that there is a ring.
      context_.region.slot(to.slot).inbound_changes.fetch_add(1, std::memory_order_seq_cst);
      Adopt(link, to, cell_word, *producer, ring->header->space_armed);
      return SendResult::kOk;
    }
    if (!producer.ok()) {
      link.withdrawn = *ring;
      Withdraw(link, index, cell, producer.status());
    }
  } else if (ring && cell.state == CellState::kWithdrawn && link.withdrawn.header == nullptr) {
    // By a predecessor that died before it could carve another one.
    link.withdrawn = *ring;
    context_.region.slot(to.slot).inbound_changes.fetch_add(1, std::memory_order_seq_cst);
  }
  if (link.withdrawn.header != nullptr) {
    if (life.state == PeerState::kLive && !Producer(link.withdrawn).ConsumerClosed()) {
      return SendResult::kFull;
    }
    link.withdrawn = RingView{};
  }
  return CarveFor(link, to);
}

// The units stay this cell's, and the consumer sees that it must let go of the ring.
void Outbound::Withdraw(OutLink& link, std::uint32_t cell_index, Cell cell, const Status& why) {
  cell.state = CellState::kWithdrawn;
  context_.region.cell(cell_index).store(cell.ToWord(), std::memory_order_release);
  context_.region.slot(link.to.slot).inbound_changes.fetch_add(1, std::memory_order_seq_cst);
  context_.Count(Counter::kRingsPoisoned);
  context_.Report(Status(StatusCode::kDataLoss, StrCat("the ring to slot ", link.to.slot,
                                                       " cannot be taken up again: ", why.message(),
                                                       "; its messages are lost")));
}

void Outbound::LetGo(OutLink& link) noexcept {
  link.open = false;
  Disarm(link);
  link.space_armed = Armed();
  if (link.space_waiters != 0) context_.sleeper->Notify();
}

void Outbound::Disarm(OutLink& link) noexcept {
  if (context_.IsMyLife()) link.space_armed.Disarm();
}

SendResult Outbound::CarveFor(OutLink& link, PeerId to) {
  LetGo(link);
  Result<CarvedRing> carved = context_.arena.Carve(to.slot, context_.self.id.slot,
                                                   context_.self.id.incarnation, to.incarnation);
  if (!carved.ok()) {
    link.error = carved.status();
    return carved.status().code() == StatusCode::kUnavailable ? SendResult::kPeerGone
                                                              : SendResult::kNoRoom;
  }
  // The consumer looks at its row of the directory when the first message makes it look at
  // anything.
  Adopt(link, to, carved->cell.ToWord(), Producer(carved->ring), carved->ring.header->space_armed);
  return SendResult::kOk;
}

void Outbound::Adopt(OutLink& link, PeerId to, std::uint64_t cell_word, const Producer& producer,
                     layout::Word& space_armed) {
  link.to = to;
  link.cell_word = cell_word;
  link.producer = producer;
  link.space_armed = Armed(space_armed);
  link.open = true;
}

SendResult Outbound::OpenAndClaimRecord(OutLink& link, PeerId to, std::uint64_t bytes,
                                        std::span<std::byte>* record) {
  if (const SendResult result = EnsureOpen(link, to); result != SendResult::kOk) return result;
  for (;;) {
    switch (link.producer.TryClaim(bytes, record)) {
      case ClaimResult::kOk:
        return SendResult::kOk;
      case ClaimResult::kFull:
        return SendResult::kFull;
      case ClaimResult::kTooLarge:
        return SendResult::kTooLarge;
      case ClaimResult::kClosed:
        break;
    }
    // The consumer must have let go of the ring before its units may be used again.
    if (Life::FromWord(link.life_word).state == PeerState::kLive &&
        !link.producer.ConsumerClosed()) {
      return SendResult::kFull;
    }
    context_.Count(Counter::kRingsPoisoned);
    context_.Report(Status(StatusCode::kDataLoss,
                           StrCat("the ring to slot ", to.slot,
                                  " was given up; unread messages are lost, a new ring follows")));
    if (const SendResult result = CarveFor(link, to); result != SendResult::kOk) return result;
  }
}

SendResult Outbound::ClaimRecordBehind(OutLink& link, PeerId to, std::uint64_t bytes,
                                       std::span<std::byte>* record) {
  if (const SendResult result = EnsureOpen(link, to); result != SendResult::kOk) return result;
  switch (link.producer.TryClaim(bytes, record)) {
    case ClaimResult::kOk:
      return SendResult::kOk;
    case ClaimResult::kTooLarge:
      return SendResult::kTooLarge;
    case ClaimResult::kFull:
    case ClaimResult::kClosed:  // another ring follows once the batch has let go of this one
      break;
  }
  return SendResult::kFull;
}

void Outbound::RingDoorbell(OutLink& link) noexcept {
  // Its ivposition may have changed since the ring was opened: see Transport::Attend().
  const Life life =
      Life::FromWord(context_.region.slot(link.to.slot).life.load(std::memory_order_relaxed));
  context_.transport->Ring(life.ivposition, link.vector);
  Add(link.doorbells, 1);
}

SendResult Outbound::Refuse(const SendOptions& options) noexcept {
  if (options.when_full == WhenFull::kDrop) {
    context_.Count(Counter::kDropped);
    return SendResult::kDropped;
  }
  context_.Count(Counter::kRingsFull);
  return SendResult::kFull;
}

SendResult Outbound::Send(PeerId to, const MessageType& type, std::span<const std::byte> message,
                          const SendOptions& options) {
  OutLink* const found = link(to.slot);
  if (found == nullptr) return SendResult::kPeerGone;
  const SendResult result = TrySend(*found, to, type, message, options);
  if (result == SendResult::kOk) [[likely]]
    return result;
  return SendSlowly(*found, to, type, message, options, result);
}

SendResult Outbound::SendSlowly(OutLink& link, PeerId to, const MessageType& type,
                                std::span<const std::byte> message, const SendOptions& options,
                                SendResult first_result) {
  std::optional<Patience> patience;
  for (SendResult result = first_result;; result = TrySend(link, to, type, message, *patience)) {
    if (result == SendResult::kTooLarge) {
      if (type.name.size() > kMaxTypeName || message.size() > context_.options.max_message_bytes) {
        return result;
      }
      return SendLarge(link, to, type, message, options);
    }
    if (result != SendResult::kFull) return result;
    if (options.when_full != WhenFull::kWait) return Refuse(options);
    if (!patience) patience.emplace(options);
    const std::uint64_t record = sizeof(layout::Frame) + type.name.size() + message.size();
    result = WaitForRoom(link, to, record, *patience);
    if (result != SendResult::kOk) return result;
  }
}

class Outbound::LargeTurn {
 public:
  LargeTurn(Outbound& outbound, OutLink& link) noexcept : outbound_(outbound), link_(link) {}
  ~LargeTurn() { outbound_.EndLargeTurn(link_); }
  LargeTurn(const LargeTurn&) = delete;
  LargeTurn& operator=(const LargeTurn&) = delete;

 private:
  Outbound& outbound_;
  OutLink& link_;
};

SendResult Outbound::TakeLargeTurn(OutLink& link, const SendOptions& options,
                                   const Patience& patience) {
  for (;;) {
    const std::uint64_t ticket = context_.sleeper->Ticket();
    {
      const std::lock_guard lock(link.lock);
      if (!link.large_under_way) {
        link.large_under_way = true;
        return SendResult::kOk;
      }
      if (options.when_full != WhenFull::kWait) return Refuse(options);
      link.large_wanted = true;
    }
    if (patience.IsStopped()) return SendResult::kStopped;
    const nanoseconds left = patience.deadline - Clock::now();
    if (left <= nanoseconds(0)) return SendResult::kTimedOut;
    (void)context_.sleeper->Sleep(patience.Sleep(std::min(left, kNet)), ticket);
  }
}

void Outbound::EndLargeTurn(OutLink& link) noexcept {
  bool wanted = false;
  {
    const std::lock_guard lock(link.lock);
    link.large_under_way = false;
    wanted = std::exchange(link.large_wanted, false);
  }
  if (wanted) context_.sleeper->Notify();
}

SendResult Outbound::SendLarge(OutLink& link, PeerId to, const MessageType& type,
                               std::span<const std::byte> message, const SendOptions& options) {
  const Patience patience(options);
  // Begun while another large message is under way it would only wait for that one.
  if (const SendResult result = TakeLargeTurn(link, options, patience); result != SendResult::kOk) {
    return result;
  }
  const LargeTurn turn(*this, link);

  const InnerFrame inner(type, message);
  const std::uint64_t total = inner.size();
  std::uint64_t offset = 0;
  std::uint64_t cell_word = 0;  // of the ring that the message began in
  std::uint32_t number = 0;
  const auto give_up = [&](SendResult result) {
    if (offset != 0) {
      const std::lock_guard lock(link.lock);
      link.must_abandon = link.open && cell_word == link.cell_word;
      TryAbandon(link);
    }
    return result;
  };
  while (offset < total) {
    if (patience.IsStopped()) return give_up(SendResult::kStopped);
    std::uint64_t record_bytes = 0;
    SendResult result = SendResult::kOk;
    {
      result = LockRing(link, patience);
      if (result != SendResult::kOk) return give_up(result);
      const std::lock_guard lock(link.lock, std::adopt_lock);
      result = EnsureOpen(link, to);
      if (result == SendResult::kOk && (offset == 0 || cell_word != link.cell_word)) {
        // At first, and when the ring was given up midway: what was sent is lost with it.
        offset = 0;
        number = link.next_large++;
        cell_word = link.cell_word;
        link.must_abandon = false;  // the receiver drops the last one when it sees a new one
      }
      if (result == SendResult::kOk) {
        // Records of an eighth of the ring: the consumer takes one out while the next is written.
        const std::uint64_t eighth = (link.producer.max_payload() + layout::kRecordHeader) / 4;
        const std::uint64_t piece =
            std::min(total - offset, eighth - layout::kRecordHeader - kFragmentOverhead);
        record_bytes = kFragmentOverhead + piece;
        std::span<std::byte> record;
        result = ClaimRecord(link, to, record_bytes, &record);
        if (result == SendResult::kOk && cell_word != link.cell_word) {
          link.producer.Abort();  // a new ring: begin again
          continue;
        }
        if (result == SendResult::kOk) {
          WriteFragment(record, number, total, offset);
          inner.Copy(record.subspan(kFragmentOverhead), offset);
          offset += piece;
          Publish(link, offset == total ? 1 : 0, offset == total ? message.size() : 0);
          continue;
        }
      }
    }
    if (result == SendResult::kFull) {
      if (offset == 0 && options.when_full != WhenFull::kWait) return Refuse(options);
      result = WaitForRoom(link, to, record_bytes, patience);
    }
    if (result != SendResult::kOk) return give_up(result);
  }
  return SendResult::kOk;
}

void Outbound::TryAbandon(OutLink& link) {
  if (!link.must_abandon || !link.open || link.is_claimed() || !context_.IsMyLife()) return;
  std::span<std::byte> record;
  if (link.producer.TryClaim(kFragmentOverhead, &record) != ClaimResult::kOk) return;
  WriteFragment(record, link.next_large - 1, 0, 0);
  link.must_abandon = false;
  Publish(link, 0, 0);
}

SendResult Outbound::AwaitRoom(PeerId to, std::uint64_t record_bytes, const SendOptions& options) {
  OutLink* const found = link(to.slot);
  if (found == nullptr) return SendResult::kPeerGone;
  if (options.when_full == WhenFull::kWait) {
    return WaitForRoom(*found, to, record_bytes, Patience(options));
  }
  const SendResult result = LookForRoom(*found, to, record_bytes, Patience(options));
  return result == SendResult::kFull ? Refuse(options) : result;
}

SendResult Outbound::LookForRoom(OutLink& link, PeerId to, std::uint64_t bytes,
                                 const Patience& patience) {
  if (const SendResult result = LockRing(link, patience); result != SendResult::kOk) return result;
  const std::lock_guard lock(link.lock, std::adopt_lock);
  return LookForRoom(link, to, bytes);
}

SendResult Outbound::LookForRoom(OutLink& link, PeerId to, std::uint64_t bytes) {
  std::span<std::byte> record;
  const SendResult result = ClaimRecord(link, to, bytes, &record);
  if (result == SendResult::kOk) link.producer.Abort();
  return result;
}

SendResult Outbound::WaitForRoom(OutLink& link, PeerId to, std::uint64_t bytes,
                                 const Patience& patience) {
  // The consumer is probably at work on this very ring.
  const nanoseconds budget = context_.options.spin_budget;
  Spin spin(std::min(patience.deadline, Clock::now() + budget));
  do {
    const SendResult result = LookForRoom(link, to, bytes, patience);
    if (result != SendResult::kFull) return result;
    if (patience.IsStopped()) return SendResult::kStopped;
  } while (budget != nanoseconds(0) && spin.Pause());
  context_.Count(Counter::kRingsFull);
  nanoseconds interval = kFirstPoll;
  for (;;) {
    bool doorbell = false;
    const std::uint64_t ticket = context_.sleeper->Ticket();
    {
      SendResult result = LockRing(link, patience);
      if (result != SendResult::kOk) return result;
      const std::lock_guard lock(link.lock, std::adopt_lock);
      ++link.space_waiters;
      if (EnsureOpen(link, to) == SendResult::kOk) link.space_armed.Arm();
      result = LookForRoom(link, to, bytes);
      // Nobody rings for a ring that was withdrawn.
      doorbell = link.open && link.can_ring && context_.transport->info().wakeable;
      if (result != SendResult::kFull) {
        if (--link.space_waiters == 0) Disarm(link);
        return result;
      }
    }
    const bool stopped = patience.IsStopped();
    const nanoseconds left = patience.deadline - Clock::now();
    if (!stopped && left > nanoseconds(0)) {
      (void)context_.sleeper->Sleep(patience.Sleep(std::min(left, doorbell ? kNet : interval)),
                                    ticket);
      interval = std::min(interval * 2, context_.options.max_poll_interval);
    }
    {
      const std::lock_guard lock(link.lock);
      if (--link.space_waiters == 0) Disarm(link);
    }
    const SendResult result = LookForRoom(link, to, bytes, patience);
    if (result != SendResult::kFull) return result;
    if (stopped) return SendResult::kStopped;
    if (left <= nanoseconds(0)) return SendResult::kTimedOut;
  }
}

std::uint64_t Outbound::MaxRecord(PeerId to) {
  OutLink* const found = link(to.slot);
  if (found == nullptr) return 0;
  const std::lock_guard lock(found->lock);
  const bool open =
      found->is_claimed() ? IsOpen(*found, to) : EnsureOpen(*found, to) == SendResult::kOk;
  return open ? found->producer.max_payload() : 0;
}

Status Outbound::LastError(PeerId to) {
  OutLink* const found = link(to.slot);
  if (found == nullptr) {
    return {StatusCode::kNotFound, StrCat("there is no slot ", to.slot, " in this region")};
  }
  if (Status over = context_.LifeStatus(); !over.ok()) return over;
  const std::lock_guard lock(found->lock);
  return found->error;
}

void Outbound::Housekeep() {
  const Region& region = context_.region;
  for (std::uint32_t s = 0; s < region.max_peers(); ++s) {
    layout::Word& cell = region.cell(region.CellIndex(s, context_.self.id.slot));
    OutLink& link = links_[s];
    if (!link.lock.try_lock()) continue;  // in use: next time
    const std::lock_guard lock(link.lock, std::adopt_lock);
    if (!context_.IsMyLife()) return;
    if (link.is_claimed()) continue;
    TryAbandon(link);
    if (link.open && cell.load(std::memory_order_acquire) != link.cell_word) {
      // Only this node writes the cell while it lives, so what stands there is damage.
      cell.store(link.cell_word, std::memory_order_release);
      region.slot(s).inbound_changes.fetch_add(1, std::memory_order_relaxed);
    }
  }
  FreeUnread();
}

void Outbound::FreeUnread() {
  const Region& region = context_.region;
  for (std::uint32_t s = 0; s < region.max_peers(); ++s) {
    const std::uint32_t index = region.CellIndex(s, context_.self.id.slot);
    const layout::Word& cell = region.cell(index);
    if (IsEmpty(cell.load(std::memory_order_relaxed))) continue;
    OutLink& link = links_[s];
    if (!link.lock.try_lock()) continue;  // in use: next time
    const std::lock_guard lock(link.lock, std::adopt_lock);
    const std::uint64_t word = cell.load(std::memory_order_acquire);
    const Life life = Life::FromWord(region.slot(s).life.load(std::memory_order_acquire));
    const bool same_life = !link.open || life.incarnation == link.to.incarnation || IsDurable(life);
    const bool gone = life.state == PeerState::kFree ||
                      (life.state == PeerState::kDead && !TakesMessages(life)) ||
                      (life.state == PeerState::kLive && !same_life);
    if (!gone || !context_.IsMyLife()) continue;
    LetGo(link);
    context_.arena.Free(index, word);
  }
}

void Outbound::UnlockInChild() noexcept {
  for (std::uint32_t s = 0; s < context_.region.max_peers(); ++s) {
    links_[s].lock.unlock();
    links_[s].claimed_by.store(nullptr, std::memory_order_relaxed);
  }
}

std::uint64_t Outbound::Sum(Counter counter) const noexcept {
  std::uint64_t sum = 0;
  for (std::uint32_t s = 0; s < context_.region.max_peers(); ++s) {
    const OutLink& link = links_[s];
    if (counter == Counter::kMessagesSent) sum += link.messages.load(std::memory_order_relaxed);
    if (counter == Counter::kBytesSent) sum += link.bytes.load(std::memory_order_relaxed);
    if (counter == Counter::kDoorbellsRung) sum += link.doorbells.load(std::memory_order_relaxed);
  }
  return sum;
}

}  // namespace ivmq
