#include "src/outbound.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "ivmq/internal/peer_slot.h"
#include "ivmq/internal/spin.h"
#include "ivmq/internal/str_cat.h"

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
// The largest record of a fragment: larger ones are no faster, and keep small messages waiting.
constexpr std::uint64_t kMostFragment = std::uint64_t{64} << 10;
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
    CopyBlock(out.data(), message_.data() + (offset - head_size_), out.size());
  }

 private:
  std::array<std::byte, sizeof(layout::Frame) + kMaxTypeName> head_;
  std::uint64_t head_size_;
  std::span<const std::byte> message_;
};

// `begun_before`: how many numbers before this one were the same message.
void WriteFragment(std::span<std::byte> record, std::uint32_t number, std::uint32_t begun_before,
                   std::uint64_t total, std::uint64_t offset) noexcept {
  const layout::Frame frame{
      .kind = layout::FrameKind::kFragment,
      .name_bytes = static_cast<std::uint16_t>(std::min(begun_before, 0xffffU)),
      .type = number};
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

  const std::uint64_t word = CellOf(link).load(std::memory_order_acquire);
  const Cell cell = Cell::FromWord(word);
  if (link.withdrawn || cell.state == CellState::kWithdrawn) {
    // A dead consumer reads nothing; a living one must answer before the units are let go of.
    if (life.state == PeerState::kLive && !(link.withdrawn && IsClosed(link, word))) {
      if (!link.withdrawn) {
        // By a predecessor, which may have died before it said so.
        link.withdrawn = true;
        link.cell_word = word;
        StoreCell(link, word);
      }
      return SendResult::kFull;
    }
    return CarveFor(link, to);
  }
  if (cell.state == CellState::kLive || cell.state > CellState::kClosed) {
    const Result<Producer> producer = TakeUp(link, cell);
    if (producer.ok()) {
      Adopt(link, to, word, *context_.region.RingOf(cell), *producer);
      return SendResult::kOk;
    }
    if (producer.status().code() != StatusCode::kDataLoss) return SendResult::kFull;
    Withdraw(link, cell, producer.status().message());
    if (life.state == PeerState::kLive) return SendResult::kFull;
  }
  return CarveFor(link, to);
}

Result<Producer> Outbound::TakeUp(OutLink& link, const Cell& cell) {
  const std::optional<RingView> ring = context_.region.RingOf(cell);
  // A cell that somebody overwrote may name the ring of another pair; and who has no predecessor
  // finds no ring.
  if (!context_.self.resumed || !ring || cell.state != CellState::kLive ||
      !ring->IsDescribed(CellIndexOf(link), cell)) {
    return Status(StatusCode::kDataLoss, "its directory cell, or its header, was overwritten");
  }
  // Before anything is written there.
  if (!context_.arena.HoldUnits(CellIndexOf(link), cell)) {
    return Status(StatusCode::kDataLoss, "another ring has got its memory");
  }
  Result<Producer> producer = Producer::Recover(*ring);
  if (!producer.ok()) return producer;
  // Nothing else is sent before the mark.
  std::span<std::byte> mark;
  if (producer->TryClaim(sizeof(layout::Frame), &mark) != ClaimResult::kOk) {
    return Status(StatusCode::kResourceExhausted, "the ring is full");
  }
  const layout::Frame frame{.kind = layout::FrameKind::kSuccessor,
                            .type = context_.self.id.incarnation};
  std::memcpy(mark.data(), &frame, sizeof(frame));
  producer->Commit();
  // The predecessor may have died before it could say that there is a ring.
  StoreCell(link, cell.ToWord());
  return producer;
}

void Outbound::StoreCell(const OutLink& link, std::uint64_t cell_word) noexcept {
  CellOf(link).store(cell_word, std::memory_order_release);
  link.slot->inbound_changes.fetch_add(1, std::memory_order_seq_cst);
}

