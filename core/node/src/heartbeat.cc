#include "src/heartbeat.h"

#include <chrono>
#include <utility>

#include "ivmq/internal/str_cat.h"

namespace ivmq {
namespace {

using layout::Life;
using layout::PeerState;

constexpr std::chrono::milliseconds kPeriod{250};

}  // namespace

Heartbeat::Heartbeat(NodeContext& context, Writers& writers, Heap& heap, Readers& readers,
                     TopicBoard& board, Publications& publications)
    : context_(context),
      writers_(writers),
      heap_(heap),
      readers_(readers),
      board_(board),
      publications_(publications),
      life_(context.region.max_peers()),
      heartbeat_(context.region.max_peers()),
      still_(std::make_unique<std::atomic<std::uint32_t>[]>(context.region.max_peers())) {
  thread_ = std::thread([this] { Run(); });
}

Heartbeat::~Heartbeat() { Stop(); }

void Heartbeat::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  stopping_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Heartbeat::Run() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    lock.unlock();
    Tick();
    lock.lock();
    stopping_.wait_for(lock, kPeriod, [this] { return stop_; });
  }
}

void Heartbeat::Tick() {
  CheckPlace();
  if (context_.IsMyLife()) ShowLife();
  if (context_.IsMyLife()) WatchOthers();
  writers_.Housekeep();
  heap_.Housekeep();
  readers_.RequestHousekeeping();
  publications_.Attend(/*sleeps=*/true);
  AttendTransport();
  if (context_.IsMyLife()) WatchServer();

  // A sleeper may have to tell its watcher, or to sleep shorter. Who changed the table rings for
  // that if it can.
  const std::uint64_t generation = context_.table.generation();
  if (generation != generation_seen_) {
    generation_seen_ = generation;
    context_.sleeper->Notify();
  }
}

void Heartbeat::CheckPlace() {
  if (!context_.IsMyLife()) return;
  if (context_.region.IsReplaced()) {
    context_.EndLife(
        "is over: the header of its memory names another region: this guest was restored, or its "
        "device has other memory");
  } else if (const Status place = context_.transport->CheckPlace(); !place.ok()) {
    context_.EndLife(StrCat("is over: ", place.message()));
  }
}

void Heartbeat::AttendTransport() {
  if (!context_.IsMyLife()) {
    // A life that is over needs no other connection.
    if (context_.transport->control_fd() >= 0) (void)context_.transport->HandleControl();
    return;
  }
  const Status news = context_.transport->Attend(
      [this](std::uint16_t ivposition) { return context_.MoveLife(ivposition); });
  if (!news.ok()) context_.Report(news);
  // Who read the former ivposition before the move rang the former doorbell: what it sent is there,
  // and is seen by the look that follows.
  if (context_.sleeper->Rewatch()) context_.sleeper->Notify();
}

void Heartbeat::WatchServer() {
  layout::Header& header = context_.region.header();
  const Doorbell::Served served = context_.transport->served();
  const std::uint64_t epoch = header.server_epoch.load(std::memory_order_relaxed);
  if (served == Doorbell::Served::kNever) {
    header.orphaned.store(epoch, std::memory_order_relaxed);
  } else if (served == Doorbell::Served::kYes || epoch == 0 ||
             header.orphaned.load(std::memory_order_relaxed) != epoch) {
    return;
  }
  if (std::exchange(is_orphaned_, true)) return;
  context_.Report(
      Status(StatusCode::kUnavailable,
             StrCat(context_.transport->info().address,
                    ": the server has ended, and nobody can join this region any more, since only "
                    "its peers have its memory. They go on, but those who start now meet in "
                    "another region: to join them, open the node again on the host, and start "
                    "QEMU again for a guest; `ivmq doctor` on the host says for which")));
}

// All words that only this node writes are stored anew, so that damage to them does not last.
void Heartbeat::ShowLife() {
  layout::PeerSlot& slot = context_.slot();
  const ClaimedSlot& self = context_.self;
  context_.table.WriteIdentity(self.id, context_.identity, *context_.transport);
  {
    const std::lock_guard lock(context_.services_mutex);
    if (!context_.IsMyLife()) return;
    (void)context_.table.WriteServices(self.id, context_.services);
  }
  board_.Restore();
  slot.heartbeat.store(++beats_, std::memory_order_relaxed);
  ShowCounters();
}

void Heartbeat::ShowCounters() noexcept {
  layout::PeerSlot& slot = context_.slot();
  for (std::size_t i = 0; i < layout::kCounterWords; ++i) {
    const auto counter = static_cast<layout::Counter>(i);
    slot.counters[i].store(
        context_.counters[i].load(std::memory_order_relaxed) + writers_.Sum(counter),
        std::memory_order_relaxed);
  }
}

void Heartbeat::WatchOthers() {
  bool any_dead = false;
  bool any_still = false;
  bool partner_died = false;
  std::uint64_t lives = 0;
  std::uint64_t suspects = 0;
  for (std::uint32_t s = 0; s < context_.region.max_peers(); ++s) {
    const layout::PeerSlot& slot = context_.region.slot(s);
    const std::uint64_t life_word = slot.life.load(std::memory_order_acquire);
    const Life life = Life::FromWord(life_word);
    if (life.state == PeerState::kDead) {
      any_dead = true;
      partner_died |= life_word != life_[s] && context_.HasRingWith(s);
    }
    std::uint32_t still = 0;
    if (life.state == PeerState::kLive || life.state == PeerState::kClaiming) {
      const std::uint64_t heartbeat = slot.heartbeat.load(std::memory_order_relaxed);
      if (life_word == life_[s] && heartbeat == heartbeat_[s]) {
        still = still_[s].load(std::memory_order_relaxed) + 1;
      }
      heartbeat_[s] = heartbeat;
    }
    life_[s] = life_word;
    still_[s].store(still, std::memory_order_relaxed);
    any_still |= still >= 2;
    const bool suspected = life.state == PeerState::kLive && still >= kSuspectAfter;
    lives = lives * 31 + life_word;
    suspects = suspects * 31 + (suspected ? life_word : 0);
    // A claim takes microseconds; one that stands still has nothing to lose but itself.
    if (still >= kSuspectAfter && life.state == PeerState::kClaiming) {
      context_.table.EndClaim(s, life);
    }
  }
  // What nobody else says: whom this node suspects, and that a process was killed between changing
  // its life word and saying so. The former at once: a watcher may have taken the last change in
  // already, and there may be no other.
  const std::uint64_t generation = context_.table.generation();
  if (suspects != suspects_seen_ || (lives != lives_seen_ && generation == generation_seen_)) {
    context_.region.header().peers_generation.fetch_add(1, std::memory_order_release);
  }
  lives_seen_ = lives;
  suspects_seen_ = suspects;

  std::uint32_t marked = 0;
  if (any_still && context_.transport->lock_domain() != 0) {
    marked = context_.table.MarkUnlockedDead(*context_.transport, context_.self.id.slot);
  }
  if (any_dead || marked != 0) context_.table.Reclaim();
  if (partner_died) {
    // Who marked it may not have said so: the poller looks after the rings.
    context_.slot().inbound_changes.fetch_add(1, std::memory_order_relaxed);
    context_.sleeper->Notify();
  }
  if (marked != 0) context_.table.WakeAll(*context_.transport, context_.self.id.slot);
}

}  // namespace ivmq
