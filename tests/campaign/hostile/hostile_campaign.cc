// Rounds in which two processes scribble at full speed on a region that six others use: of these,
// three are spared, and must lose nothing between each other; the other three may lose whatever is
// theirs, but must neither crash nor hang nor take memory without bound. Over file: and over unix:
// in turn, where the server must not crash either.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <thread>

#include <fmt/format.h>

#include "ivmq/address.h"

#include "common/arguments.h"
#include "common/place.h"
#include "common/process.h"
#include "common/table.h"
#include "hostile/peers.h"
#include "hostile/scribbler.h"
#include "hostile/stage.h"

namespace ivmq::campaign {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kRegionBytes = std::uint64_t{16} << 20;
constexpr std::uint32_t kSlots = 12;
constexpr seconds kRound{4};
// For spared ones to meet, and to receive what they were sent; for a step of anybody.
constexpr seconds kLimit{30};
constexpr milliseconds kTick{5};
constexpr std::uint64_t kMostMemory = (std::uint64_t{256} << 20) + kKeptBySanitizer;

int RunScribbler(Stage& stage, const std::string& region_address, std::uint64_t seed,
                 bool is_clever) {
  const Result<RegionMemory> memory = OpenRegion(region_address, Access::kReadWrite);
  if (!memory.ok()) {
    stage.faults.Add(Fault::kCrashed, "scribbler: " + memory.status().ToString());
    return 1;
  }
  const Result<Region> region = Region::Attach(memory->memory);
  if (!region.ok()) {
    stage.faults.Add(Fault::kCrashed, "scribbler: " + region.status().ToString());
    return 1;
  }
  Scribbler scribbler(memory->memory, *region, stage, seed, is_clever);
  std::mt19937_64 random(seed + 1);
  while (stage.part == Part::kScribble) {
    // At full speed nothing works any more; with pauses, what was damaged is put right meanwhile.
    const std::uint64_t burst = 1 + random() % 64;
    for (std::uint64_t i = 0; i < burst; ++i) scribbler.Scribble();
    stage.scribbles += burst;
    const std::uint64_t pace = random() % 8;
    if (pace < 4) std::this_thread::sleep_for(std::chrono::microseconds(random() % (500U << pace)));
  }
  return 0;
}

class Round {
 public:
  Round(Stage& stage, bool over_unix, std::uint64_t seed)
      : stage_(stage), over_unix_(over_unix), random_(seed) {}

  // The most memory that a peer had.
  std::uint64_t Run();
  // The folder that is worth a look, as a line.
  std::string Keep() { return place_->Keep(); }

 private:
  struct Process {
    std::string name;
    pid_t pid;
    bool runs = true;
  };

  void Start(std::string name, const std::function<int()>& body) {
    processes_.push_back({std::move(name), Fork(body)});
  }
  // Ticks until `done` says so; false if `limit` has passed.
  bool Until(milliseconds limit, const std::function<bool()>& done);
  void Watch();
  void LookAt(std::uint32_t peer);

