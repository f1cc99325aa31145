// One word of a ring, of its cell or of its units is overwritten: what is lost is reported, and the
// pair goes on. Each damage is done to a pair of its own; the pairs of a test go on at once.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/internal/ring.h"
#include "ivmq/node.h"

#include "support/node_pair.h"

namespace ivmq {
namespace {

using layout::Cell;
using layout::CellState;
using layout::Counter;
using layout::RingHeader;
using testing::Hub;
using testing::kPatience;
using testing::OpenNode;

constexpr std::uint64_t kMessageBytes = 100;
constexpr std::uint64_t kRecordBytes = 120;
// Handled before the damage: so many that a pad stands behind the second of those that wait then.
constexpr std::uint32_t kHandled = layout::kMinRingCapacity / kRecordBytes - 2;
constexpr std::uint32_t kUnread = 6;
constexpr std::uint32_t kFirstLate = 1000;
constexpr std::uint32_t kFirstLast = 2000;
constexpr std::uint32_t kLast = 5;

// How the consumer waits.
enum class Waiting : std::uint8_t { kSleeps, kPolls };

// A producer, its consumer, and a bystander that sends to the same consumer.
class Pair {
 public:
  Pair(Waiting waiting, bool durable_producer)
      : waiting_(waiting),
        durable_producer_(durable_producer),
        hub_(std::size_t{512} << 10, {.max_peers = 4, .ring_capacity = layout::kMinRingCapacity}) {
    OpenConsumer();
    OpenProducer();
    bystander_ = Open("bystander", 3, false);
    Send(*bystander_, 0);
    while (heard_ == 0) (void)consumer_->Poll(handler_);
    while (sent_ < kHandled) {
      Send(*producer_, sent_++);
      while (received_ < sent_) (void)consumer_->Poll(handler_);
    }
    while (sent_ < kHandled + kUnread - 2) Send(*producer_, sent_++);
    Batch batch = producer_->StartBatch(consumer_->id());
    for (; sent_ < kHandled + kUnread; ++sent_) {
      std::span<std::byte> payload;
      EXPECT_EQ(batch.TryClaim({.type = sent_}, kMessageBytes, &payload), SendResult::kOk);
    }
    EXPECT_EQ(batch.Commit(), SendResult::kOk);
    row_ = consumer_->id().slot;
    column_ = producer_->id().slot;
  }
  ~Pair() { Pause(); }
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;

  // ---- What can be overwritten ----

  [[nodiscard]] const Region& region() const { return hub_.region(); }
  [[nodiscard]] layout::Word& cell() const { return region().cell(CellOf(column_)); }
  [[nodiscard]] layout::Word& bystanders_cell() const {
    return region().cell(CellOf(bystander_->id().slot));
  }
  [[nodiscard]] RingView ring() const { return *region().RingOf(Cell::FromWord(cell().load())); }
  [[nodiscard]] layout::PeerSlot& consumers_slot() const { return region().slot(row_); }
  // The commit word of the unread record, or pad, with that number.
  [[nodiscard]] layout::Word& CommitWord(std::size_t number) const {
    const RingView view = ring();
    std::uint64_t position = first_unread_;
    for (std::size_t i = 0; i < number; ++i) {
      const std::uint64_t word = view.CommitWordAt(position).load();
      position += layout::RecordSize(layout::CommitLength(word));
    }
    return view.CommitWordAt(position);
  }

  // ---- What happens ----

  // Has the first ring be given up, and a second one begun that the consumer has not seen.
  void BeginSecondRing() {
    CommitWord(0).store(~std::uint64_t{0});
    EXPECT_TRUE(Await([&] {
      (void)consumer_->Poll(handler_);
      return told_ == 2 && Cell::FromWord(cell().load()).state == CellState::kEmpty;
    }));
    first_unread_ = 0;
    told_ = 0;
    sent_ = received_;
    while (sent_ < kHandled + kUnread) Send(*producer_, sent_++);
  }
  void OpenProducer() { producer_ = Open("producer", 2, durable_producer_); }
  void EndProducer() { producer_.reset(); }
  void OpenConsumer() { consumer_ = Open("consumer", 1, true); }
  void EndConsumer() { consumer_.reset(); }
  void Resume() {
    paused_ = false;
    poller_ = std::thread([this] {
      while (!paused_) {
        if (consumer_->Poll(handler_) != 0) continue;
        if (waiting_ == Waiting::kSleeps) {
          (void)consumer_->Wait(kPatience);
        } else {
          std::this_thread::yield();
        }
      }
    });
  }
  void Pause() {
    if (!poller_.joinable()) return;
    paused_ = true;
    consumer_->Wake();
    poller_.join();
  }

