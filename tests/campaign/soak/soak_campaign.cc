// Sixteen peers of a server's region under load: twelve stay, four leave, are killed and return all
// the time. What those who stay send each other arrives; their memory, their descriptors and the
// arena are at the end what they were when all had been used once.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ivmq/address.h"
#include "ivmq/internal/arena.h"
#include "ivmq/internal/peer_slot.h"
#include "ivmq/node.h"
#include "ivmq/rpc/generic.h"

#include "common/arguments.h"
#include "common/fault_log.h"
#include "common/mortals.h"
#include "common/place.h"
#include "common/process.h"
#include "common/table.h"

namespace ivmq::campaign {
namespace {

using rpc::ClientContext;
using rpc::Endpoint;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kSteady = 12;
constexpr std::uint32_t kPeers = 16;
constexpr std::string_view kSay = "/campaign.Echo/Say";
constexpr milliseconds kTick{5};
// For a step of a peer, and for what is on its way at the end.
constexpr seconds kLimit{40};
// A message of each of the others may be half assembled, and their buffers are kept.
constexpr std::uint64_t kMostGrowth = (std::uint64_t{16} << 20) + kKeptBySanitizer;
// Doorbells of ids that came later: eight for each.
constexpr std::uint64_t kMostDoorbells = 8 * std::uint64_t{32};

enum class Part : std::uint8_t { kLoad, kSettle, kEnd };

enum class Fault : std::uint8_t {
  kLost,
  kOrder,
  kTopic,  // a message of a topic that is missing and not counted, or that came twice
  kCall,   // between two who stay
  kMemory,
  kDescriptors,
  kArena,
  kSlots,
  kHung,
  kCrashed,
  kCount,
};

struct Level {
  std::uint64_t memory = 0;
  std::uint64_t descriptors = 0;
};

struct Peer {
  std::atomic<bool> leaves{false};
  std::atomic<bool> ready{false};
  std::atomic<bool> done{false};  // sends nothing more
  std::atomic<std::int64_t> stepped_at{0};
  std::array<std::atomic<std::uint64_t>, kSteady> sent{};     // to each who stays, if it stays
  std::array<std::atomic<std::uint64_t>, kSteady> handled{};  // from each
};

struct Stage {
  std::atomic<Part> part{Part::kLoad};
  std::array<Peer, kPeers> peers;
  FaultLog<Fault> faults;
  std::atomic<std::uint64_t> messages{0};
  std::atomic<std::uint64_t> bytes{0};
  std::atomic<std::uint64_t> calls{0};
  std::atomic<std::uint64_t> loans{0};
  std::atomic<std::uint64_t> published{0};
  std::atomic<std::uint64_t> topic_messages{0};
  std::atomic<std::uint64_t> topic_missed{0};
  Deaths deaths;
  // The most that one of those who stay has got more, and the server.
  std::atomic<std::uint64_t> growth{0};
  std::atomic<std::uint64_t> server_growth{0};
};

std::string NameOf(std::uint32_t peer) {
  return (peer < kSteady ? "steady-" : "passing-") + std::to_string(peer);
}

// ---- Peers ----

class Worker {
 public:
  Worker(Stage& stage, std::uint32_t self, std::uint64_t seed)
      : stage_(stage), self_(self), me_(stage.peers.at(self)), random_(seed), bytes_(400'000) {
    service_.AddUnary(std::string(kSay), [](rpc::ServerContext* /*context*/,
                                            const std::string* request, std::string* response) {
      *response = *request;
      return Status();
    });
  }

  int Run(const std::string& address);

 private:
  struct Head {
    std::uint64_t number;
    std::uint32_t from;
    std::uint32_t size;
  };

  Status Open(const std::string& address);
  void Act();
  void Handle(const Message& message);
  void HandleTopic(const TopicMessage& message);
  void SendTo(std::uint32_t to, bool lends);
  void Call(std::uint32_t to);
  [[nodiscard]] bool IsSteady(std::uint32_t peer) const { return peer < kSteady; }
  [[nodiscard]] Node& node() const { return endpoint_->node(); }
  std::uint64_t Below(std::uint64_t limit) { return random_() % limit; }
  void Fail(Fault fault, const std::string& text) const {
    stage_.faults.Add(fault, NameOf(self_) + ": " + text);
  }

