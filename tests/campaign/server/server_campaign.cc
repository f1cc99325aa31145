// A server with honest clients, which exchange messages and see newcomers come, and with rude ones
// of another user: thousands of connections, silent, slow and greedy ones, garbage, all that its
// descriptors allow. The honest ones lose nothing and hear by doorbell, newcomers are let in, and
// the server keeps neither memory nor connections. Then
// it is killed and upgraded over and over: with a keeper nobody notices, and without one, with a
// region in a file, nobody who was there.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "common/arguments.h"
#include "common/place.h"
#include "common/process.h"
#include "common/table.h"
#include "server/peers.h"
#include "server/rude.h"
#include "server/stage.h"

namespace ivmq::campaign {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

// So few that rude clients could use them up.
constexpr std::uint64_t kServerDescriptors = 1024;
constexpr uid_t kRudeUser = 20011;
// More than a user may have ids; but without the right to be another user they are those of the
// honest ones as well.
constexpr std::size_t kMostIds = 300;
constexpr std::size_t kFewIds = 20;
constexpr milliseconds kTick{5};
constexpr seconds kLimit{40};
constexpr std::uint64_t kMostGrowth = (std::uint64_t{16} << 20) + kKeptBySanitizer;
constexpr std::size_t kOwnSockets = 4;  // of the server: those that it listens on, and its log

class Referee {
 public:
  Referee(bool has_keeper, const Arguments& arguments, Stage& stage)
      : stage_(stage),
        has_keeper_(has_keeper),
        arguments_(arguments),
        place_({.over_unix = true,
                .region_is_file = !has_keeper,
                .has_keeper = has_keeper,
                .server_arguments = {"--mode", "0666"},
                .server_descriptors = kServerDescriptors}),
        random_(arguments.seed) {}

  void Run();

 private:
  struct Process {
    std::string name;
    pid_t pid;
    bool runs = true;
  };

  void Start(std::string name, const std::function<int()>& body) {
    processes_.push_back({std::move(name), Fork(body)});
  }
  void StartRude();
  bool Until(milliseconds limit, const std::function<bool()>& done);
  void Watch();
  // Kills the server or, where that is noticed by nobody, upgrades it, now and then.
  void DisturbServer();
  // All that was sent between honest peers is there.
  [[nodiscard]] bool HasArrived() const;
  // What the server has when all rude ones have gone. `memory`: what it had in the midst of it.
  void Compare(std::uint64_t memory);

