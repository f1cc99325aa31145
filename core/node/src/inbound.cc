#include "src/inbound.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "ivmq/internal/copy.h"
#include "ivmq/internal/peer_slot.h"
#include "ivmq/internal/str_cat.h"

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
// What looks damaged at so many looks of housekeeping in a row is damaged: who may write it would
// have put it right. The looks come four times a second, also while the node sleeps.
constexpr std::uint32_t kLooksOfDamage = 4;
// A large message of which no piece came for so many looks gives its memory to another one that
// needs it.
constexpr std::uint32_t kLooksOfStall = 8;
// A spare buffer that is kept for the next large message.
constexpr std::uint64_t kMostSpare = std::uint64_t{8} << 20;

// True once the peer that `link` was opened for can write no more, and nobody follows it.
bool IsGone(const InLink& link, const Life& life) noexcept {
  if (life.state == PeerState::kFree) return true;
  return !IsDurable(life) &&
         (life.state == PeerState::kDead || life.incarnation != link.opened_life);
}

// Whether a correct producer may have written `cell` after `former`, having let go of that ring.
bool HasLetGo(const Cell& cell, const Cell& former) noexcept {
  return (cell.state == CellState::kEmpty || cell.state == CellState::kCarving) &&
         static_cast<std::int32_t>(cell.generation - former.generation) >= 0;
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
      GiveUp(link, "it holds a word that no correct peer writes");
      break;
    }
    Outcome outcome = Outcome::kMalformed;
    if (Frame frame; record.size() >= sizeof(frame)) {
      std::memcpy(&frame, record.data(), sizeof(frame));
      const std::span<const std::byte> rest = record.subspan(sizeof(frame));
      outcome = frame.kind == FrameKind::kFragment
                    ? DeliverFragment(link, frame, rest, handler, handler_context)
                    : Deliver(link, frame, rest, false, handler, handler_context);
      if (outcome == Outcome::kMalformed && frame.kind == FrameKind::kSuccessor && rest.empty())
          [[unlikely]] {
        outcome = PassSuccessor(link, frame.type);
      }
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
  if (polling_) return 0;
  Attend();
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
  const layout::PeerSlot& slot = context_.region.slot(link.slot);
  const Life life = Life::FromWord(slot.life.load(std::memory_order_relaxed));
  if (life.state != PeerState::kLive || (life.flags & layout::kPeerWakeable) == 0) return;
  context_.transport->Ring(life.ivposition, slot.vector.load(std::memory_order_relaxed));
  context_.Count(Counter::kDoorbellsRung);
}

std::optional<RingView> Inbound::LiveRing(const InLink& link, std::uint64_t word) const {
  const Cell cell = Cell::FromWord(word);
  if (cell.state != CellState::kLive) return std::nullopt;
  std::optional<RingView> ring = context_.region.RingOf(cell);
  // A cell that somebody overwrote may name the ring of another pair.
  if (ring && !ring->IsDescribed(CellIndexOf(link), cell)) return std::nullopt;
  return ring;
}

void Inbound::ReadRow() {
  const std::uint64_t changes = context_.slot().inbound_changes.load(std::memory_order_acquire);
  bool again = false;
  for (InLink& link : links_) again |= !ReadCell(link);
  row_seen_ = again ? changes - 1 : changes;
}

bool Inbound::ReadCell(InLink& link) {
  const std::uint64_t word =
      context_.region.cell(CellIndexOf(link)).load(std::memory_order_acquire);
  if (link.open && word == link.cell_word) return true;
  const Cell cell = Cell::FromWord(word);
  if (link.given_up && word == link.cell_word) {
    Close(link, word);  // somebody overwrote the answer
    return true;
  }
  const bool withdrawn = cell.state == CellState::kWithdrawn;
  // The ring that the cell names, also if it is to be read to its end only.
  const std::uint64_t live_word = cell.With(CellState::kLive).ToWord();
  const std::optional<RingView> ring =
      cell.state == CellState::kLive || withdrawn ? LiveRing(link, live_word) : std::nullopt;
  if (!ring && !withdrawn) {
    if (!link.open && (cell.state == CellState::kLive || cell.state > CellState::kClosed)) {
      if (std::exchange(link.cell_word, word) != word) {
        link.odd_looks = 0;
        link.given_up = false;
      }
      link.opened_life = LifeOf(link).incarnation;
      link.oddity = "its directory cell, or its header, was overwritten";
    }
    return true;
  }
  // Whatever the cell says now, first what the old ring holds.
  if (link.open && link.consumer.HasRecord()) return link.stalled;
  const bool is_new = !(link.open || link.given_up) || link.cell_word != live_word;
  if (ring && is_new) {
    OpenRing(link, *ring, live_word);
    return !withdrawn;
  }
  if (link.open) {
    GiveUp(link, "its producer cannot go on with it");
  } else {
    Close(link, word);
  }
  return true;
}