void Outbound::Withdraw(OutLink& link, Cell cell, std::string_view why) {
  LetGo(link);
  link.withdrawn = true;
  link.cell_word = cell.With(CellState::kWithdrawn).ToWord();
  StoreCell(link, link.cell_word);
  context_.Count(Counter::kRingsPoisoned);
  context_.Report(
      Status(StatusCode::kDataLoss,
             StrCat("the ring to slot ", link.to.slot, " cannot be written any more: ", why,
                    "; what its consumer cannot read in it is lost, and a new ring follows")));
}

void Outbound::ReportClosed(const OutLink& link) {
  context_.Count(Counter::kRingsPoisoned);
  context_.Report(Status(StatusCode::kDataLoss,
                         StrCat("the ring to slot ", link.to.slot,
                                " was given up by its consumer; what was unread in it is lost, "
                                "and a new ring follows")));
}

void Outbound::LetGo(OutLink& link) noexcept {
  Disarm(link);
  link.open = false;
  link.withdrawn = false;
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
  Adopt(link, to, carved->cell.ToWord(), carved->ring, Producer(carved->ring));
  return SendResult::kOk;
}

void Outbound::Adopt(OutLink& link, PeerId to, std::uint64_t cell_word, const RingView& ring,
                     const Producer& producer) {
  link.to = to;
  link.cell_word = cell_word;
  link.ring = ring;
  link.producer = producer;
  link.space_armed = Armed(ring.header->space_armed);
  link.open = true;
}

SendResult Outbound::OpenAndClaimRecord(OutLink& link, PeerId to, std::uint64_t bytes,
                                        std::span<std::byte>* record) {
  if (const SendResult result = EnsureOpen(link, to); result != SendResult::kOk) return result;
  for (;;) {
    switch (link.producer.TryClaim(bytes, record)) {
      case ClaimResult::kOk:
        return SendResult::kOk;
      case ClaimResult::kTooLarge:
        return SendResult::kTooLarge;
      case ClaimResult::kFull:
        break;
    }
    // Perhaps nobody reads it any more.
    if (!IsClosed(link, CellOf(link).load(std::memory_order_acquire))) return SendResult::kFull;
    ReportClosed(link);
    if (const SendResult result = CarveFor(link, to); result != SendResult::kOk) return result;
  }
}