  Stage& stage_;
  const bool over_unix_;
  std::mt19937_64 random_;
  std::optional<Place> place_;
  std::vector<Process> processes_;  // peers first
  std::uint64_t most_memory_ = 0;
};

void Round::LookAt(std::uint32_t number) {
  Process& process = processes_.at(number);
  const Peer& peer = stage_.peers.at(number);
  const std::int64_t since = peer.stepped_at;
  if (since != 0 && MonotonicNanoseconds() - since > std::chrono::nanoseconds(kLimit).count()) {
    stage_.faults.Add(Fault::kHung, fmt::format("{} in step {}", process.name, peer.step.load()));
    KillAndWait(process.pid);
    process.runs = false;
    return;
  }
  const std::uint64_t memory = MemoryOf(process.pid);
  most_memory_ = std::max(most_memory_, memory);
  if (memory > kMostMemory) {
    stage_.faults.Add(Fault::kOverdrawn, fmt::format("{}: {} MiB", process.name, memory >> 20));
    KillAndWait(process.pid);
    process.runs = false;
  }
}

void Round::Watch() {
  for (std::size_t i = 0; i < processes_.size(); ++i) {
    Process& process = processes_[i];
    if (!process.runs) continue;
    const std::optional<int> end = EndOf(process.pid);
    if (!end) {
      if (i < kPeers) LookAt(static_cast<std::uint32_t>(i));
      continue;
    }
    process.runs = false;
    if (*end == 0) continue;
    stage_.faults.Add(Fault::kCrashed, fmt::format("{} {}", process.name, TextOfEnd(*end)));
  }
}

bool Round::Until(milliseconds limit, const std::function<bool()>& done) {
  return campaign::Until(
      limit, done, [this] { Watch(); }, kTick);
}

std::uint64_t Round::Run() {
  place_.emplace(PlaceOptions{.over_unix = over_unix_,
                              .region_bytes = kRegionBytes,
                              .max_peers = kSlots,
                              .region_is_file = true});
  if (!place_->status().ok()) {
    stage_.faults.Add(Fault::kServer, place_->status().ToString());
    return 0;
  }
  const std::string log = place_->folder() + "/errors";
  stage_.part = Part::kWarmUp;
  for (Peer& peer : stage_.peers) {
    peer.slot = kNowhere;
    peer.stepped_at = MonotonicNanoseconds();
    peer.met_all = peer.done = false;
  }
  for (SparedPair& pair : stage_.pairs) pair.sent = pair.handled = 0;

  for (std::uint32_t peer = 0; peer < kPeers; ++peer) {
    const std::uint64_t seed = random_();
    Start(NameOfPeer(peer), [&, peer, seed] {
      // What a sanitizer says.
      if (std::freopen(log.c_str(), "a", stderr) == nullptr) return 1;
      return peer < kSpared ? RunSpared(stage_, place_->address(), peer, seed)
                            : RunExposed(stage_, place_->address(), peer, seed);
    });
  }
  const auto runs = [](const Process& process) { return process.runs; };
  const bool have_met = Until(kLimit, [&] {
    if (!std::ranges::all_of(processes_, runs)) return true;
    return std::all_of(stage_.peers.begin(), stage_.peers.begin() + kSpared,
                       [](const Peer& peer) { return peer.met_all.load(); });
  });
  const bool is_fine = have_met && std::ranges::all_of(processes_, runs);
  if (!is_fine) stage_.faults.Add(Fault::kLost, "spared peers did not meet");
  stage_.part = Part::kScribble;
  if (is_fine) {
    for (const bool is_clever : {false, true}) {
      const std::uint64_t seed = random_();
      Start(is_clever ? "clever scribbler" : "scribbler", [&, is_clever, seed] {
        return RunScribbler(stage_, place_->file_address(), seed, is_clever);
      });
    }
    (void)Until(kRound, [] { return false; });
  }
  stage_.part = Part::kSettle;
  (void)Until(2 * kLimit, [&] {
    return std::ranges::all_of(stage_.peers, [](const Peer& peer) { return peer.done.load(); });
  });
  const auto has_all = [](const SparedPair& pair) { return pair.handled == pair.sent; };
  if (!Until(kLimit, [&] { return std::ranges::all_of(stage_.pairs, has_all); })) {
    for (std::uint32_t from = 0; from < kSpared; ++from) {
      for (std::uint32_t to = 0; to < kSpared; ++to) {
        const SparedPair& pair = stage_.pair(from, to);
        if (has_all(pair)) continue;
        stage_.faults.Add(Fault::kLost,
                          fmt::format("{} to {}: {} of {} arrived", NameOfPeer(from),
                                      NameOfPeer(to), pair.handled.load(), pair.sent.load()));
      }
    }
  }
  stage_.part = Part::kEnd;
  const auto ended = [](const Process& process) { return !process.runs; };
  (void)Until(2 * kLimit, [&] { return std::ranges::all_of(processes_, ended); });
  for (const Process& process : processes_) {
    if (!process.runs) continue;
    stage_.faults.Add(Fault::kHung, process.name + " does not end");
    KillAndWait(process.pid);
  }
  if (const Status status = place_->EndServer(); !status.ok()) {
    stage_.faults.Add(Fault::kServer, status.ToString());
  }
  return most_memory_;
}

bool Run(const Arguments& arguments) {
  const Shared<Stage> stage;
  std::mt19937_64 random(arguments.seed);
  const Clock::time_point end = Clock::now() + arguments.duration;
  std::uint64_t rounds = 0;
  std::uint64_t memory = 0;
  std::string kept;
  do {
    const std::uint64_t seed = random();
    const std::string before = stage->faults.Texts();
    Round round(*stage, rounds % 2 == 1, seed);
    memory = std::max(memory, round.Run());
    ++rounds;
    if (stage->faults.Texts() != before) kept += round.Keep();
  } while (Clock::now() < end);

  Table table("3 spared and 3 exposed peers, 2 scribblers");
  table.Figure("rounds", rounds);
  table.Needed("scribbles", stage->scribbles);
  table.Needed("messages between spared peers", stage->spared_messages);
  table.Needed("calls between spared peers", stage->spared_calls);
  table.Needed("messages that exposed peers got", stage->exposed_messages);
  table.Figure("calls of exposed peers", stage->exposed_calls);
  table.Figure("  of them answered", stage->exposed_calls_ok);
  table.Figure("nodes that exposed peers opened", stage->nodes_opened);
  table.Figure("  and could not open", stage->nodes_refused);
  table.Needed("rings given up", stage->rings_given_up);
  table.Figure("most memory of a peer, MiB", memory >> 20);
  table.Heading("promised: none");
  const auto promise = [&](std::string_view what, Fault fault) {
    table.Promise(what, stage->faults.count(fault));
  };
  promise("  lost between spared peers", Fault::kLost);
  promise("  out of order, twice or changed between spared peers", Fault::kOrder);
  promise("  calls between spared peers without their answer", Fault::kSparedCall);
  promise("  calls that did not end", Fault::kEndless);
  promise("  steps that did not end", Fault::kHung);
  promise("  crashes, findings of a sanitizer", Fault::kCrashed);
  promise("  memory beyond the bound", Fault::kOverdrawn);
  promise("  ends of the server", Fault::kServer);
  table.Print();
  fmt::print("{}{}", stage->faults.Texts(), kept);
  return table.holds();
}

}  // namespace
}  // namespace ivmq::campaign

int main(int argc, char** argv) { return ivmq::campaign::Main(argc, argv, ivmq::campaign::Run); }