void Inbound::OpenRing(InLink& link, const RingView& ring, std::uint64_t cell_word) {
  EndAssembly(link, link.assembly.total != 0);
  link.cell_word = cell_word;
  link.ring = ring;
  link.given_up = false;
  link.stalled = false;
  link.odd_looks = 0;
  const Life life = LifeOf(link);
  link.opened_life = life.incarnation;
  const std::uint64_t sender = ring.header->sender.load(std::memory_order_relaxed);
  const bool by_former_life = sender != 0 && sender < life.incarnation && IsDurable(life);
  SetSender(link, by_former_life ? static_cast<std::uint32_t>(sender) : life.incarnation);
  Result<Consumer> consumer = Consumer::Open(ring);
  if (!consumer.ok()) {
    GiveUp(link, consumer.status().message());
    return;
  }
  link.consumer = *std::move(consumer);
  if (!std::exchange(link.open, true)) hot_.push_back(&link);
  link.idle_looks = 0;
}

void Inbound::SetSender(InLink& link, std::uint32_t incarnation) noexcept {
  const PeerId from{link.slot, incarnation};
  if (from == link.from) return;
  link.from = from;
  link.dropped = link.skipped = link.completed = 0;  // each life numbers its own
}

void Inbound::Close(const InLink& link, std::uint64_t cell_word) noexcept {
  if (context_.arena.Close(CellIndexOf(link), cell_word)) RingProducer(link);
}

void Inbound::Attend() {
  if (polling_ || !context_.IsMyLife()) return;
  if (housekeeping_due_.load(std::memory_order_relaxed)) {
    housekeeping_due_.store(false, std::memory_order_relaxed);
    Housekeep();
  }
  if (RowChanged()) {
    ReadRow();
    FollowLives();
  }
}

bool Inbound::IsOurs(const InLink& link) const noexcept {
  return context_.region.cell(CellIndexOf(link)).load(std::memory_order_acquire) ==
             link.cell_word &&
         link.ring.IsDescribed(CellIndexOf(link), Cell::FromWord(link.cell_word));
}

void Inbound::LookAfter(InLink& link) {
  // In this order, as in FollowLife().
  const std::uint32_t index = CellIndexOf(link);
  const Cell ours = Cell::FromWord(link.cell_word);
  layout::Word& cell = context_.region.cell(index);
  std::uint64_t cell_word = cell.load(std::memory_order_acquire);
  const Life life = LifeOf(link);
  if (cell_word != link.cell_word && !LiveRing(link, cell_word) &&
      Cell::FromWord(cell_word).state != CellState::kWithdrawn && !IsGone(link, life)) {
    // A living producer puts the cell right, too; one that is away, or came back and has not sent,
    // cannot. But whoever carves counts on it: two rings would get the same memory.
    if (HasLetGo(Cell::FromWord(cell_word), ours)) {
      link.oddity = "its directory cell names no ring any more";
    } else if (cell.compare_exchange_strong(cell_word, link.cell_word)) {
      cell_word = link.cell_word;
    }
  }
  // Before anything is written there. Its producer holds the units of a ring that it writes.
  const bool is_held = life.state == PeerState::kLive && life.incarnation == link.from.incarnation;
  if (!IsOurs(link)) {
    if (cell_word == link.cell_word) link.oddity = "its header does not name it any more";
  } else if (!is_held && !context_.arena.HoldUnits(index, ours)) {
    link.oddity = "another ring has got its memory";
  } else {
    link.consumer.Restore();
    link.ring.header->sender.store(link.from.incarnation, std::memory_order_relaxed);
    link.ring.header->dropped.store(link.dropped, std::memory_order_relaxed);
    WakeProducer(link);
  }
  if (link.consumer.LacksRecords()) link.oddity = "a commit word in it was overwritten";
  link.stalled = false;
  if (link.assembly.total == 0) return;
  link.assembly.idle_looks = link.consumer.HasRecord() ? 0 : link.assembly.idle_looks + 1;
  const bool sender_ended = life.incarnation != link.from.incarnation ||
                            life.state == PeerState::kDead || life.state == PeerState::kFree;
  if (sender_ended && link.assembly.idle_looks != 0) (void)DropAssembly(link);
}