SendResult Outbound::ClaimRecordBehind(OutLink& link, PeerId to, std::uint64_t bytes,
                                       std::span<std::byte>* record) {
  if (!link.open) return SendResult::kFull;  // given up, see below
  if (const SendResult result = EnsureOpen(link, to); result != SendResult::kOk) return result;
  switch (link.producer.TryClaim(bytes, record)) {
    case ClaimResult::kOk:
      return SendResult::kOk;
    case ClaimResult::kTooLarge:
      return SendResult::kTooLarge;
    case ClaimResult::kFull:
      break;
  }
  if (IsClosed(link, CellOf(link).load(std::memory_order_acquire))) {
    // Another ring follows once the batch has let go of this one.
    ReportClosed(link);
    link.producer.Abort();
    link.open = false;
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
  for (SendResult result = first_result;;) {
    if (result == SendResult::kTooLarge) {
      if (type.name.size() > kMaxTypeName || message.size() > context_.options.max_message_bytes) {
        return result;
      }
      return SendLarge(link, to, type, message, options, patience ? *patience : Patience(options));
    }
    if (result != SendResult::kFull) return result;
    if (options.when_full != WhenFull::kWait) return Refuse(options);
    if (!patience) {
      patience.emplace(options);
    } else if (patience->IsOver()) {
      return SendResult::kTimedOut;  // others took the room that came
    }
    const std::uint64_t record = sizeof(layout::Frame) + type.name.size() + message.size();
    result = WaitForRoom(link, to, record, *patience);
    if (result == SendResult::kOk) result = TrySend(link, to, type, message, *patience);
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
                               std::span<const std::byte> message, const SendOptions& options,
                               const Patience& patience) {
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
  std::uint32_t begun = 0;  // how often
  bool waited = false;      // others may have taken the room that came
  const auto give_up = [&](SendResult result) {
    if (offset != 0) {
      const std::lock_guard lock(link.lock);
      link.must_abandon = link.open && cell_word == link.cell_word;
      TryAbandon(link);
    }
    return result;
  };
  for (;;) {
    if (patience.IsStopped()) return give_up(SendResult::kStopped);
    std::uint64_t record_bytes = 0;
    SendResult result = SendResult::kOk;
    {
      result = LockRing(link, patience);
      if (result != SendResult::kOk) return give_up(result);
      const std::lock_guard lock(link.lock, std::adopt_lock);
      result = EnsureOpen(link, to);
      // At first, when the ring was given up midway, and when its receiver dropped what it had.
      const bool begins =
          result == SendResult::kOk &&
          (number == 0 || cell_word != link.cell_word || link.producer.dropped_large() == number);
      if (begins && begun != 0 && patience.IsOver()) {
        result = SendResult::kTimedOut;
      } else if (begins) {
        offset = 0;
        if (++link.last_large == 0) ++link.last_large;
        number = link.last_large;
        ++begun;
        cell_word = link.cell_word;
        link.must_abandon = false;  // the receiver drops the last one when it sees a new one
      }
      if (result == SendResult::kOk) {
        // Records of an eighth of the ring: the consumer takes one out while the next is written.
        const std::uint64_t eighth = (link.producer.max_payload() + layout::kRecordHeader) / 4;
        const std::uint64_t most = std::min(eighth, kMostFragment);
        const std::uint64_t piece =
            std::min(total - offset, most - layout::kRecordHeader - kFragmentOverhead);
        record_bytes = kFragmentOverhead + piece;
        std::span<std::byte> record;
        result = ClaimRecord(link, to, record_bytes, &record);
        if (cell_word != link.cell_word &&
            (result == SendResult::kOk || result == SendResult::kTooLarge)) {
          link.producer.Abort();  // a new ring, perhaps a smaller one: begin again
          continue;
        }
        if (result == SendResult::kOk) {
          WriteFragment(record, number, begun - 1, total, offset);
          inner.Copy(record.subspan(kFragmentOverhead), offset);
          offset += piece;
          Publish(link, 0, 0);
          if (offset < total) continue;
          // Its receiver may have dropped the first pieces, and the last one came too late to keep
          // it from that. With the fence here and in DropAssembly() one of the two sees the other.
          FullFence();
          if (link.producer.dropped_large() == number) {
            offset = 0;
            continue;
          }
          Add(link.messages, 1);
          Add(link.bytes, message.size());
          return SendResult::kOk;
        }
      }
    }
    if (result == SendResult::kFull) {
      if (offset == 0 && begun <= 1 && options.when_full != WhenFull::kWait) return Refuse(options);
      if (std::exchange(waited, true) && patience.IsOver()) return give_up(SendResult::kTimedOut);
      result = WaitForRoom(link, to, record_bytes, patience);
      if (result == SendResult::kTooLarge) continue;  // for a new ring
    }
    if (result != SendResult::kOk) return give_up(result);
  }
}

void Outbound::TryAbandon(OutLink& link) {
  if (!link.must_abandon || !link.open || link.is_claimed() || !context_.IsMyLife()) return;
  std::span<std::byte> record;
  if (link.producer.TryClaim(kFragmentOverhead, &record) != ClaimResult::kOk) return;
  WriteFragment(record, link.last_large, 0, 0, 0);
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

// While one lives, the link's ring stays armed.
class Outbound::SpaceWaiter {
 public:
  SpaceWaiter(Outbound& outbound, OutLink& link) noexcept : outbound_(outbound), link_(link) {
    const std::lock_guard lock(link_.lock);
    ++link_.space_waiters;
  }
  ~SpaceWaiter() {
    const std::lock_guard lock(link_.lock);
    if (--link_.space_waiters == 0) outbound_.Disarm(link_);
  }
  SpaceWaiter(const SpaceWaiter&) = delete;
  SpaceWaiter& operator=(const SpaceWaiter&) = delete;

 private:
  Outbound& outbound_;
  OutLink& link_;
};

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
    bool stopped = false;
    nanoseconds left{};
    {
      const SpaceWaiter waiter(*this, link);
      bool doorbell = false;
      const std::uint64_t ticket = context_.sleeper->Ticket();
      {
        SendResult result = LockRing(link, patience);
        if (result != SendResult::kOk) return result;
        const std::lock_guard lock(link.lock, std::adopt_lock);
        if (EnsureOpen(link, to) == SendResult::kOk) link.space_armed.Arm();
        result = LookForRoom(link, to, bytes);
        if (result != SendResult::kFull) return result;
        // Nobody rings for a ring that was withdrawn.
        doorbell = link.open && link.can_ring && context_.transport->info().wakeable;
      }
      stopped = patience.IsStopped();
      left = patience.deadline - Clock::now();
      if (!stopped && left > nanoseconds(0)) {
        (void)context_.sleeper->Sleep(patience.Sleep(std::min(left, doorbell ? kNet : interval)),
                                      ticket);
        interval = std::min(interval * 2, context_.options.max_poll_interval);
      }
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
  for (std::uint32_t s = 0; s < context_.region.max_peers(); ++s) {
    OutLink& link = links_[s];
    if (!link.lock.try_lock()) continue;  // in use: next time
    const std::lock_guard lock(link.lock, std::adopt_lock);
    if (!context_.IsMyLife()) return;
    if (link.is_claimed()) continue;
    if (link.open || link.withdrawn) {
      LookAfter(link);
    } else if (const std::uint64_t word = CellOf(link).load(std::memory_order_acquire);
               Cell::FromWord(word).state == CellState::kClosed) {
      // A batch began in that ring, or a predecessor of this node wrote it.
      context_.arena.Free(CellIndexOf(link), word);
    }
  }
  FreeUnread();
}

void Outbound::FreeUnread() {
  for (std::uint32_t s = 0; s < context_.region.max_peers(); ++s) {
    OutLink& link = links_[s];
    const layout::Word& cell = CellOf(link);
    if (IsEmpty(cell.load(std::memory_order_relaxed))) continue;
    if (!link.lock.try_lock()) continue;  // in use: next time
    const std::lock_guard lock(link.lock, std::adopt_lock);
    if (link.is_claimed()) continue;
    const std::uint64_t word = cell.load(std::memory_order_acquire);
    const Life life = Life::FromWord(link.slot->life.load(std::memory_order_acquire));
    const bool same_life = !link.open || life.incarnation == link.to.incarnation || IsDurable(life);
    const bool gone = life.state == PeerState::kFree ||
                      (life.state == PeerState::kDead && !TakesMessages(life)) ||
                      (life.state == PeerState::kLive && !same_life);
    if (!gone || !context_.IsMyLife()) continue;
    LetGo(link);
    context_.arena.Free(CellIndexOf(link), word);
  }
}

void Outbound::LookAfter(OutLink& link) {
  layout::Word& cell = CellOf(link);
  std::uint64_t word = cell.load(std::memory_order_acquire);
  if (IsClosed(link, word)) {
    if (link.open) ReportClosed(link);
    LetGo(link);
    context_.arena.Free(CellIndexOf(link), word);  // the next send carves another one
    return;
  }
  // Only this node writes the cell while it lives, and its consumer only that answer.
  if (word != link.cell_word && cell.compare_exchange_strong(word, link.cell_word)) {
    link.slot->inbound_changes.fetch_add(1, std::memory_order_seq_cst);
  }
  if (!link.open) return;
  const Cell mine = Cell::FromWord(link.cell_word);
  // Before anything is written there.
  if (!context_.arena.HoldUnits(CellIndexOf(link), mine)) {
    link.space_armed = Armed();
    Withdraw(link, mine, "another ring has got its memory");
    return;
  }
  link.ring.Describe(CellIndexOf(link), mine);
  link.producer.PublishCommitted();
  TryAbandon(link);
}

void Outbound::PublishCommitted() noexcept {
  for (std::uint32_t s = 0; s < context_.region.max_peers(); ++s) {
    OutLink& link = links_[s];
    const std::lock_guard lock(link.lock);
    if (link.open && context_.IsMyLife()) link.producer.PublishCommitted();
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
