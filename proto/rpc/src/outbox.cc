#include "src/outbox.h"

#include <deque>

#include "ivmq/internal/serialize.h"

#include "src/call_table.h"
#include "src/end_frame.h"

namespace ivmq::rpc::internal {
namespace {

// The ends that are kept for one peer, in bytes; the last one may go beyond it.
constexpr std::size_t kMostKept = std::size_t{16} << 20;
// The notes that are kept for one: a peer has no more calls.
constexpr std::size_t kMostNotes = CallTable::kMostCalls;
// The frames that are queued for one, in bytes; the last one may go beyond it.
constexpr std::size_t kMostQueued = std::size_t{64} << 20;
// What an endpoint's end gives queued frames.
constexpr std::chrono::seconds kGrace{1};

}  // namespace

// What waits for one slot. Thread-safe.
class Outbox::Box {
 public:
  explicit Box(Outbox& outbox) : outbox_(outbox) {}

  void Keep(PeerId to, const MessageType& type, std::uint64_t call, std::string bytes);
  void Keep(PeerId to, const Note& note);
  [[nodiscard]] bool HasRoom();
  void Queue(QueuedFrame& frame);
  // Gives up what no thread was there for. REQUIRES: there are no threads any more.
  void EmptyQueue();

 private:
  using Frames = boost::intrusive::slist<QueuedFrame, boost::intrusive::cache_last<true>>;

  struct KeptEnd {
    MessageType type;
    std::uint64_t call;
    std::string bytes;
  };
  // Sends what is queued, as long as there is something.
  class QueueSender final : public Pool::Job {
   public:
    explicit QueueSender(Box& box) : box_(box) {}
    void Run() override { box_.SendQueued(); }
    // The system has no more threads now.
    void Refuse() override { box_.outbox_.polling_.Post(box_.submitter_, /*later=*/true); }

   private:
    Box& box_;
  };
  // REQUIRES, of the three: mutex_ is held. False: that life of the peer is over.
  [[nodiscard]] bool BeginLife(PeerId to);
  void AddNote(const Note& note);
  // Whether the queue was empty: it is to be submitted.
  [[nodiscard]] bool AddFrame(QueuedFrame& frame);

  void SendKept();
  // Sends what goes now. Whether that is all. REQUIRES: mutex_ is held.
  [[nodiscard]] bool SendEnds(bool* submits);
  [[nodiscard]] bool SendNotes();

  void Submit();
  void SendQueued();
  [[nodiscard]] SendResult SendOne(const QueuedFrame& frame) const;
  // Takes the first frame out. Whether there are more.
  [[nodiscard]] bool Finish(SendResult result);

  Outbox& outbox_;
  MemberTask<&Box::SendKept> kept_sender_{*this};
  MemberTask<&Box::Submit> submitter_{*this};
  QueueSender sender_{*this};

  std::mutex mutex_;
  // Guarded by mutex_, all below. What is kept is for one life of the slot's, its last holder's: a
  // slot has one at a time, whatever a peer says in its frames.
  PeerId life_;
  std::deque<KeptEnd> ends_;
  std::size_t ends_bytes_ = 0;
  std::deque<Note> notes_;  // those of ends go behind ends_
  Frames queue_;
  std::size_t queue_bytes_ = 0;
};

// An end that is larger than a record. What the arena has no ring for is kept; otherwise it has
// gone, or its client has, or the endpoint goes.
class Outbox::QueuedEnd final : public QueuedFrame {
 public:
  QueuedEnd(Box& box, PeerId to, const MessageType& type, std::uint64_t call, std::string bytes)
      : QueuedFrame(to, type, std::move(bytes)), box_(box), call_(call) {}

 private:
  [[nodiscard]] bool IsWanted() const noexcept override { return true; }
  void OnSent(SendResult result) override {
    if (result == SendResult::kNoRoom) box_.Keep(to(), type(), call_, TakeBytes());
  }

