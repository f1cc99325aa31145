// One region each in this process, in a file and of a server, in which peers come and go as fast as
// they can, under ever new names: they send, lend, publish, offer services, leave in order or are
// killed. A resident peer stays. Afterwards everything is as it was before: slots, arena,
// descriptors and memory, here and in the server.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ivmq/address.h"
#include "ivmq/inproc.h"
#include "ivmq/internal/arena.h"
#include "ivmq/internal/peer_slot.h"
#include "ivmq/internal/peer_table.h"
#include "ivmq/node.h"

#include "common/arguments.h"
#include "common/fault_log.h"
#include "common/place.h"
#include "common/process.h"
#include "common/table.h"

namespace ivmq::campaign {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kRegionBytes = std::uint64_t{32} << 20;
constexpr std::uint32_t kMaxPeers = 64;
// Of one region within a process, which lends each ivposition once.
constexpr std::uint64_t kMostOfInproc = 60'000;
// What is kept by the allocator and by libraries may still grow a little once all has been used.
constexpr std::uint64_t kMostGrowth = (std::uint64_t{4} << 20) + kKeptBySanitizer;
// For a step that takes microseconds, and for the resident peer to free what is left.
constexpr seconds kLimit{30};

enum class Kind : std::uint8_t { kInproc, kFile, kUnix, kCount };
constexpr std::size_t kKinds = static_cast<std::size_t>(Kind::kCount);

// A server keeps the doorbells of an id for the next one that gets it, and so does everybody who
// knows it: eight for each of the ids that were in use at once.
constexpr std::size_t kMostDoorbells = 8 * std::size_t{64};

enum class Fault : std::uint8_t {
  kRefused,  // a node or a connection that was not opened
  kLost,     // a message that the resident peer did not get
  kSlots,
  kArena,
  kDescriptors,
  kMemory,
  kHung,
  kCrashed,
  kCount,
};

struct Wear {
  std::atomic<std::uint64_t> attached{0};
  std::atomic<std::uint64_t> connected{0};  // without a peer
  std::atomic<std::uint64_t> sent{0};
  std::atomic<std::uint64_t> received{0};
  std::atomic<std::uint64_t> lent{0};
  std::atomic<std::uint64_t> forgotten{0};  // durable ones
  std::atomic<std::uint64_t> killed{0};
  std::atomic<std::uint64_t> growth{0};         // bytes of this process, since the first tenth
  std::atomic<std::uint64_t> server_growth{0};  // and of ivmqd
  std::atomic<bool> may_kill{false};
  std::atomic<std::int64_t> stepped_at{0};
  FaultLog<Fault> faults;
};

// What must be the same before and after.
struct Level {
  std::size_t slots = 0;  // that are not free
  std::uint32_t units_free = 0;
  std::uint32_t rings = 0;
  std::uint32_t extents = 0;
  std::size_t descriptors = 0;
  std::size_t server_descriptors = 0;

  // Whether it is still, or again, that of `before`.
  [[nodiscard]] bool IsLike(const Level& before) const {
    return slots == before.slots && units_free == before.units_free && rings == before.rings &&
           extents == before.extents && HasDescriptorsLike(before);
  }
  [[nodiscard]] bool HasDescriptorsLike(const Level& before) const {
    const bool has_server = before.server_descriptors != 0;
    const std::size_t most = has_server ? kMostDoorbells : 0;
    return descriptors >= before.descriptors && descriptors <= before.descriptors + most &&
           server_descriptors >= before.server_descriptors &&
           server_descriptors <= before.server_descriptors + most;
  }
};

// The process of one place.
class Worker {
 public:
  // `place`: none for a region within the process.
  Worker(Wear& wear, Kind kind, std::uint64_t seed, const Place* place)
      : wear_(wear),
        kind_(kind),
        random_(seed),
        address_(place == nullptr ? "inproc:" : place->address()),
        server_(place == nullptr ? -1 : place->server()) {}

  int Run(seconds duration);