  // Whether all that was sent has arrived, or somebody was told that something is lost.
  [[nodiscard]] bool IsAccountedFor() const {
    return received_ == sent_ || (told_ > 0 && poisoned() > 0);
  }
  bool TrySend() { return SendLate(kFirstLate + sent_); }
  // Whether something arrives that the producer sends now.
  [[nodiscard]] bool Arrives() {
    const std::uint32_t first = kFirstLate + sent_;
    return Await([&] {
      // At each of its heartbeats, so that the ring does not fill while nobody reads it.
      const std::uint64_t beat = region().slot(column_).heartbeat.load();
      if (std::exchange(beat_, beat) != beat) SendLate(kFirstLate + sent_);
      return last_ >= first;
    });
  }
  // Whether what is sent at last arrives, all of it; once more if the damage was found just then.
  [[nodiscard]] bool AllOfTheLastArrive() {
    for (std::uint32_t first = kFirstLast;; first += kLast) {
      const std::uint32_t told = told_;
      first_of_last_ = first;
      last_received_ = 0;
      for (std::uint32_t i = 0; i < kLast; ++i) {
        if (!Await([&] { return SendLate(first + i); })) return false;
      }
      if (!Await([&] { return last_received_ == kLast || told_ != told; })) return false;
      if (last_received_ == kLast) return true;
    }
  }
  // Whether the bystander was harmed.
  [[nodiscard]] bool BystanderIsHeard() {
    const std::uint32_t before = heard_;
    Send(*bystander_, 0);
    return Await([&] { return heard_ > before; });
  }
  [[nodiscard]] bool ProducersSlotIsFree() const {
    return layout::Life::FromWord(region().slot(column_).life.load()).state ==
           layout::PeerState::kFree;
  }
  [[nodiscard]] std::uint32_t told() const { return told_; }

  static bool Await(const std::function<bool()>& done) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (!done()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }

 private:
  std::unique_ptr<Node> Open(const std::string& name, std::uint16_t ivposition, bool durable) {
    NodeOptions options{.name = name, .durable = durable};
    options.on_report = [this](const Status& status) {
      if (status.code() == StatusCode::kDataLoss) ++told_;
    };
    return OpenNode(hub_, ivposition, std::move(options));
  }
  [[nodiscard]] std::uint32_t CellOf(std::uint32_t producer) const {
    return region().CellIndex(row_, producer);
  }
  void Send(Node& from, std::uint32_t number) {
    const std::vector<std::byte> bytes(kMessageBytes);
    EXPECT_EQ(from.Send(consumer_->id(), {.type = number}, bytes), SendResult::kOk);
  }
  bool SendLate(std::uint32_t number) {
    const std::vector<std::byte> bytes(kMessageBytes);
    if (producer_->Send(consumer_->id(), {.type = number}, bytes) != SendResult::kOk) return false;
    ++sent_;
    return true;
  }
  // Of all lives: their counters stand in the slots, but a life's begin at 0.
  [[nodiscard]] std::uint64_t poisoned() const {
    return consumer_->counter(Counter::kRingsPoisoned) +
           (producer_ == nullptr ? 0 : producer_->counter(Counter::kRingsPoisoned));
  }