  Stage& stage_;
  const std::uint32_t self_;
  Peer& me_;
  std::mt19937_64 random_;
  std::vector<std::byte> bytes_;
  rpc::GenericService service_;
  std::shared_ptr<Endpoint> endpoint_;
  std::unique_ptr<rpc::Server> server_;
  std::array<std::shared_ptr<rpc::Channel>, kPeers> channels_;
  std::map<std::uint32_t, Sender> senders_;
  std::optional<Topic> topic_;
  std::optional<Subscription> subscription_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint64_t> heard_;  // by publisher's life
};

Status Worker::Open(const std::string& address) {
  auto endpoint =
      Endpoint::Open(address, {.node = {.name = NameOf(self_)},
                               .on_message = [this](const Message& message) { Handle(message); }});
  if (!endpoint.ok()) return endpoint.status();
  endpoint_ = *std::move(endpoint);
  rpc::ServerBuilder builder(endpoint_);
  auto server = builder.RegisterService(&service_).SetThreads(1).BuildAndStart();
  if (!server.ok()) return server.status();
  server_ = *std::move(server);
  auto topic = node().Advertise(fmt::format("soak/{}", self_), {.history = 1});
  if (!topic.ok()) return topic.status();
  topic_.emplace(*std::move(topic));
  auto subscription = node().Subscribe(
      "soak/**", [this](const TopicMessage& message) { HandleTopic(message); }, {.depth = 64});
  if (!subscription.ok()) return subscription.status();
  subscription_.emplace(*std::move(subscription));
  return {};
}

void Worker::SendTo(std::uint32_t to, bool lends) {
  const bool counts = IsSteady(self_) && IsSteady(to);
  std::uint32_t size = static_cast<std::uint32_t>(
      Below(30) == 0 ? Below(bytes_.size() - sizeof(Head)) : Below(2000));
  if (lends) size = static_cast<std::uint32_t>(300'000 + Below(90'000));
  const Head head{counts ? me_.sent.at(to) + 1 : 0, self_, size};
  const SendOptions options{.when_full = WhenFull::kWait,
                            .timeout = counts ? kLimit / 2 : seconds(1)};
  SendResult result = SendResult::kOk;
  const std::span<std::byte> message = std::span(bytes_).first(sizeof(head) + size);
  if (lends) {
    auto sender = senders_.find(to);
    if (sender == senders_.end()) {
      auto opened = node().OpenSender(NameOf(to));
      if (!opened.ok()) return Fail(Fault::kLost, opened.status().ToString());
      sender = senders_.emplace(to, *std::move(opened)).first;
    }
    auto loan = sender->second.Loan(message.size(), {}, options);
    result = loan.result();
    if (result == SendResult::kOk) {
      std::memset(loan.payload().data(), static_cast<int>(head.number), loan.payload().size());
      std::memcpy(loan.payload().data(), &head, sizeof(head));
      result = loan.Publish();
      ++stage_.loans;
    }
  } else {
    const auto peer = node().Lookup(NameOf(to));
    if (!peer.ok()) {
      if (counts) Fail(Fault::kLost, peer.status().ToString());
      return;
    }
    std::memset(message.data(), static_cast<int>(head.number), message.size());
    std::memcpy(message.data(), &head, sizeof(head));
    result = node().Send(peer->id, message, options);
  }
  if (result == SendResult::kOk) {
    ++stage_.messages;
    stage_.bytes += size;
    if (counts) me_.sent.at(to) = head.number;
  } else if (counts) {
    Fail(Fault::kLost, fmt::format("to {}: {}", NameOf(to), SendResultName(result)));
  }
}

void Worker::Call(std::uint32_t to) {
  if (channels_.at(to) == nullptr) channels_.at(to) = endpoint_->CreateChannel(NameOf(to));
  ClientContext context;
  context.set_deadline(Clock::now() + (IsSteady(to) ? kLimit / 2 : seconds(1)));
  const std::string request(Below(3000), static_cast<char>('a' + self_));
  std::string response;
  const Status status = rpc::GenericStub(channels_.at(to)).Call(&context, kSay, request, &response);
  ++stage_.calls;
  if (status.ok() ? response != request : IsSteady(self_) && IsSteady(to)) {
    Fail(Fault::kCall, fmt::format("to {}: {}", NameOf(to), status.ToString()));
  }
}

void Worker::Act() {
  me_.stepped_at = MonotonicNanoseconds();
  const auto to = static_cast<std::uint32_t>(Below(kPeers));
  if (to == self_) return;
  switch (Below(16)) {
    case 0:
      return Call(to);
    case 1:
      // In one ring both arrive in order.
      return SendTo(to, true);
    case 2:
      (void)topic_->Publish(std::span<const std::byte>(bytes_).first(Below(1000)));
      ++stage_.published;
      return;
    default:
      return SendTo(to, false);
  }
}

void Worker::Handle(const Message& message) {
  Head head{};
  if (message.payload.size() < sizeof(head)) return Fail(Fault::kOrder, "a message without head");
  std::memcpy(&head, message.payload.data(), sizeof(head));
  if (message.payload.size() != sizeof(head) + head.size || head.from >= kPeers ||
      (head.size != 0 && message.payload.back() != static_cast<std::byte>(head.number))) {
    return Fail(Fault::kOrder, fmt::format("from {}: number {}, {} bytes", head.from, head.number,
                                           message.payload.size()));
  }
  if (!IsSteady(self_) || !IsSteady(head.from)) return;
  std::atomic<std::uint64_t>& handled = me_.handled.at(head.from);
  if (head.number != handled + 1) {
    Fail(Fault::kOrder, fmt::format("from {}: number {} in place of {}", NameOf(head.from),
                                    head.number, handled.load() + 1));
  }
  handled = head.number;
}

void Worker::HandleTopic(const TopicMessage& message) {
  ++stage_.topic_messages;
  stage_.topic_missed += message.missed;
  const auto [heard, is_first] =
      heard_.try_emplace({message.publisher.slot, message.publisher.incarnation}, message.sequence);
  if (is_first) return;
  if (message.sequence != heard->second + 1 + message.missed) {
    Fail(Fault::kTopic, fmt::format("{}: number {} after {}, and {} missed", message.topic,
                                    message.sequence, heard->second, message.missed));
  }
  heard->second = message.sequence;
  // Of lives that are over.
  if (heard_.size() > 4 * std::size_t{kPeers}) heard_.erase(heard_.begin());
}

int Worker::Run(const std::string& address) {
  const Clock::time_point until = Clock::now() + kLimit / 2;
  for (;;) {
    const Status status = Open(address);
    if (status.ok()) break;
    endpoint_.reset();
    if (Clock::now() > until) {
      Fail(Fault::kCrashed, status.ToString());
      return 1;
    }
    std::this_thread::sleep_for(milliseconds(10));
  }
  me_.ready = true;
  const auto is_there = [](const Peer& peer) { return peer.ready.load(); };
  while (IsSteady(self_) && stage_.part == Part::kLoad &&
         !std::all_of(stage_.peers.begin(), stage_.peers.begin() + kSteady, is_there)) {
    me_.stepped_at = MonotonicNanoseconds();
    std::this_thread::sleep_for(milliseconds(5));
  }
  while (stage_.part == Part::kLoad && !me_.leaves) {
    Act();
    std::this_thread::sleep_for(microseconds(Below(4000)));
  }
  me_.done = true;
  while (stage_.part != Part::kEnd && !me_.leaves) {
    me_.stepped_at = MonotonicNanoseconds();
    std::this_thread::sleep_for(milliseconds(5));
  }
  senders_.clear();
  topic_.reset();
  subscription_.reset();
  server_.reset();
  endpoint_.reset();
  return 0;
}

// ---- Referee ----

Level LevelOf(pid_t pid) { return {.memory = MemoryOf(pid), .descriptors = DescriptorsOf(pid)}; }

class Referee {
 public:
  Referee(Stage& stage, const Arguments& arguments)
      : stage_(stage),
        arguments_(arguments),
        place_({.over_unix = true, .region_bytes = std::uint64_t{64} << 20, .max_peers = 32}),
        random_(arguments.seed) {}