void Inbound::Housekeep() {
  for (InLink& link : links_) link.oddity = nullptr;
  ReadRow();
  FollowLives();
  looks_odd_ = false;
  for (InLink& link : links_) {
    if (!link.open && link.oddity == nullptr) {
      link.odd_looks = 0;
      continue;
    }
    if (!context_.IsMyLife()) return;
    if (link.open) LookAfter(link);
    link.odd_looks = link.oddity != nullptr ? link.odd_looks + 1 : 0;
    looks_odd_ |= link.odd_looks != 0;
    if (link.odd_looks == kLooksOfDamage) GiveUp(link, link.oddity);
  }
}

void Inbound::FollowLives() {
  for (InLink& link : links_) {
    if (link.open || link.given_up) FollowLife(link);
  }
  outbound_.FreeUnread();
}

void Inbound::FollowLife(InLink& link) {
  // The cell first, then the life: of the producer that is judged the cell is then, and not of the
  // slot's next owner.
  const std::uint32_t index = CellIndexOf(link);
  const std::uint64_t cell_word = context_.region.cell(index).load(std::memory_order_acquire);
  const Life life = LifeOf(link);
  if (IsDurable(life)) link.opened_life = life.incarnation;
  link.ending = IsGone(link, life);
  // What a dead producer committed is handled first; if some of it lacks, that is found out.
  if (!link.ending || !context_.IsMyLife() ||
      (link.open && (link.consumer.HasRecord() || link.consumer.LacksRecords()))) {
    return;
  }
  EndAssembly(link, link.assembly.total != 0);
  Remove(hot_, link);
  Remove(cold_, link);
  if (life.incarnation == link.opened_life && life.state == PeerState::kDead) {
    context_.arena.Free(index, cell_word);
  }
  const std::uint32_t slot = link.slot;
  link = InLink{};
  link.slot = slot;
}

void Inbound::GiveUp(InLink& link, std::string_view reason) {
  const std::uint64_t word =
      context_.region.cell(CellIndexOf(link)).load(std::memory_order_acquire);
  EndAssembly(link, link.assembly.total != 0);
  link.open = false;
  link.given_up = true;
  Remove(hot_, link);
  Remove(cold_, link);
  // Of another value it is the producer's turn to put it right, and then it is answered.
  if (word == link.cell_word || Cell::FromWord(word).state == CellState::kWithdrawn) {
    Close(link, word);
  }
  context_.Count(Counter::kRingsPoisoned);
  context_.Report(
      Status(StatusCode::kDataLoss,
             StrCat("the ring from slot ", link.slot, " is given up: ", reason,
                    "; what was unread in it is lost, and its producer begins another")));
}

void Inbound::ReportTooLarge(const InLink& link, std::uint64_t bytes) {
  context_.Count(Counter::kDropped);
  context_.Report(
      Status(StatusCode::kResourceExhausted,
             StrCat("a message of ", bytes, " bytes from slot ", link.slot,
                    " is dropped: the limit here is ", context_.options.max_message_bytes)));
}

Inbound::Outcome Inbound::PassSuccessor(InLink& link, std::uint32_t incarnation) {
  EndAssembly(link, link.assembly.total != 0);
  SetSender(link, incarnation);
  // Before the mark is acknowledged: a successor of this node begins with or behind it.
  link.ring.header->sender.store(incarnation, std::memory_order_relaxed);
  return Outcome::kConsumed;
}

Inbound::Outcome Inbound::DeliverFragment(InLink& link, const Frame& frame,
                                          std::span<const std::byte> fragment,
                                          HandlerFunction handler, void* handler_context) {
  const Outcome outcome = TakeFragment(link, frame, fragment);
  const Assembly& assembly = link.assembly;
  if (outcome != Outcome::kConsumed || assembly.total == 0 || assembly.received != assembly.total) {
    return outcome;
  }
  Frame inner;
  std::memcpy(&inner, assembly.bytes.get(), sizeof(inner));
  const std::span<const std::byte> rest(assembly.bytes.get() + sizeof(inner),
                                        assembly.total - sizeof(inner));
  Outcome delivered = Outcome::kMalformed;
  try {
    delivered = Deliver(link, inner, rest, true, handler, handler_context);
  } catch (...) {
    // The last fragment stays in the ring, and will be taken again.
    link.assembly.received -= fragment.size() - sizeof(layout::FragmentHeader);
    throw;
  }
  link.completed = assembly.number;
  EndAssembly(link, false);
  return delivered;
}