  Stage& stage_;
  const bool has_keeper_;
  const Arguments arguments_;
  Place place_;
  std::mt19937_64 random_;
  std::vector<Process> processes_;
  bool server_runs_ = true;
  pid_t former_server_ = -1;  // that is being upgraded
  Clock::time_point next_;    // disturbance of the server
};

void Referee::DisturbServer() {
  if (Clock::now() < next_ || !server_runs_) return;
  if (stage_.is_down) {
    if (place_.server() < 0) {
      place_.StartServer();
    } else if (place_.IsServed()) {
      stage_.is_down = false;
    }
    next_ = Clock::now() + milliseconds(stage_.is_down ? 10 : 50 + random_() % 800);
    return;
  }
  if (has_keeper_ && former_server_ < 0 && random_() % 4 == 0) {
    ++stage_.server_upgrades;
    former_server_ = place_.server();
    place_.StartServer(/*is_upgrade=*/true);
    next_ = Clock::now() + milliseconds(500 + random_() % 500);
    return;
  }
  if (former_server_ > 0) return;
  ++stage_.server_kills;
  if (has_keeper_) {
    place_.KillServer();
    if (random_() % 2 == 0) std::this_thread::sleep_for(milliseconds(random_() % 100));
    place_.StartServer();
    next_ = Clock::now() + milliseconds(50 + random_() % 800);
    return;
  }
  ++stage_.downs;
  stage_.is_down = true;
  place_.KillServer();
  next_ = Clock::now() + milliseconds(random_() % 200);
}

void Referee::Watch() {
  if (former_server_ > 0) {
    if (const std::optional<int> end = EndOf(former_server_)) {
      if (*end != 0) stage_.faults.Add(Fault::kServer, "upgraded ivmqd " + TextOfEnd(*end));
      former_server_ = -1;
    }
  }
  if (server_runs_ && place_.server() > 0) {
    if (const std::optional<int> end = EndOf(place_.server())) {
      stage_.faults.Add(Fault::kServer, "ivmqd " + TextOfEnd(*end));
      server_runs_ = false;
    }
  }
  for (Process& process : processes_) {
    if (!process.runs) continue;
    if (const std::optional<int> end = EndOf(process.pid)) {
      process.runs = false;
      if (*end != 0) stage_.faults.Add(Fault::kCrashed, process.name + " " + TextOfEnd(*end));
    }
  }
  const std::int64_t now = MonotonicNanoseconds();
  const auto look = [&](const std::string& name, std::atomic<std::int64_t>& stepped_at) {
    if (stepped_at == 0 || now - stepped_at < std::chrono::nanoseconds(kLimit).count()) return;
    stage_.faults.Add(Fault::kHung, name);
    stepped_at = 0;
  };
  for (std::uint32_t peer = 0; peer < kHonest; ++peer) {
    look(fmt::format("honest {}", peer), stage_.peers.at(peer).stepped_at);
  }
  if (stage_.part < Part::kSettle) look("newcomer", stage_.newcomer_stepped_at);
}

bool Referee::Until(milliseconds limit, const std::function<bool()>& done) {
  return campaign::Until(
      limit, done, [this] { Watch(); }, kTick);
}

void Referee::StartRude() {
  const std::string socket = place_.address().substr(std::string_view("unix:").size());
  for (std::size_t i = 0; i < kManners.size(); ++i) {
    const std::uint64_t seed = random_();
    Start(std::string(kManners.at(i)), [&, i, seed] {
      const bool is_other = geteuid() == 0;
      if (is_other && setuid(kRudeUser) != 0) return 1;
      return RunRude(stage_, socket, static_cast<Manner>(i), is_other ? kMostIds : kFewIds, seed);
    });
  }
}

bool Referee::HasArrived() const {
  for (std::uint32_t from = 0; from < kHonest; ++from) {
    for (std::uint32_t to = 0; to < kHonest; ++to) {
      if (stage_.peers.at(to).handled.at(from) != stage_.peers.at(from).sent.at(to)) return false;
    }
  }
  return true;
}

std::size_t SocketsOf(pid_t pid) {
  std::error_code error;
  std::size_t count = 0;
  for (std::filesystem::directory_iterator at(fmt::format("/proc/{}/fd", pid), error), end;
       !error && at != end; at.increment(error)) {
    std::error_code gone;
    const std::string target = std::filesystem::read_symlink(at->path(), gone);
    count += target.starts_with("socket:") ? 1U : 0U;
  }
  return count;
}

void Referee::Compare(std::uint64_t memory) {
  const std::uint64_t now = MemoryOf(place_.server());
  if (now > memory + kMostGrowth) {
    stage_.faults.Add(Fault::kMemory, fmt::format("{} KiB, before {}", now >> 10, memory >> 10));
  }
  // Of ids that were lent it keeps the doorbells; of connections nothing.
  const std::size_t most = kHonest + kOwnSockets;
  if (!Until(kLimit, [&] { return SocketsOf(place_.server()) <= most; })) {
    stage_.faults.Add(Fault::kDescriptors, fmt::format("{} sockets for {} clients",
                                                       SocketsOf(place_.server()), kHonest));
  }
}

void Referee::Run() {
  if (!place_.status().ok() || chmod(place_.folder().c_str(), 0711) != 0) {
    stage_.faults.Add(Fault::kServer, place_.status().ToString());
    return;
  }
  for (std::uint32_t peer = 0; peer < kHonest; ++peer) {
    const std::uint64_t seed = random_();
    Start(fmt::format("honest {}", peer),
          [&, peer, seed] { return RunHonest(stage_, place_.address(), peer, seed); });
  }
  const auto is_ready = [](const HonestPeer& peer) { return peer.ready.load(); };
  (void)Until(kLimit, [&] { return std::ranges::all_of(stage_.peers, is_ready); });
  const std::uint64_t seed = random_();
  Start("newcomer", [&, seed] { return RunNewcomer(stage_, place_.address(), seed); });
  StartRude();
  stage_.part = Part::kLoad;
  const auto look = [&] {
    stage_.most_descriptors =
        std::max<std::uint64_t>(stage_.most_descriptors, DescriptorsOf(place_.server()));
    return false;
  };
  (void)Until(arguments_.duration / 4, look);
  const std::uint64_t memory = MemoryOf(place_.server());
  (void)Until(arguments_.duration / 4, look);
  (void)Until(arguments_.duration / 2, [&] {
    DisturbServer();
    return false;
  });
  // The last one is there, and so is what it took over.
  (void)Until(kLimit, [&] {
    if (stage_.is_down) DisturbServer();
    return !stage_.is_down && former_server_ < 0;
  });
  stage_.part = Part::kSettle;
  // The last newcomer, and the rude ones; the honest ones still answer.
  const auto ended = [](const Process& process) { return !process.runs; };
  (void)Until(kLimit,
              [&] { return std::all_of(processes_.begin() + kHonest, processes_.end(), ended); });
  const auto is_done = [](const HonestPeer& peer) { return peer.done.load(); };
  (void)Until(kLimit, [&] { return std::ranges::all_of(stage_.peers, is_done); });
  if (!Until(kLimit, [&] { return HasArrived(); })) {
    stage_.faults.Add(Fault::kLost, "not all that was sent has arrived");
  }
  if (server_runs_) Compare(memory);
  stage_.part = Part::kEnd;
  (void)Until(kLimit, [&] { return std::ranges::all_of(processes_, ended); });
  for (const Process& process : processes_) {
    if (!process.runs) continue;
    stage_.faults.Add(Fault::kHung, process.name + " does not end");
    KillAndWait(process.pid);
  }
  for (const HonestPeer& peer : stage_.peers) {
    if (peer.net_finds != 0) {
      stage_.faults.Add(Fault::kNet, fmt::format("{} finds", peer.net_finds.load()));
    }
  }
  if (!stage_.faults.Texts().empty()) stage_.faults.AddText(place_.Keep());
  const Status status = place_.EndServer();
  if (!status.ok() && server_runs_) stage_.faults.Add(Fault::kServer, status.ToString());
}

bool Run(const Arguments& arguments) {
  constexpr std::size_t kServers = 2;  // with a keeper and without
  const Shared<std::array<Stage, kServers>> stages;
  std::array<pid_t, kServers> referees{};
  for (std::size_t i = 0; i < kServers; ++i) {
    const Arguments own{.duration = arguments.duration, .seed = arguments.seed + i};
    referees.at(i) = Fork([&, i] {
      Referee(i == 0, own, stages->at(i)).Run();
      return 0;
    });
  }
  for (const pid_t referee : referees) {
    while (!EndOf(referee)) std::this_thread::sleep_for(milliseconds(20));
  }
  Table table("a server, 4 honest peers, newcomers and 5 rude clients", {"keeper", "none"});
  const auto values = [&](auto value) {
    return Table::Values{value(stages->at(0)), value(stages->at(1))};
  };
  const auto of = [&](std::atomic<std::uint64_t> Stage::*member) {
    return values([&](const Stage& stage) { return (stage.*member).load(); });
  };
  table.Needed("server killed", of(&Stage::server_kills));
  table.Figure("  upgraded", of(&Stage::server_upgrades));
  table.Needed("messages between honest peers", of(&Stage::messages));
  table.Needed("newcomers", of(&Stage::newcomers));
  table.Figure("  turned away while there was no server", of(&Stage::turned_away));
  table.Figure("  longest until the answer of a peer, ms", values([](const Stage& stage) {
                 return static_cast<std::uint64_t>(stage.longest_join) / 1'000'000;
               }));
  table.Needed("connects of rude clients", of(&Stage::connects));
  table.Figure("  that were read slowly, or not at all", of(&Stage::unread));
  table.Figure("bytes of garbage", of(&Stage::rude_bytes));
  table.Figure(fmt::format("most descriptors of the server, of {}", kServerDescriptors),
               of(&Stage::most_descriptors));
  table.Heading("promised: none");
  const auto promise = [&](std::string_view what, Fault fault) {
    table.Promise(what, values([&](const Stage& stage) { return stage.faults.count(fault); }));
  };
  promise("  lost between honest peers", Fault::kLost);
  promise("  out of order, twice or changed", Fault::kOrder);
  if (geteuid() == 0) {
    promise("  newcomers that were not let in", Fault::kRefused);
  } else {  // all clients have one user, whose ids the rude ones may use up
    table.Figure("  (newcomers of the rude ones' user that were not let in)",
                 values([](const Stage& stage) { return stage.faults.count(Fault::kRefused); }));
  }
  promise("  newcomers without an answer", Fault::kUnheard);
  promise("  found without a doorbell", Fault::kNet);
  promise("  ends of the server", Fault::kServer);
  promise("  memory of the server grew by more than 16 MiB", Fault::kMemory);
  promise("  connections kept by the server", Fault::kDescriptors);
  promise("  steps that did not end", Fault::kHung);
  promise("  crashes", Fault::kCrashed);
  table.Print();
  for (const Stage& stage : *stages) fmt::print("{}", stage.faults.Texts());
  return table.holds();
}

}  // namespace
}  // namespace ivmq::campaign

int main(int argc, char** argv) { return ivmq::campaign::Main(argc, argv, ivmq::campaign::Run); }
