// Three guests and the host exchange numbered messages over an ivmqd with its keeper. In one guest
// a process is killed now and then; the other two lose more: QEMU is killed and stopped, the machine
// is reset, switched off and on, and its device is unplugged and plugged in again. What the peers
// print is compared: between lives to which nothing happened all arrives once and in order, and who
// comes back is heard by all that stayed, and hears them.
#include <array>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "common/arguments.h"
#include "common/place.h"
#include "common/process.h"
#include "common/table.h"
#include "guests/machine.h"
#include "guests/stage.h"
#include "support/program.h"

namespace ivmq::campaign {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kTick{5};
constexpr milliseconds kMostPauseOfServer{4000};  // between two kills

const std::array<MachineOptions, 3> kMachines{{
    {.name = "g0", .kernel = "6.1", .peers = {"calm.g0", "mesh.g0", "mesh.g0x"}, .is_spared = true},
    {.name = "g1", .kernel = "6.12", .peers = {"mesh.g1", "mesh.g1x"}},
    {.name = "g2", .kernel = "6.1", .peers = {"mesh.g2", "mesh.g2x"}},
}};

// Failures of guests, which are for tests, become faults.
class Failures : public ::testing::EmptyTestEventListener {
 public:
  explicit Failures(Stage& stage) : stage_(stage) {}
  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::string text = result.message();
    if (text.starts_with("Failed\n")) text.erase(0, text.find('\n') + 1);
    const bool has_ended = text.find("QEMU was ended") != std::string::npos ||
                           text.find("QEMU has ended") != std::string::npos;
    stage_.faults.Add(has_ended ? Fault::kQemu : Fault::kHung,
                      text.substr(0, text.find("\nConsole")));
    fmt::print(stderr, "{}\n", text);
  }

 private:
  Stage& stage_;
};

// The peers on the host. Nothing happens to them.
class Host : public Group {
 public:
  Host(const std::string& address, Stage& stage) : stage_(stage) {
    for (const std::string name : {"calm.h0", "calm.h1", "mesh.h0", "mesh.h1"}) {
      peers_.push_back({.program = std::make_unique<testing::Program>(
                            std::vector<std::string>{NUMBERED_PEER, address, name}),
                        .life = name});
    }
  }
  bool Start() {
    for (std::size_t i = 0; i < peers_.size(); ++i) {
      if (!Await(i, "\n")) return false;
      peers_[i].life = LifeIn(Output(i));
      stage_.steady.push_back(peers_[i].life);
    }
    return true;
  }

  [[nodiscard]] std::size_t count() const override { return peers_.size(); }
  [[nodiscard]] const Life& life(std::size_t peer) const override { return peers_[peer].life; }
  void Signal(std::size_t peer, int signal) override { peers_[peer].program->Signal(signal); }
  bool Await(std::size_t peer, const std::string& text) override {
    const Clock::time_point until = Clock::now() + kLimit;
    while (Output(peer).find(text) == std::string::npos) {
      if (Clock::now() > until) {
        stage_.faults.Add(Fault::kHung, peers_[peer].life + " does not print " + text);
        return false;
      }
      std::this_thread::sleep_for(kTick);
    }
    return true;
  }
  std::string Output(std::size_t peer) override {
    return peers_[peer].program->Written(testing::Stream::kOutput);
  }
  testing::Result Finish(std::size_t peer) override {
    (void)Await(peer, "\nfinds ");
    const int status = peers_[peer].program->Wait();
    Judge(stage_, peers_[peer].life, Output(peer));
    return {.status = status, .output = Output(peer)};
  }
  // Reads what they print, so that they never wait for that.
  void Read() {
    for (std::size_t i = 0; i < peers_.size(); ++i) (void)Output(i);
  }

 private:
  struct Peer {
    std::unique_ptr<testing::Program> program;
    Life life;
  };

  Stage& stage_;
  std::vector<Peer> peers_;
};

void RunMachine(const MachineOptions& options, const std::string& socket, std::uint64_t seed,
                Clock::duration duration, Stage& stage, std::barrier<>& together,
                std::atomic<std::size_t>& at_work) {
  Machine machine(options, socket, seed, stage);
  bool is_well = machine.Start();
  if (is_well && options.is_spared) {
    const std::lock_guard lock(stage.mutex);
    for (std::size_t i = 0; i + 1 < machine.count(); ++i) stage.steady.push_back(machine.life(i));
  }
  together.arrive_and_wait();
  is_well = is_well && machine.AwaitHeard(0);
  const Clock::time_point until = Clock::now() + duration;
  while (is_well && Clock::now() < until) is_well = machine.Disturb();
  if (!is_well) machine.GiveUp();
  --at_work;
  together.arrive_and_wait();
  Settle(machine, stage, together);
}