  bool Run();

 private:
  bool Until(milliseconds limit, const std::function<bool()>& done);
  void Watch();
  // What those who stay and the server have now, beside what they had.
  void Compare();
  void CompareArena();

  Stage& stage_;
  const Arguments arguments_;
  Place place_;
  std::mt19937_64 random_;
  std::array<pid_t, kSteady> steady_{};
  std::array<Level, kSteady> before_;
  Level server_before_;
  std::optional<Mortals> passing_;
};

void Referee::Watch() {
  for (std::uint32_t index = 0; index < kSteady; ++index) {
    if (steady_.at(index) < 0) continue;
    if (const std::optional<int> end = EndOf(steady_.at(index))) {
      stage_.faults.Add(Fault::kCrashed, NameOf(index) + " " + TextOfEnd(*end));
      steady_.at(index) = -1;
      continue;
    }
    const std::int64_t since = stage_.peers.at(index).stepped_at;
    if (since != 0 && MonotonicNanoseconds() - since > std::chrono::nanoseconds(kLimit).count()) {
      stage_.faults.Add(Fault::kHung, NameOf(index));
      KillAndWait(steady_.at(index));
      steady_.at(index) = -1;
    }
  }
}

bool Referee::Until(milliseconds limit, const std::function<bool()>& done) {
  return campaign::Until(
      limit, done,
      [this] {
        if (passing_) passing_->Attend();
        Watch();
      },
      kTick);
}

void Referee::Compare() {
  const auto compare = [&](const std::string& name, pid_t pid, const Level& before,
                           std::atomic<std::uint64_t>& most) {
    const std::uint64_t memory = MemoryOf(pid);
    const std::uint64_t growth = memory > before.memory ? memory - before.memory : 0;
    most = std::max<std::uint64_t>(most, growth);
    if (growth > kMostGrowth) {
      stage_.faults.Add(Fault::kMemory, fmt::format("{}: {} KiB more", name, growth >> 10));
    }
    const std::uint64_t descriptors = DescriptorsOf(pid);
    if (descriptors > before.descriptors + kMostDoorbells) {
      stage_.faults.Add(Fault::kDescriptors,
                        fmt::format("{}: {}, before {}", name, descriptors, before.descriptors));
    }
  };
  for (std::uint32_t index = 0; index < kSteady; ++index) {
    if (steady_.at(index) < 0) continue;
    compare(NameOf(index), steady_.at(index), before_.at(index), stage_.growth);
  }
  compare("ivmqd", place_.server(), server_before_, stage_.server_growth);
}

void Referee::CompareArena() {
  const Result<RegionMemory> memory = OpenRegion(place_.address(), Access::kReadOnly);
  if (!memory.ok()) return stage_.faults.Add(Fault::kArena, memory.status().ToString());
  const Result<Region> region = Region::Attach(memory->memory);
  if (!region.ok()) return stage_.faults.Add(Fault::kArena, region.status().ToString());
  const auto slots = [&] {
    std::uint32_t count = 0;
    for (std::uint32_t slot = 0; slot < region->max_peers(); ++slot) {
      count += LoadLife(region->slot(slot)).state == layout::PeerState::kFree ? 0U : 1U;
    }
    return count;
  };
  const Arena arena(*region);
  // Heaps that nobody uses are given back, and so are the rings of those who have gone.
  const auto is_tidy = [&] {
    const ArenaStats stats = arena.Stats();
    return slots() == kSteady && stats.extents == 0 && stats.rings <= kSteady * kSteady;
  };
  if (!Until(kLimit, is_tidy)) {
    const ArenaStats stats = arena.Stats();
    stage_.faults.Add(Fault::kArena, fmt::format("{} slots, {} rings, {} extents of {} who stay",
                                                 slots(), stats.rings, stats.extents, kSteady));
  }
  stage_.part = Part::kEnd;
  const Clock::time_point until = Clock::now() + kLimit;
  for (std::uint32_t index = 0; index < kSteady; ++index) {
    pid_t& pid = steady_.at(index);
    if (pid < 0) continue;
    std::optional<int> end;
    while (!(end = EndOf(pid)) && Clock::now() < until) std::this_thread::sleep_for(kTick);
    if (!end) {
      stage_.faults.Add(Fault::kHung, NameOf(index) + " does not leave");
      KillAndWait(pid);
    } else if (*end != 0) {
      stage_.faults.Add(Fault::kCrashed, NameOf(index) + " " + TextOfEnd(*end));
    }
    pid = -1;
  }
  const ArenaStats stats = arena.Stats();
  if (stats.units_free != stats.units || slots() != 0) {
    stage_.faults.Add(Fault::kSlots,
                      fmt::format("{} slots and {} of {} units remain when all have gone", slots(),
                                  stats.units - stats.units_free, stats.units));
  }
}

bool Referee::Run() {
  if (!place_.status().ok()) {
    stage_.faults.Add(Fault::kCrashed, place_.status().ToString());
    return false;
  }
  const auto start = [this](std::uint32_t peer) {
    const std::uint64_t seed = random_();
    Peer& its = stage_.peers.at(peer);
    its.ready = its.leaves = its.done = false;
    return Fork(
        [&] { return std::make_unique<Worker>(stage_, peer, seed)->Run(place_.address()); });
  };
  for (std::uint32_t index = 0; index < kSteady; ++index) steady_.at(index) = start(index);
  passing_.emplace(
      Mortals::Options{.count = kPeers - kSteady,
                       .most_down = 2,
                       .most_away = milliseconds(50),
                       .most_stopped = milliseconds(100),
                       .start = [&](std::uint32_t index) { return start(kSteady + index); },
                       .ask_to_leave =
                           [&](std::uint32_t index) {
                             Peer& peer = stage_.peers.at(kSteady + index);
                             if (peer.ready) peer.leaves = true;
                             return peer.ready.load();
                           },
                       .on_end =
                           [&](std::uint32_t index, pid_t /*pid*/, int status) {
                             stage_.faults.Add(Fault::kCrashed,
                                               NameOf(kSteady + index) + " " + TextOfEnd(status));
                             return false;
                           }},
      random_(), stage_.deaths);
  Clock::time_point next = Clock::now();
  const auto disturb = [&] {
    if (Clock::now() < next) return false;
    passing_->Disturb();
    next = Clock::now() + milliseconds(1 + random_() % 200);
    return false;
  };
  (void)Until(arguments_.duration / 4, disturb);
  for (std::uint32_t index = 0; index < kSteady; ++index) {
    before_.at(index) = LevelOf(steady_.at(index));
  }
  server_before_ = LevelOf(place_.server());
  (void)Until(arguments_.duration - arguments_.duration / 4, disturb);
  passing_.reset();
  stage_.part = Part::kSettle;
  const auto is_done = [](const Peer& peer) { return peer.done.load(); };
  (void)Until(kLimit, [&] {
    return std::all_of(stage_.peers.begin(), stage_.peers.begin() + kSteady, is_done);
  });
  const auto arrived = [&](std::uint32_t from, std::uint32_t to) {
    return stage_.peers.at(to).handled.at(from) == stage_.peers.at(from).sent.at(to);
  };
  const auto all_arrived = [&] {
    for (std::uint32_t i = 0; i < kSteady * kSteady; ++i) {
      if (!arrived(i / kSteady, i % kSteady)) return false;
    }
    return true;
  };
  if (!Until(kLimit, all_arrived)) {
    for (std::uint32_t i = 0; i < kSteady * kSteady; ++i) {
      const std::uint32_t from = i / kSteady;
      const std::uint32_t to = i % kSteady;
      if (arrived(from, to)) continue;
      stage_.faults.Add(Fault::kLost,
                        fmt::format("{} to {}: {} of {} arrived", NameOf(from), NameOf(to),
                                    stage_.peers.at(to).handled.at(from).load(),
                                    stage_.peers.at(from).sent.at(to).load()));
    }
  }
  Compare();
  CompareArena();
  if (const Status status = place_.EndServer(); !status.ok()) {
    stage_.faults.Add(Fault::kCrashed, status.ToString());
  }
  return true;
}

bool Run(const Arguments& arguments) {
  const Shared<Stage> stage;
  (void)Referee(*stage, arguments).Run();
  Table table("16 peers, 4 of which leave and return");
  table.Needed("killed", stage->deaths.killed);
  table.Figure("stopped", stage->deaths.stopped);
  table.Figure("left in order", stage->deaths.left);
  table.Needed("messages sent", stage->messages);
  table.Figure("  MiB", stage->bytes >> 20);
  table.Needed("  of them lent", stage->loans);
  table.Needed("calls", stage->calls);
  table.Needed("published", stage->published);
  table.Needed("  got by subscriptions", stage->topic_messages);
  table.Figure("  missed by slow ones, and counted", stage->topic_missed);
  table.Figure("memory of one who stays grew by KiB, at most", stage->growth >> 10);
  table.Figure("  of the server", stage->server_growth >> 10);
  table.Heading("promised: none");
  const auto promise = [&](std::string_view what, Fault fault) {
    table.Promise(what, stage->faults.count(fault));
  };
  promise("  lost between those who stay", Fault::kLost);
  promise("  out of order, twice or changed", Fault::kOrder);
  promise("  missing of a topic, and not counted", Fault::kTopic);
  promise("  calls between those who stay without their answer", Fault::kCall);
  promise("  memory grew by more than 16 MiB", Fault::kMemory);
  promise("  descriptors grew by more than the doorbells of 32 ids", Fault::kDescriptors);
  promise("  arena or slots in use that nobody needs", Fault::kArena);
  promise("  not free when all have gone", Fault::kSlots);
  promise("  steps that did not end", Fault::kHung);
  promise("  crashes", Fault::kCrashed);
  table.Print();
  fmt::print("{}", stage->faults.Texts());
  return table.holds();
}

}  // namespace
}  // namespace ivmq::campaign

int main(int argc, char** argv) { return ivmq::campaign::Main(argc, argv, ivmq::campaign::Run); }