  const Waiting waiting_;
  const bool durable_producer_;
  Hub hub_;
  std::uint32_t row_ = 0;
  std::uint32_t column_ = 0;
  std::uint64_t first_unread_ = kHandled * kRecordBytes;  // position of what waits at the damage
  std::uint32_t sent_ = 0;                                // by the producer, with success
  std::uint64_t beat_ = 0;
  std::atomic<std::uint32_t> received_{0};  // of those
  std::atomic<std::uint32_t> last_{0};
  std::atomic<std::uint32_t> first_of_last_{kFirstLast};
  std::atomic<std::uint32_t> last_received_{0};
  std::atomic<std::uint32_t> heard_{0};  // of the bystander
  std::atomic<std::uint32_t> told_{0};
  std::function<void(const Message&)> handler_ = [this](const Message& message) {
    if (message.from == bystander_->id()) {
      ++heard_;
      return;
    }
    EXPECT_TRUE(message.type > last_ || message.type == 0) << "in order, and once";
    last_ = message.type;
    ++received_;
    if (message.type >= first_of_last_) ++last_received_;
  };
  std::unique_ptr<Node> consumer_;
  std::unique_ptr<Node> producer_;
  std::unique_ptr<Node> bystander_;
  std::atomic<bool> paused_{false};
  std::thread poller_;
};

struct Damage {
  std::string name;
  std::function<void(const Pair&)> apply;
  bool takes_ring_away = false;  // the cell is as a correct peer leaves one that has no ring
};

constexpr std::uint64_t kOnes = ~std::uint64_t{0};

std::vector<Damage> DamageToRecords() {
  std::vector<Damage> all;
  // The pad is the third.
  for (std::size_t number = 0; number < kUnread + 1; ++number) {
    all.push_back({"commit word " + std::to_string(number) + " zeroed",
                   [=](const Pair& pair) { pair.CommitWord(number).store(0); }});
    all.push_back({"commit word " + std::to_string(number) + " garbled",
                   [=](const Pair& pair) { pair.CommitWord(number).store(0x123456789abcdef0); }});
  }
  return all;
}

std::vector<Damage> DamageToHeader() {
  std::vector<Damage> all;
  const std::pair<const char*, layout::Word32 RingHeader::*> halves[] = {
      {"magic", &RingHeader::magic},
      {"capacity_log2", &RingHeader::capacity_log2},
      {"cell", &RingHeader::cell},
      {"generation", &RingHeader::generation}};
  for (const auto& half : halves) {
    const char* const name = half.first;
    const auto member = half.second;
    for (const std::uint32_t value : {0U, 1U, ~0U}) {
      all.push_back({std::string(name) + " " + std::to_string(value),
                     [=](const Pair& pair) { (pair.ring().header->*member).store(value); }});
    }
  }
  const std::pair<const char*, layout::Word RingHeader::*> words[] = {
      {"delivered", &RingHeader::delivered}, {"acked", &RingHeader::acked},
      {"sender", &RingHeader::sender},       {"released", &RingHeader::released},
      {"dropped", &RingHeader::dropped},     {"space_armed", &RingHeader::space_armed},
      {"committed", &RingHeader::committed}};
  for (const auto& word : words) {
    const char* const name = word.first;
    const auto member = word.second;
    all.push_back({std::string(name) + " zeroed",
                   [=](const Pair& pair) { (pair.ring().header->*member).store(0); }});
    all.push_back({std::string(name) + " all ones",
                   [=](const Pair& pair) { (pair.ring().header->*member).store(kOnes); }});
    all.push_back({std::string(name) + " moved",
                   [=](const Pair& pair) { (pair.ring().header->*member).fetch_add(8); }});
  }
  return all;
}

std::vector<Damage> DamageToCell() {
  std::vector<Damage> all;
  const auto with = [](std::uint64_t word, const std::function<void(Cell&)>& change) {
    Cell cell = Cell::FromWord(word);
    change(cell);
    return cell.ToWord();
  };
  all.push_back({"cell zeroed", [](const Pair& pair) { pair.cell().store(0); }, true});
  all.push_back({"cell all ones", [](const Pair& pair) { pair.cell().store(kOnes); }});
  all.push_back({"cell of another pair",
                 [](const Pair& pair) { pair.cell().store(pair.bystanders_cell().load()); }});
  all.push_back({"cell of another generation", [=](const Pair& pair) {
                   pair.cell().store(with(pair.cell(), [](Cell& cell) { ++cell.generation; }));
                 }});
  all.push_back({"cell of other units", [=](const Pair& pair) {
                   pair.cell().store(with(pair.cell(), [](Cell& cell) { ++cell.first_unit; }));
                 }});
  all.push_back({"cell of another capacity", [=](const Pair& pair) {
                   pair.cell().store(with(pair.cell(), [](Cell& cell) { ++cell.capacity_log2; }));
                 }});
  for (unsigned state = 0; state < 8; ++state) {
    const auto value = static_cast<CellState>(state);
    if (value == CellState::kLive) continue;
    const bool takes_ring_away =
        value == CellState::kEmpty || value == CellState::kCarving || value == CellState::kClosed;
    all.push_back({"cell in state " + std::to_string(state),
                   [=](const Pair& pair) {
                     pair.cell().store(with(pair.cell(), [=](Cell& cell) { cell.state = value; }));
                   },
                   takes_ring_away});
  }
  for (const std::uint64_t value : {std::uint64_t{0}, kOnes}) {
    all.push_back({"owner words " + std::to_string(value), [=](const Pair& pair) {
                     const Cell cell = Cell::FromWord(pair.cell());
                     pair.region().owner(cell.first_unit).store(value);
                     pair.region().owner(cell.first_unit + 1).store(value);
                   }});
    all.push_back({"inbound_changes " + std::to_string(value),
                   [=](const Pair& pair) { pair.consumers_slot().inbound_changes.store(value); }});
  }
  return all;
}

// Who is not there when the damage is done.
enum class Away : std::uint8_t { kNobody, kProducer, kConsumer };
// Whether it comes back before anybody has looked, or when all that was sent is accounted for.
enum class Returns : std::uint8_t { kFirst, kAfterwards };

struct Course {
  const char* name;
  Away away = Away::kNobody;
  Returns returns = Returns::kAfterwards;
  bool durable_producer = false;
  bool second_ring = false;  // one that the consumer has not seen yet
};

constexpr Course kCourses[] = {
    {"WhileBothLive"},
    {"OfADeadProducer", Away::kProducer},
    {"ToASecondRing", Away::kNobody, Returns::kAfterwards, false, true},
    {"ToASecondRingOfADeadProducer", Away::kProducer, Returns::kAfterwards, false, true},
    {"OfAProducerThatIsAway", Away::kProducer, Returns::kAfterwards, true},
    {"FoundByAProducerThatReturns", Away::kProducer, Returns::kFirst, true},
    {"FoundByAConsumerThatReturns", Away::kConsumer, Returns::kFirst},
};

// The damage is done while `course` takes its way.
void DoDamage(const Course& course, const Damage& damage, Waiting waiting) {
  Pair pair(waiting, course.durable_producer);
  if (course.second_ring) pair.BeginSecondRing();
  if (course.away == Away::kProducer) pair.EndProducer();
  if (course.away == Away::kConsumer) pair.EndConsumer();
  damage.apply(pair);
  if (course.returns == Returns::kFirst) {
    if (course.away == Away::kConsumer) pair.OpenConsumer();
    if (course.away == Away::kProducer) {
      pair.OpenProducer();
      (void)pair.TrySend();
    }
  }
  pair.Resume();
  const auto is_accounted_for = [&] { return pair.IsAccountedFor(); };
  if (course.away == Away::kProducer && course.returns == Returns::kAfterwards) {
    // A cell that the consumer has never seen naming the ring tells nobody anything.
    if (!course.second_ring || !damage.takes_ring_away) {
      EXPECT_TRUE(Pair::Await(is_accounted_for));
    }
    if (!course.durable_producer) {
      EXPECT_TRUE(Pair::Await([&] { return pair.ProducersSlotIsFree(); }));
    }
    pair.OpenProducer();
    EXPECT_TRUE(pair.Arrives());
  } else {
    EXPECT_TRUE(pair.Arrives());
    EXPECT_TRUE(Pair::Await(is_accounted_for));
  }
  EXPECT_TRUE(pair.AllOfTheLastArrive());
  EXPECT_TRUE(pair.BystanderIsHeard());
}

using Damages = std::vector<Damage> (*)();
class RingDamageTest : public ::testing::TestWithParam<std::tuple<Course, Waiting, Damages>> {};

// Each damage at once.
TEST_P(RingDamageTest, IsReportedOrHealedAndThePairGoesOn) {
  const auto& [course, waiting, damages] = GetParam();
  const std::vector<Damage> all = damages();
  std::vector<std::thread> threads;
  threads.reserve(all.size());
  for (const Damage& damage : all) {
    threads.emplace_back([&, &course = course, waiting = waiting] {
      SCOPED_TRACE(damage.name);
      DoDamage(course, damage, waiting);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

std::string NameOf(const ::testing::TestParamInfo<RingDamageTest::ParamType>& suite) {
  const auto& [course, waiting, damages] = suite.param;
  const char* const word = damages == &DamageToRecords  ? "ToRecords"
                           : damages == &DamageToHeader ? "ToHeader"
                                                        : "ToCell";
  return std::string(course.name) + word + (waiting == Waiting::kSleeps ? "Asleep" : "Polling");
}
INSTANTIATE_TEST_SUITE_P(All, RingDamageTest,
                         ::testing::Combine(::testing::ValuesIn(kCourses),
                                            ::testing::Values(Waiting::kSleeps, Waiting::kPolls),
                                            ::testing::Values(&DamageToRecords, &DamageToHeader,
                                                              &DamageToCell)),
                         NameOf);

}  // namespace
}  // namespace ivmq