Inbound::Outcome Inbound::TakeFragment(InLink& link, const Frame& frame,
                                       std::span<const std::byte> fragment) {
  const std::uint32_t number = frame.type;
  layout::FragmentHeader header;
  if (fragment.size() < sizeof(header)) return Outcome::kMalformed;
  std::memcpy(&header, fragment.data(), sizeof(header));
  const std::span<const std::byte> piece = fragment.subspan(sizeof(header));
  const std::uint64_t most = context_.options.max_message_bytes + sizeof(Frame) + kMaxTypeName;
  Assembly& assembly = link.assembly;
  if (header.total == 0 && piece.empty()) {
    if (number == assembly.number) EndAssembly(link, assembly.total != 0);
    return Outcome::kConsumed;
  }
  if (piece.empty() || header.total < sizeof(Frame) || header.offset > header.total ||
      piece.size() > header.total - header.offset) {
    return Outcome::kMalformed;
  }
  if (header.offset == 0) {
    // A sender that begins another has given the last one up; the same one, if it was told to.
    const std::uint32_t begun_before = frame.name_bytes;
    EndAssembly(link, assembly.total != 0 && begun_before == 0);
    link.skipped = number;
    if (const std::uint32_t since = number - link.completed; since != 0 && since <= begun_before) {
      return Outcome::kConsumed;
    }
    if (header.total > most) {
      context_.Count(Counter::kAssembliesLost);
      context_.Report(
          Status(StatusCode::kResourceExhausted,
                 StrCat("a message of ", header.total, " bytes from slot ", link.slot,
                        " is refused: the limit here is ", context_.options.max_message_bytes)));
      return Outcome::kConsumed;
    }
    if (header.total > context_.options.reassembly_bytes - reserved_ && !MakeRoom(header.total)) {
      return Outcome::kStalled;
    }
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
    if (number == link.skipped) return Outcome::kConsumed;
    link.skipped = number;
    context_.Count(Counter::kAssembliesLost);
    context_.Report(Status(
        StatusCode::kDataLoss,
        StrCat("a message of ", header.total, " bytes from slot ", link.slot,
               " is lost: a former life of this node took its first ", header.offset, " bytes")));
    return Outcome::kConsumed;
  } else if (number != assembly.number || header.total != assembly.total ||
             header.offset != assembly.received) {
    EndAssembly(link, true);
    return Outcome::kMalformed;
  }
  CopyBlock(assembly.bytes.get() + assembly.received, piece.data(), piece.size());
  assembly.received += piece.size();
  assembly.idle_looks = 0;
  context_.CountAlone(Counter::kFragmentsReceived);
  return Outcome::kConsumed;
}

bool Inbound::MakeRoom(std::uint64_t bytes) {
  while (bytes > context_.options.reassembly_bytes - reserved_) {
    const auto longest =
        std::max_element(links_.begin(), links_.end(), [](const InLink& a, const InLink& b) {
          return a.assembly.idle_looks < b.assembly.idle_looks;
        });
    if (longest->assembly.idle_looks < kLooksOfStall) return false;
    (void)DropAssembly(*longest);
  }
  return true;
}

bool Inbound::DropAssembly(InLink& link) {
  Assembly& assembly = link.assembly;
  if (!IsOurs(link)) {
    EndAssembly(link, true);
    return true;
  }
  // Said first, then the last look, each with a fence behind it as in the sender's commit and its
  // look at `dropped`: either the sender sees this before it says that all was sent, or its last
  // piece is seen here. If both happen, it begins anew what is delivered, and that is passed over.
  link.dropped = assembly.number;
  link.ring.header->dropped.store(link.dropped, std::memory_order_relaxed);
  FullFence();
  if (link.consumer.HasRecord()) {
    link.dropped = 0;
    link.ring.header->dropped.store(0, std::memory_order_relaxed);
    assembly.idle_looks = 0;
    return false;
  }
  EndAssembly(link, true);
  return true;
}

void Inbound::EndAssembly(InLink& link, bool lost) {
  Assembly& assembly = link.assembly;
  if (assembly.total == 0) return;
  if (lost) {
    context_.Count(Counter::kAssembliesLost);
    context_.Report(Status(StatusCode::kDataLoss,
                           StrCat("a message of ", assembly.total, " bytes from slot ", link.slot,
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