  Box& box_;
  const std::uint64_t call_;
};

// ---- What is kept ----

bool Outbox::Box::BeginLife(PeerId to) {
  // Looked at under the lock: whoever comes late for a former life finds it over.
  if (!outbox_.node_.IsLive(to)) return false;
  if (life_ == to) return true;
  // The former holder of the slot is gone, and what it was owed with it.
  life_ = to;
  ends_.clear();
  ends_bytes_ = 0;
  notes_.clear();
  return true;
}

void Outbox::Box::AddNote(const Note& note) {
  if (notes_.size() < kMostNotes) {
    notes_.push_back(note);
  } else {
    outbox_.node_.Count(layout::Counter::kDropped);
  }
}

void Outbox::Box::Keep(PeerId to, const MessageType& type, std::uint64_t call, std::string bytes) {
  {
    const std::lock_guard lock(mutex_);
    if (!BeginLife(to)) return;
    if (ends_bytes_ < kMostKept) {
      ends_bytes_ += sizeof(KeptEnd) + bytes.size();
      ends_.push_back({type, call, std::move(bytes)});
    } else {
      AddNote({.kind = CallFrameKind::kEnd, .call = call});
    }
  }
  outbox_.polling_.Post(kept_sender_, /*later=*/true);
}

void Outbox::Box::Keep(PeerId to, const Note& note) {
  {
    const std::lock_guard lock(mutex_);
    if (!BeginLife(to)) return;
    AddNote(note);
  }
  outbox_.polling_.Post(kept_sender_, /*later=*/true);
}

void Outbox::Box::SendKept() {
  bool is_over = false;
  bool submits = false;
  {
    const std::lock_guard lock(mutex_);
    if (outbox_.node_.IsLive(life_)) {
      is_over = SendEnds(&submits) && SendNotes();
    } else {
      is_over = true;
      ends_ = {};
      ends_bytes_ = 0;
      notes_ = {};
    }
  }
  if (submits) Submit();
  if (!is_over) outbox_.polling_.Post(kept_sender_, /*later=*/true);
}

bool Outbox::Box::SendEnds(bool* submits) {
  for (; !ends_.empty(); ends_.pop_front()) {
    KeptEnd& end = ends_.front();
    const std::size_t bytes = sizeof(KeptEnd) + end.bytes.size();
    const SendResult result =
        TrySendWithHead(outbox_.node_, life_, end.type, std::as_bytes(std::span(end.bytes)), {});
    if (FoundNoRoom(result)) return false;
    if (result == SendResult::kTooLarge) {
      if (queue_bytes_ >= kMostQueued) return false;
      *submits |= AddFrame(*new QueuedEnd(*this, life_, end.type, end.call, std::move(end.bytes)));
    }
    ends_bytes_ -= bytes;
  }
  return true;
}

bool Outbox::Box::SendNotes() {
  for (; !notes_.empty(); notes_.pop_front()) {
    if (FoundNoRoom(outbox_.TrySend(life_, notes_.front(), std::chrono::nanoseconds(0)))) {
      return false;
    }
  }
  return true;
}

// ---- What is queued ----

bool Outbox::Box::HasRoom() {
  const std::lock_guard lock(mutex_);
  return queue_bytes_ < kMostQueued;
}

bool Outbox::Box::AddFrame(QueuedFrame& frame) {
  const bool was_empty = queue_.empty();
  queue_.push_back(frame);
  queue_bytes_ += frame.bytes_.size();
  return was_empty;
}

void Outbox::Box::Queue(QueuedFrame& frame) {
  bool is_first = false;
  {
    const std::lock_guard lock(mutex_);
    is_first = AddFrame(frame);
  }
  if (is_first) Submit();
}

void Outbox::Box::Submit() {
  if (!outbox_.stopped_.load(std::memory_order_relaxed)) {
    outbox_.pool().Submit(sender_);
  } else {
    EmptyQueue();
  }
}

void Outbox::Box::SendQueued() {
  // All the time: the pool grows for the next peer.
  const Pool::Wait wait;
  for (bool more = true; more;) {
    QueuedFrame* frame = nullptr;
    {
      const std::lock_guard lock(mutex_);
      frame = &queue_.front();
    }
    more = Finish(SendOne(*frame));
  }
}

bool Outbox::Box::Finish(SendResult result) {
  QueuedFrame* frame = nullptr;
  bool more = false;
  {
    const std::lock_guard lock(mutex_);
    frame = &queue_.front();
    queue_.pop_front();
    queue_bytes_ -= frame->bytes_.size();
    more = !queue_.empty();
  }
  frame->result_ = result;
  outbox_.polling_.Post(*frame);
  return more;
}

void Outbox::Box::EmptyQueue() {
  while (!queue_.empty()) (void)Finish(SendResult::kStopped);
}

SendResult Outbox::Box::SendOne(const QueuedFrame& frame) const {
  class Stop final : public StopCondition {
   public:
    Stop(const Outbox& outbox, const QueuedFrame& frame) : outbox_(outbox), frame_(frame) {}
    [[nodiscard]] bool IsStopped() const noexcept override { return outbox_.IsGivenUp(frame_); }

   private:
    const Outbox& outbox_;
    const QueuedFrame& frame_;
  };
  Node& node = outbox_.node_;
  const Stop stop(outbox_, frame);
  const SendResult result =
      stop.IsStopped() ? SendResult::kStopped
                       : node.Send(frame.to_, frame.type_, std::as_bytes(std::span(frame.bytes_)),
                                   {.when_full = WhenFull::kWait,
                                    .timeout = TimeLeft(Clock::time_point::max()),
                                    .stop = &stop});
  return result == SendResult::kStopped && !node.IsLive(frame.to_) ? SendResult::kPeerGone : result;
}

// ---- Outbox ----

Outbox::Outbox(Node& node, Polling& polling) : node_(node), polling_(polling) {}
Outbox::~Outbox() { Stop(); }

Outbox::Box& Outbox::BoxOf(PeerId to) {
  const std::lock_guard lock(mutex_);
  if (to.slot >= boxes_.size()) boxes_.resize(to.slot + 1);
  std::unique_ptr<Box>& box = boxes_[to.slot];
  if (box == nullptr) box = std::make_unique<Box>(*this);
  return *box;
}

Pool& Outbox::pool() {
  const std::lock_guard lock(mutex_);
  if (pool_ == nullptr)
    pool_ = std::make_unique<Pool>(0, node_.region().max_peers(), std::chrono::nanoseconds(0));
  return *pool_;
}

SendResult Outbox::SendWithPatience(PeerId to, const MessageType& type,
                                    std::span<const std::byte> head, const Outgoing& message,
                                    const CallLife& life) {
  const Pool::Wait wait;
  return SendWithHead(
      node_, to, type, head, message,
      {.when_full = WhenFull::kWait, .timeout = TimeLeft(life.deadline()), .stop = &life});
}

SendResult Outbox::SendPatiently(PeerId to, const MessageType& type,
                                 std::span<const std::byte> head, const Outgoing& message,
                                 const CallLife& life) {
  const SendResult tried = TrySendWithHead(node_, to, type, head, message);
  if (!MayGoLater(tried)) [[likely]]
    return tried;
  return SendWithPatience(to, type, head, message, life);
}

void Outbox::Keep(PeerId to, const MessageType& type, std::uint64_t call, std::string bytes) {
  BoxOf(to).Keep(to, type, call, std::move(bytes));
}

void Outbox::QueueEnd(PeerId to, const MessageType& type, std::uint64_t call, std::string bytes) {
  Box& box = BoxOf(to);
  box.Queue(*new QueuedEnd(box, to, type, call, std::move(bytes)));
}

SendResult Outbox::TrySend(PeerId to, const Note& note, std::chrono::nanoseconds for_others) {
  if (note.kind == CallFrameKind::kEnd) {
    const EndFrame end(node_, to, note.call,
                       {StatusCode::RESOURCE_EXHAUSTED,
                        "the client has not taken the ends of its calls: no memory for another"});
    return TrySendWithHead(node_, to, end.type(), end.head(), {});
  }
  const CallHeader header{.sender = node_.id().incarnation,
                          .receiver = to.incarnation,
                          .call_high = static_cast<std::uint32_t>(note.call >> 32),
                          .argument = note.argument};
  const SendResult result = node_.Send(
      to, {.kind = ToFrameKind(note.kind), .type = static_cast<std::uint32_t>(note.call)},
      std::as_bytes(std::span(&header, 1)), {.when_full = WhenFull::kFail, .timeout = for_others});
  return result == SendResult::kTimedOut ? SendResult::kBusy : result;
}

void Outbox::SendNote(PeerId to, const Note& note) {
  // Another thread's message is over in a moment, and perhaps nobody polls to send this later.
  const std::chrono::nanoseconds for_others =
      polling_.InPoll() ? std::chrono::nanoseconds(0) : SendOptions().timeout;
  if (FoundNoRoom(TrySend(to, note, for_others))) [[unlikely]]
    BoxOf(to).Keep(to, note);
}

bool Outbox::HasRoom(PeerId to) { return BoxOf(to).HasRoom(); }
void Outbox::Queue(QueuedFrame& frame) { BoxOf(frame.to()).Queue(frame); }

bool Outbox::IsGivenUp(const QueuedFrame& frame) const noexcept {
  return !frame.IsWanted() || !node_.IsLive(frame.to_) ||
         (stopped_.load(std::memory_order_acquire) && Clock::now() >= last_moment_);
}

void Outbox::Stop() {
  if (stopped_.load(std::memory_order_relaxed)) return;
  last_moment_ = Clock::now() + kGrace;
  stopped_.store(true, std::memory_order_release);
  // Waits for the jobs.
  pool_.reset();
  for (const std::unique_ptr<Box>& box : boxes_) {
    if (box != nullptr) box->EmptyQueue();
  }
}

}  // namespace ivmq::rpc::internal
