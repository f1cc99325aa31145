#include "src/inbound.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "src/copy.h"
#include "src/peer_slot.h"
#include "src/str_cat.h"

namespace ivmq {
namespace {

using layout::Cell;
using layout::CellState;
using layout::Counter;
using layout::Frame;
using layout::FrameKind;
using layout::Life;
using layout::PeerState;

// A poll looks at every recently active ring, and at this many of the others.
constexpr std::size_t kColdLooks = 8;
// A ring counts as active until it was found empty so often in a row; every so many times it is
// looked after.
constexpr std::uint32_t kCoolAfter = 4096;
constexpr std::uint32_t kCoolingStep = 64;
// A spare buffer that is kept for the next large message.
constexpr std::uint64_t kMostSpare = std::uint64_t{8} << 20;

// True once the peer that `link` was opened for can write no more.
bool IsGone(const InLink& link, const Life& life) noexcept {
  if (life.incarnation != link.from.incarnation) return true;
  return life.state == PeerState::kFree ||
         (life.state == PeerState::kDead && (life.flags & layout::kPeerDurable) == 0);
}

// Whether the ring's header is that of the cell.
bool Describes(const RingView& ring, const Cell& cell, std::uint32_t index) noexcept {
  const layout::RingHeader& header = *ring.header;
  return header.magic.load(std::memory_order_relaxed) == layout::kRingMagic &&
         header.capacity_log2.load(std::memory_order_relaxed) == cell.capacity_log2 &&
         header.cell.load(std::memory_order_relaxed) == index &&
         header.generation.load(std::memory_order_relaxed) == cell.generation;
}

void Remove(std::vector<InLink*>& links, const InLink& link) { std::erase(links, &link); }

}  // namespace

Inbound::Inbound(NodeContext& context, Outbound& outbound)
    : context_(context),
      outbound_(outbound),
      row_changes_(context.slot().inbound_changes),
      links_(context.region.max_peers()) {
  for (std::uint32_t s = 0; s < links_.size(); ++s) links_[s].slot = s;
  hot_.reserve(links_.size());
  cold_.reserve(links_.size());
}

inline Inbound::Outcome Inbound::Deliver(InLink& link, const Frame& frame,
                                         std::span<const std::byte> rest, bool is_private,
                                         HandlerFunction handler, void* handler_context) {
  const bool is_message = frame.kind == FrameKind::kBytes || frame.kind == FrameKind::kTypedById ||
                          frame.kind == FrameKind::kTypedByName ||
                          (frame.kind >= FrameKind::kFirstRpc && frame.kind <= FrameKind::kLastRpc);
  if (!is_message || frame.name_bytes > kMaxTypeName || frame.name_bytes > rest.size())
      [[unlikely]] {
    return Outcome::kMalformed;
  }
  const std::size_t bytes = rest.size() - frame.name_bytes;
  if (bytes > context_.options.max_message_bytes) [[unlikely]] {
    ReportTooLarge(link, bytes);
    return Outcome::kConsumed;
  }
  if (!is_private && !context_.options.trust_peers) {
    // From here on nobody can change it.
    if (copy_.size() < rest.size()) [[unlikely]]
      copy_.resize(rest.size());
    CopyMessage(copy_.data(), rest.data(), rest.size());
    rest = std::span(copy_).first(rest.size());
    is_private = true;
  }
  std::array<char, kMaxTypeName> name;
  Message message{.from = link.from,
                  .kind = frame.kind,
                  .type = frame.type,
                  .type_name = {},
                  .payload = rest.subspan(frame.name_bytes),
                  .redelivered = link.consumer.redelivered()};
  if (frame.name_bytes != 0) {
    const auto* text = reinterpret_cast<const char*>(rest.data());
    if (!is_private) {
      std::memcpy(name.data(), text, frame.name_bytes);
      text = name.data();
    }
    message.type_name = {text, frame.name_bytes};
  }
  context_.CountAlone(Counter::kMessagesReceived);
  context_.CountAlone(Counter::kBytesReceived, bytes);
  if (message.redelivered) context_.CountAlone(Counter::kRedelivered);
  try {
    handler(handler_context, message);
  } catch (...) {
    link.consumer.Redeliver();
    throw;
  }
  return Outcome::kHandled;
}

std::size_t Inbound::Drain(InLink& link, HandlerFunction handler, void* handler_context,
                           std::size_t limit) {
  if (!context_.IsMyLife()) [[unlikely]]
    return 0;
  const Polling polling(*this);
  std::size_t handled = 0;
  std::span<const std::byte> record;
  for (std::size_t records = 0; records < limit; ++records) {
    const PeekResult peek = link.consumer.Peek(&record);
    if (peek != PeekResult::kRecord) {
      if (peek == PeekResult::kEmpty) {
        if (link.ending) [[unlikely]]
          FollowLife(link);
        break;
      }
      GiveUp(link, peek == PeekResult::kClosed ? "its producer gave it up"
                                               : "it holds a word that no correct peer writes");
      break;
    }
    Outcome outcome = Outcome::kMalformed;
    if (Frame frame; record.size() >= sizeof(frame)) {
      std::memcpy(&frame, record.data(), sizeof(frame));
      const std::span<const std::byte> rest = record.subspan(sizeof(frame));
      outcome = frame.kind == FrameKind::kFragment
                    ? DeliverFragment(link, frame.type, rest, handler, handler_context)
                    : Deliver(link, frame, rest, false, handler, handler_context);
    }
    if (outcome == Outcome::kStalled) [[unlikely]] {
      link.stalled = true;
      break;
    }
    if (outcome == Outcome::kMalformed) [[unlikely]] {
      GiveUp(link, "it holds a frame that no correct peer sends");
      break;
    }
    // The handler may have taken long. What it handled a durable successor gets again.
    if (!context_.IsMyLife()) [[unlikely]]
      break;
    link.consumer.Release();
    // At once: a handler may take long.
    if (link.consumer.has_wake_request()) [[unlikely]]
      WakeProducer(link);
    if (outcome == Outcome::kHandled) ++handled;
  }
  // The next look that finds it empty is not to wait.
  if (link.ending) [[unlikely]]
    link.idle_looks = kCoolingStep - 1;
  return handled;
}

std::size_t Inbound::Poll(HandlerFunction handler, void* handler_context, std::size_t limit) {
  if (housekeeping_due_.load(std::memory_order_relaxed) || RowChanged() || !cold_.empty())
      [[unlikely]] {
    return AttendAndPoll(handler, handler_context, limit);
  }
  return PollHot(handler, handler_context, limit);
}

std::size_t Inbound::AttendAndPoll(HandlerFunction handler, void* handler_context,
                                   std::size_t limit) {
  if (polling_ || !context_.IsMyLife()) return 0;
  if (housekeeping_due_.load(std::memory_order_relaxed)) {
    housekeeping_due_.store(false, std::memory_order_relaxed);
    Housekeep();
  }
  if (RowChanged()) {
    ReadRow();
    FollowLives();
  }
  WarmUp();
  return PollHot(handler, handler_context, limit);
}

inline std::size_t Inbound::PollHot(HandlerFunction handler, void* handler_context,
                                    std::size_t limit) {
  if (polling_) [[unlikely]]
    return 0;  // called by a handler
  std::size_t count = 0;
  // Each poll begins with another ring, so that none is starved by a busy one. A ring that leaves
  // the list ends the looks; the others come first next time.
  const std::size_t hot = hot_.size();
  for (std::size_t looks = 0; looks < hot; ++looks) {
    if (next_hot_ >= hot) next_hot_ = 0;
    InLink& link = *hot_[next_hot_++];
    if (link.consumer.HasRecord()) {
      link.idle_looks = 0;
      count += Drain(link, handler, handler_context, limit - count);
      if (count >= limit || hot_.size() != hot) return count;
    } else if (++link.idle_looks % kCoolingStep == 0) [[unlikely]] {
      CoolDown(link);
      if (hot_.size() != hot) return count;
    }
  }
  ++next_hot_;
  return count;
}

void Inbound::WarmUp() {
  const std::size_t looks = std::min(cold_.size(), kColdLooks);
  for (std::size_t i = 0; i < looks && !cold_.empty(); ++i) {
    if (++next_cold_ >= cold_.size()) next_cold_ = 0;
    InLink& link = *cold_[next_cold_];
    if (!link.consumer.HasRecord()) continue;
    Remove(cold_, link);
    hot_.push_back(&link);
  }
}

void Inbound::CoolDown(InLink& link) {
  if (link.ending) return FollowLife(link);
  // The ring has run dry: tell its producer about all the space.
  if (link.consumer.has_unpublished() && context_.IsMyLife()) {
    link.consumer.PublishReleased();
    WakeProducer(link);
  }
  if (link.idle_looks < kCoolAfter) return;
  link.idle_looks = 0;
  Remove(hot_, link);
  cold_.push_back(&link);
}

bool Inbound::LookSome() noexcept {
  if (RowChanged()) return true;
  for (const InLink* link : hot_) {
    if (!link->stalled && link->consumer.HasRecord()) return true;
  }
  const std::size_t looks = std::min(cold_.size(), kColdLooks);
  for (std::size_t i = 0; i < looks; ++i) {
    if (++next_cold_ >= cold_.size()) next_cold_ = 0;
    const InLink& link = *cold_[next_cold_];
    if (!link.stalled && link.consumer.HasRecord()) {
      // The poll that follows begins its looks behind this one: step back.
      next_cold_ = (next_cold_ == 0 ? cold_.size() : next_cold_) - 1;
      return true;
    }
  }
  return false;
}

bool Inbound::LookAll() noexcept {
  if (RowChanged()) return true;
  for (const auto* list : {&hot_, &cold_}) {
    for (InLink* const link : *list) {
      if (link->stalled || !link->consumer.HasRecord()) continue;
      if (list == &cold_) {
        // So that the next poll finds it at once.
        Remove(cold_, *link);
        hot_.push_back(link);
      }
      return true;
    }
  }
  return false;
}

bool Inbound::HasDrained(std::uint32_t slot) const noexcept {
  if (RowChanged()) return false;
  return slot >= links_.size() || !links_[slot].open || !links_[slot].consumer.HasRecord();
}

void Inbound::PublishReleased() noexcept {
  for (const auto* list : {&hot_, &cold_}) {
    for (InLink* const link : *list) {
      if (!link->consumer.has_unpublished() || !context_.IsMyLife()) continue;
      link->consumer.PublishReleased();
      WakeProducer(*link);
    }
  }
}

void Inbound::WakeProducer(InLink& link) noexcept {
  if (link.consumer.TakeWakeRequest()) RingProducer(link);
}

void Inbound::RingProducer(const InLink& link) noexcept {
  const layout::PeerSlot& slot = context_.region.slot(link.from.slot);
  const Life life = Life::FromWord(slot.life.load(std::memory_order_relaxed));
  if (life.state != PeerState::kLive || (life.flags & layout::kPeerWakeable) == 0) return;
  context_.transport->Ring(life.ivposition, slot.vector.load(std::memory_order_relaxed));
  context_.Count(Counter::kDoorbellsRung);
}

void Inbound::ReadRow() {
  const std::uint64_t changes = context_.slot().inbound_changes.load(std::memory_order_acquire);
  bool again = false;
  for (std::uint32_t p = 0; p < links_.size(); ++p) {
    InLink& link = links_[p];
    const std::uint64_t word =
        context_.region.cell(context_.region.CellIndex(context_.self.id.slot, p))
            .load(std::memory_order_acquire);
    if (word == link.cell_word) continue;
    const Cell cell = Cell::FromWord(word);
    if (const auto ring = context_.region.RingOf(cell);
        ring && cell.state == CellState::kWithdrawn &&
        Describes(*ring, cell, context_.region.CellIndex(context_.self.id.slot, p))) {
      const bool same_ring = Cell::FromWord(link.cell_word).generation == cell.generation;
      const bool closed_already = same_ring && (link.open || link.given_up);
      if (link.open) GiveUp(link, "a successor of its producer cannot go on with it");
      link.given_up = true;
      link.cell_word = word;
      UpdateProducer(link, p);
      if (!closed_already) (void)CloseUnread(link, *ring);
      continue;
    }
    if (cell.state != CellState::kLive) continue;
    if (link.open && link.consumer.HasRecord()) {
      again = true;  // first what the old ring holds
      continue;
    }
    OpenRing(p, word);
  }
  row_seen_ = again ? changes - 1 : changes;
}

void Inbound::OpenRing(std::uint32_t producer, std::uint64_t cell_word) {
  const Cell cell = Cell::FromWord(cell_word);
  const auto ring = context_.region.RingOf(cell);
  // A damaged cell its producer puts right.
  if (!ring ||
      !Describes(*ring, cell, context_.region.CellIndex(context_.self.id.slot, producer))) {
    return;
  }
  InLink& link = links_[producer];
  const bool was_open = std::exchange(link.open, false);
  link.given_up = false;
  link.stalled = false;
  EndAssembly(link, link.assembly.total != 0);
  link.cell_word = cell_word;
  UpdateProducer(link, producer);
  Result<Consumer> consumer = Consumer::Open(*ring);
  if (!consumer.ok()) {
    if (was_open) {
      Remove(hot_, link);
      Remove(cold_, link);
    }
    link.given_up = true;
    if (CloseUnread(link, *ring)) {
      context_.Count(Counter::kRingsPoisoned);
      context_.Report(
          Status(StatusCode::kDataLoss, StrCat("the ring from slot ", producer,
                                               " cannot be read: ", consumer.status().message())));
    }
    return;
  }
  link.consumer = *std::move(consumer);
  link.open = true;
  link.idle_looks = 0;
  if (!was_open) hot_.push_back(&link);
}

bool Inbound::CloseUnread(const InLink& link, const RingView& ring) noexcept {
  // By a predecessor of ours: its producer may have let go of it.
  if (ring.header->released.load(std::memory_order_relaxed) == layout::kRingClosed) return false;
  ring.header->released.store(layout::kRingClosed, std::memory_order_release);
  FullFence();
  if (WakeCheck().MustRing(ring.header->space_armed)) RingProducer(link);
  return true;
}

void Inbound::UpdateProducer(InLink& link, std::uint32_t producer) {
  const Life life =
      Life::FromWord(context_.region.slot(producer).life.load(std::memory_order_acquire));
  link.from = {producer, life.incarnation};
}

void Inbound::Housekeep() {
  ReadRow();
  FollowLives();
  // A word that only this side writes is put right if somebody damaged it. Not in a ring that was
  // given up: its units may be another's by now.
  for (InLink& link : links_) {
    if (!link.open || !context_.IsMyLife()) continue;
    link.consumer.PublishReleased();
    WakeProducer(link);
  }
}

void Inbound::FollowLives() {
  for (InLink& link : links_) {
    if (link.open || link.given_up) FollowLife(link);
  }
  outbound_.FreeUnread();
}

void Inbound::FollowLife(InLink& link) {
  const std::uint32_t producer = link.slot;
  const Life life =
      Life::FromWord(context_.region.slot(producer).life.load(std::memory_order_acquire));
  link.ending = IsGone(link, life);
  if (life.incarnation != link.from.incarnation && IsDurable(life)) {
    // The same name again: the ring goes on, but a large message half sent will not.
    link.ending = false;
    EndAssembly(link, link.assembly.total != 0);
    UpdateProducer(link, producer);
  }
  // What a dead producer committed is handled first.
  if (!link.ending || (link.open && link.consumer.HasRecord()) || !context_.IsMyLife()) return;
  EndAssembly(link, link.assembly.total != 0);
  Remove(hot_, link);
  Remove(cold_, link);
  context_.arena.Free(context_.region.CellIndex(context_.self.id.slot, producer), link.cell_word);
  link = InLink{};
  link.slot = producer;
}

void Inbound::GiveUp(InLink& link, const std::string& reason) {
  link.consumer.Close();
  WakeProducer(link);
  EndAssembly(link, link.assembly.total != 0);
  link.open = false;
  link.given_up = true;
  Remove(hot_, link);
  Remove(cold_, link);
  context_.Count(Counter::kRingsPoisoned);
  context_.Report(Status(StatusCode::kDataLoss,
                         StrCat("the ring from slot ", link.from.slot, " is abandoned: ", reason,
                                "; its unread messages are lost")));
}

void Inbound::ReportTooLarge(const InLink& link, std::uint64_t bytes) {
  context_.Count(Counter::kDropped);
  context_.Report(
      Status(StatusCode::kResourceExhausted,
             StrCat("a message of ", bytes, " bytes from slot ", link.from.slot,
                    " is dropped: the limit here is ", context_.options.max_message_bytes)));
}

Inbound::Outcome Inbound::DeliverFragment(InLink& link, std::uint32_t number,
                                          std::span<const std::byte> fragment,
                                          HandlerFunction handler, void* handler_context) {
  const Outcome outcome = TakeFragment(link, number, fragment);
  const Assembly& assembly = link.assembly;
  if (outcome != Outcome::kConsumed || assembly.total == 0 || assembly.received != assembly.total) {
    return outcome;
  }
  Frame frame;
  std::memcpy(&frame, assembly.bytes.get(), sizeof(frame));
  const std::span<const std::byte> rest(assembly.bytes.get() + sizeof(frame),
                                        assembly.total - sizeof(frame));
  Outcome delivered = Outcome::kMalformed;
  try {
    delivered = Deliver(link, frame, rest, true, handler, handler_context);
  } catch (...) {
    // The last fragment stays in the ring, and will be taken again.
    link.assembly.received -= fragment.size() - sizeof(layout::FragmentHeader);
    throw;
  }
  EndAssembly(link, false);
  return delivered;
}

Inbound::Outcome Inbound::TakeFragment(InLink& link, std::uint32_t number,
                                       std::span<const std::byte> fragment) {
  layout::FragmentHeader header;
  if (fragment.size() < sizeof(header)) return Outcome::kMalformed;
  std::memcpy(&header, fragment.data(), sizeof(header));
  const std::span<const std::byte> piece = fragment.subspan(sizeof(header));
  const std::uint64_t most = context_.options.max_message_bytes + sizeof(Frame) + kMaxTypeName;
  Assembly& assembly = link.assembly;
  if (header.total == 0 && piece.empty()) {
    EndAssembly(link, assembly.total != 0);
    return Outcome::kConsumed;
  }
  if (piece.empty() || header.total < sizeof(Frame) || header.offset > header.total ||
      piece.size() > header.total - header.offset) {
    return Outcome::kMalformed;
  }
  if (header.offset == 0) {
    // A sender that begins anew has given the last one up.
    if (assembly.total != 0) EndAssembly(link, true);
    if (header.total > most) {
      context_.Count(Counter::kAssembliesLost);
      context_.Report(
          Status(StatusCode::kResourceExhausted,
                 StrCat("a message of ", header.total, " bytes from slot ", link.from.slot,
                        " is refused: the limit here is ", context_.options.max_message_bytes)));
      return Outcome::kConsumed;
    }
    if (header.total > context_.options.reassembly_bytes - reserved_) return Outcome::kStalled;
    if (spare_size_ >= header.total) {
      assembly.bytes = std::move(spare_);
      spare_size_ = 0;
    } else {
      assembly.bytes.reset(new (std::nothrow) std::byte[header.total]);
      if (!assembly.bytes) return Outcome::kStalled;
    }
    assembly.number = number;
    assembly.total = header.total;
    assembly.received = 0;
    reserved_ += header.total;
  } else if (assembly.total == 0) {
    return Outcome::kConsumed;  // the rest of one that was refused or lost
  } else if (number != assembly.number || header.total != assembly.total ||
             header.offset != assembly.received) {
    EndAssembly(link, true);
    return Outcome::kMalformed;
  }
  std::memcpy(assembly.bytes.get() + assembly.received, piece.data(), piece.size());
  assembly.received += piece.size();
  context_.CountAlone(Counter::kFragmentsReceived);
  return Outcome::kConsumed;
}

void Inbound::EndAssembly(InLink& link, bool lost) {
  Assembly& assembly = link.assembly;
  if (assembly.total == 0) return;
  if (lost) {
    context_.Count(Counter::kAssembliesLost);
    context_.Report(
        Status(StatusCode::kDataLoss,
               StrCat("a message of ", assembly.total, " bytes from slot ", link.from.slot,
                      " is lost: its sender stopped at ", assembly.received)));
  }
  reserved_ -= assembly.total;
  if (assembly.total > spare_size_ && assembly.total <= kMostSpare) {
    spare_ = std::move(assembly.bytes);
    spare_size_ = assembly.total;
  }
  assembly = Assembly{};
  // Whoever waited for memory may try again.
  for (InLink& each : links_) each.stalled = false;
}

}  // namespace ivmq