void RunAll(const Arguments& arguments, Stage& stage) {
  Place place({.over_unix = true,
               .region_bytes = std::uint64_t{32} << 20,
               .ring_bytes = 16 << 10,
               .has_keeper = true,
               .server_arguments = {"--vectors", "4"}});
  if (!place.status().ok()) {
    stage.faults.Add(Fault::kServer, place.status().ToString());
    return;
  }
  Host host(place.address(), stage);
  if (!host.Start()) return;
  std::barrier<> together(static_cast<std::ptrdiff_t>(kMachines.size()) + 1);
  std::atomic<std::size_t> at_work = kMachines.size();
  bool server_runs = true;
  std::vector<std::jthread> threads;
  std::mt19937_64 random(arguments.seed);
  for (const MachineOptions& options : kMachines) {
    threads.emplace_back([&, seed = random()] {
      RunMachine(options, place.address().substr(std::string("unix:").size()), seed,
                 arguments.duration, stage, together, at_work);
    });
  }
  together.arrive_and_wait();
  Clock::time_point next_kill = Clock::now();
  while (at_work > 0) {
    host.Read();
    if (const std::optional<int> end = EndOf(place.server()); end && server_runs) {
      stage.faults.Add(Fault::kServer, "ivmqd " + TextOfEnd(*end));
      server_runs = false;
    }
    if (server_runs && Clock::now() > next_kill) {
      place.KillServer();
      place.StartServer();
      ++stage.deeds.at(static_cast<std::size_t>(Deed::kKillServer));
      next_kill = Clock::now() + milliseconds(random() % kMostPauseOfServer.count());
    }
    std::this_thread::sleep_for(kTick);
  }
  together.arrive_and_wait();
  Settle(host, stage, together);
  threads.clear();
  if (!stage.faults.Texts().empty()) stage.faults.AddText(place.Keep());
  if (const Status status = place.EndServer(); !status.ok() && server_runs) {
    stage.faults.Add(Fault::kServer, status.ToString());
  }
}

bool Run(const Arguments& arguments) {
  Stage stage;
  ::testing::TestEventListeners& listeners = ::testing::UnitTest::GetInstance()->listeners();
  delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new Failures(stage));
  RunAll(arguments, stage);
  Table table("3 guests with 7 peers, and 4 peers on the host");
  std::uint64_t deeds = 0;
  for (const auto& count : stage.deeds) deeds += count;
  table.Needed("faults", deeds);
  for (std::size_t i = 0; i < stage.deeds.size(); ++i) {
    table.Figure(fmt::format("  {}", kDeedNames.at(i)), stage.deeds.at(i));
  }
  table.Needed("peers that came back", stage.comebacks);
  table.Figure("  longest until all others heard one and it heard them, ms",
               static_cast<std::uint64_t>(stage.longest_comeback));
  table.Needed("messages to those who live at the end", stage.messages);
  table.Needed("pairs of lives compared at the end", stage.pairs);
  table.Figure("found without a doorbell, where senders are stopped and killed", stage.mesh_finds);
  table.Heading("promised: none");
  const auto promise = [&](std::string_view what, Fault fault) {
    table.Promise(what, stage.faults.count(fault));
  };
  promise("  pairs of lives that lost a message", Fault::kLost);
  promise("  out of order, twice or changed", Fault::kOrder);
  promise("  found without a doorbell, where nothing happens", Fault::kNet);
  promise("  steps that did not end", Fault::kHung);
  promise("  processes that were not told that their device has gone", Fault::kUncut);
  promise("  crashes of peers", Fault::kCrash);
  promise("  ends of a QEMU", Fault::kQemu);
  promise("  ends of the server", Fault::kServer);
  table.Print();
  fmt::print("{}", stage.faults.Texts());
  return table.holds();
}

}  // namespace
}  // namespace ivmq::campaign

int main(int argc, char** argv) { return ivmq::campaign::Main(argc, argv, ivmq::campaign::Run); }