 private:
  // Until `end`, or until another region is needed. False: it could not begin.
  bool RunRegion(Clock::time_point end);
  void Step();
  Result<std::unique_ptr<Transport>> Join() const {
    if (inproc_ != nullptr) return inproc_->Join();
    return OpenTransport(address_);
  }
  Result<std::unique_ptr<Node>> Open(const std::string& name, bool durable = false) const {
    auto transport = Join();
    if (!transport.ok()) return transport.status();
    return Node::Open(*std::move(transport), {.name = name, .durable = durable});
  }
  void Attach();
  void Use(Node& node);
  // Connects and goes away, without ever being a peer.
  void Connect();
  // In a process of its own, forked before there were threads: peers that it kills.
  int Kill(std::uint64_t seed) const;
  [[nodiscard]] Level Look() const;
  void Compare(const Level& before);
  void Fail(Fault fault, const std::string& text) const {
    wear_.faults.Add(fault, fmt::format("{}: {}", address_, text));
  }
  std::uint64_t Below(std::uint64_t limit) { return random_() % limit; }

  Wear& wear_;
  const Kind kind_;
  std::mt19937_64 random_;
  const std::string address_;
  const pid_t server_;
  std::shared_ptr<InprocRegion> inproc_;
  std::unique_ptr<Node> resident_;
  std::vector<std::byte> bytes_ = std::vector<std::byte>(400'000);
  std::uint64_t names_ = 0;
  std::uint64_t memory_ = 0;  // of this process, after a tenth of the time
  std::uint64_t server_memory_ = 0;
};

int Worker::Kill(std::uint64_t seed) const {
  std::mt19937_64 random(seed);
  while (!wear_.may_kill) std::this_thread::sleep_for(milliseconds(1));
  for (std::uint64_t number = 0;; ++number) {
    const pid_t pid = Fork([&] {
      const auto node = Open(fmt::format("mortal-{}", number));
      if (!node.ok()) return 0;  // all slots may be taken at the moment
      if (const auto peer = (*node)->Lookup("resident"); peer.ok()) {
        for (;;) (void)(*node)->Send(peer->id, {.type = 1, .name = {}}, bytes_);
      }
      return 0;
    });
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 20'000));
    KillAndWait(pid);
    ++wear_.killed;
  }
}

void Worker::Use(Node& node) {
  const auto peer = node.Lookup("resident");
  if (!peer.ok()) return Fail(Fault::kLost, peer.status().ToString());
  if (Below(8) == 0) (void)node.SetServices({fmt::format("wear.S{}", names_)});
  if (Below(8) == 0) {
    auto topic = node.Advertise(fmt::format("wear/{}", names_));
    if (topic.ok()) (void)topic->Publish(std::string_view("once"));
  }
  const SendOptions options{.when_full = WhenFull::kWait, .timeout = kLimit};
  const bool lends = Below(8) == 0;
  SendResult result = SendResult::kOk;
  if (lends) {
    auto sender = node.OpenSender("resident");
    if (!sender.ok()) return Fail(Fault::kLost, sender.status().ToString());
    auto loan = sender->Loan(bytes_.size(), {}, options);
    result = loan.result() == SendResult::kOk ? loan.Publish() : loan.result();
  } else {
    result = node.Send(peer->id, std::span<const std::byte>(bytes_).first(Below(1000)), options);
  }
  if (result != SendResult::kOk) {
    return Fail(Fault::kLost, node.Explain(result, peer->id).ToString());
  }
  ++wear_.sent;
  wear_.lent += lends ? 1U : 0U;
}

void Worker::Attach() {
  const bool durable = Below(50) == 0;
  const std::string name = fmt::format("wear-{}", ++names_);
  {
    const auto node = Open(name, durable);
    if (!node.ok()) return Fail(Fault::kRefused, node.status().ToString());
    ++wear_.attached;
    if (Below(4) == 0) Use(**node);
  }
  if (!durable) return;
  const Status forgotten = PeerTable(resident_->region()).Forget(name);
  if (!forgotten.ok()) return Fail(Fault::kSlots, forgotten.ToString());
  ++wear_.forgotten;
}

void Worker::Connect() {
  const auto transport = Join();
  if (!transport.ok()) return Fail(Fault::kRefused, transport.status().ToString());
  ++wear_.connected;
}

Level Worker::Look() const {
  const Region& region = resident_->region();
  Level level;
  for (std::uint32_t slot = 0; slot < region.max_peers(); ++slot) {
    level.slots += LoadLife(region.slot(slot)).state == layout::PeerState::kFree ? 0U : 1U;
  }
  const ArenaStats arena = Arena(region).Stats();
  level.units_free = arena.units_free;
  level.rings = arena.rings;
  level.extents = arena.extents;
  level.descriptors = DescriptorsOf(getpid());
  if (server_ > 0) level.server_descriptors = DescriptorsOf(server_);
  return level;
}

void Worker::Compare(const Level& before) {
  const Clock::time_point until = Clock::now() + kLimit;
  Level after = Look();
  while (!after.IsLike(before) && Clock::now() < until) {
    wear_.stepped_at = MonotonicNanoseconds();
    std::this_thread::sleep_for(milliseconds(20));
    after = Look();
  }
  if (after.slots != before.slots) {
    Fail(Fault::kSlots, fmt::format("{} slots in use, {} before", after.slots, before.slots));
  }
  if (after.units_free != before.units_free || after.rings != before.rings ||
      after.extents != before.extents) {
    Fail(Fault::kArena,
         fmt::format("{} units free, {} rings, {} extents; before {}, {}, {}", after.units_free,
                     after.rings, after.extents, before.units_free, before.rings, before.extents));
  }
  if (!after.HasDescriptorsLike(before)) {
    Fail(Fault::kDescriptors,
         fmt::format("{} descriptors, {} of the server; before {}, {}", after.descriptors,
                     after.server_descriptors, before.descriptors, before.server_descriptors));
  }
}

void Worker::Step() {
  wear_.stepped_at = MonotonicNanoseconds();
  if (kind_ == Kind::kUnix && Below(4) != 0) {
    Connect();
  } else {
    Attach();
  }
}

bool Worker::RunRegion(Clock::time_point end) {
  if (kind_ == Kind::kInproc) {
    auto made = InprocRegion::Create(kRegionBytes, {.max_peers = kMaxPeers});
    if (!made.ok()) {
      Fail(Fault::kRefused, made.status().ToString());
      return false;
    }
    inproc_ = *std::move(made);
  }
  pid_t killer = -1;
  if (kind_ != Kind::kInproc) {
    const std::uint64_t seed = random_();
    killer = Fork([&] { return Kill(seed); });
  }
  auto opened = Open("resident");
  if (!opened.ok()) {
    Fail(Fault::kRefused, opened.status().ToString());
    return false;
  }
  resident_ = *std::move(opened);
  std::jthread poller([this](const std::stop_token& stop) {
    (void)resident_->Run(stop, [this](const Message& message) {
      if (message.type != 1) ++wear_.received;
    });
  });
  const Clock::time_point begin = Clock::now();
  const Level before = Look();
  wear_.may_kill = true;
  for (std::uint64_t count = 0; Clock::now() < end; ++count) {
    if (kind_ == Kind::kInproc && count == kMostOfInproc) break;
    // What is made at the first use is no wear.
    if (memory_ == 0 && Clock::now() > begin + (end - begin) / 10) {
      memory_ = MemoryOf(getpid());
      if (server_ > 0) server_memory_ = MemoryOf(server_);
    }
    Step();
  }
  if (killer > 0) KillAndWait(killer);
  const Clock::time_point until = Clock::now() + kLimit;
  while (wear_.received < wear_.sent && Clock::now() < until) {
    std::this_thread::sleep_for(milliseconds(5));
  }
  if (wear_.received != wear_.sent) {
    Fail(Fault::kLost, fmt::format("{} of {} arrived", wear_.received.load(), wear_.sent.load()));
  }
  Compare(before);
  poller.request_stop();
  poller.join();
  resident_.reset();
  return true;
}

int Worker::Run(seconds duration) {
  const Clock::time_point end = Clock::now() + duration;
  while (Clock::now() < end) {
    if (!RunRegion(end)) return 1;
    inproc_.reset();
  }
  const auto growth = [](pid_t pid, std::uint64_t before) {
    const std::uint64_t now = MemoryOf(pid);
    return now > before ? now - before : 0;
  };
  wear_.growth = growth(getpid(), memory_);
  if (server_ > 0) wear_.server_growth = growth(server_, server_memory_);
  if (wear_.growth > kMostGrowth || wear_.server_growth > kMostGrowth) {
    Fail(Fault::kMemory, fmt::format("{} KiB more, {} KiB of the server", wear_.growth >> 10,
                                     wear_.server_growth >> 10));
  }
  return 0;
}

using Wears = std::array<Wear, kKinds>;

Table Tabulate(const Wears& wears) {
  Table table("peers that come and go, over", {"inproc:", "file:", "unix:"});
  const auto values = [&](std::atomic<std::uint64_t> Wear::*member, int shift = 0) {
    Table::Values of_all;
    for (const Wear& wear : wears) of_all.push_back((wear.*member).load() >> shift);
    return of_all;
  };
  const auto promise = [&](std::string_view what, Fault fault) {
    Table::Values of_all;
    for (const Wear& wear : wears) of_all.push_back(wear.faults.count(fault));
    table.Promise(what, of_all);
  };
  table.Needed("attached", values(&Wear::attached));
  table.Figure("connected without being a peer", values(&Wear::connected));
  table.Needed("messages sent to the resident peer", values(&Wear::sent));
  table.Needed("  of them lent", values(&Wear::lent));
  table.Figure("durable ones forgotten", values(&Wear::forgotten));
  table.Figure("killed", values(&Wear::killed));
  table.Figure("memory grew by KiB", values(&Wear::growth, 10));
  table.Figure("  of the server", values(&Wear::server_growth, 10));
  table.Heading("promised: none");
  promise("  refused", Fault::kRefused);
  promise("  messages lost", Fault::kLost);
  promise("  slots not as before", Fault::kSlots);
  promise("  arena not as before", Fault::kArena);
  promise("  descriptors not as before", Fault::kDescriptors);
  promise("  memory grew by more than 4 MiB", Fault::kMemory);
  promise("  steps that did not end", Fault::kHung);
  promise("  crashes", Fault::kCrashed);
  return table;
}

bool Run(const Arguments& arguments) {
  const Shared<Wears> wears;
  const auto make = [](bool over_unix) {
    return std::make_unique<Place>(
        PlaceOptions{.over_unix = over_unix, .region_bytes = kRegionBytes, .max_peers = kMaxPeers});
  };
  const auto file = make(false);
  const auto served = make(true);
  std::array<pid_t, kKinds> workers{};
  for (std::size_t i = 0; i < kKinds; ++i) {
    wears->at(i).stepped_at = MonotonicNanoseconds();
    workers.at(i) = Fork([&, i] {
      const auto kind = static_cast<Kind>(i);
      const Place* const place = kind == Kind::kFile   ? file.get()
                                 : kind == Kind::kUnix ? served.get()
                                                       : nullptr;
      return Worker(wears->at(i), kind, arguments.seed + i, place).Run(arguments.duration);
    });
  }
  for (std::size_t i = 0; i < kKinds; ++i) {
    Wear& wear = wears->at(i);
    for (;;) {
      if (const std::optional<int> end = EndOf(workers.at(i))) {
        if (*end != 0) wear.faults.Add(Fault::kCrashed, TextOfEnd(*end));
        break;
      }
      const std::int64_t still = MonotonicNanoseconds() - wear.stepped_at;
      if (still > std::chrono::nanoseconds(3 * kLimit).count()) {
        wear.faults.Add(Fault::kHung, fmt::format("the worker of column {} stands still", i + 1));
        KillAndWait(workers.at(i));
        break;
      }
      std::this_thread::sleep_for(milliseconds(20));
    }
  }
  if (const Status status = served->EndServer(); !status.ok()) {
    wears->back().faults.Add(Fault::kCrashed, status.ToString());
  }
  const Table table = Tabulate(*wears);
  table.Print();
  for (const Wear& wear : *wears) fmt::print("{}", wear.faults.Texts());
  if (!table.holds()) fmt::print("{}{}", file->Keep(), served->Keep());
  return table.holds();
}

}  // namespace
}  // namespace ivmq::campaign

int main(int argc, char** argv) { return ivmq::campaign::Main(argc, argv, ivmq::campaign::Run); }
