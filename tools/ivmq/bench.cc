// ivmq bench: what this machine and its guests make of ivmq: round trips and rates to a peer that
// runs `ivmq bench --serve`, beside what a bare cache line takes.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "ivmq/internal/fence.h"
#include "ivmq/node.h"

#include "command.h"
#include "commands.h"
#include "exit_code.h"
#include "interrupt.h"
#include "latencies.h"
#include "output.h"
#include "peers.h"
#include "table.h"
#include "text.h"

namespace ivmq::tool {
namespace {

using std::chrono::nanoseconds;
using SteadyClock = std::chrono::steady_clock;

constexpr const char* kBenchFooter =
    R"(PEER runs `ivmq bench --serve`, in a guest or on the host; without PEER this command
starts one on this host. Both sides poll, then both sleep between messages; a node
copies each message in and out. Compare with the bare cache line, which two threads
of this process pass to and fro: no queue beats it. Other work on the cores shows in
p99 and above. `--json` has the same figures for a report.

Example:
  ivmq format shm:/demo --size 64M && ivmq bench shm:/demo
  ivmq bench auto --serve --name vm1               # in the guest
  ivmq bench unix:/run/ivmq/ivmq.sock vm1          # on the host)";

// Messages of bytes with one of these types; each begins with a number of 8 bytes.
enum MessageKind : std::uint32_t {
  kEcho = 0x68636562,     // "bech": is sent back
  kCounted = 0x746e6362,  // "bcnt": is counted
  kTotal = 0x746f7462,    // "btot": is answered with how many were counted since the last one
  kPolls = 0x6c6f7062,    // "bpol": be polling if the number is 1, sleep if it is 0; is sent back
};

constexpr std::array<std::size_t, 4> kSizes{64, 1U << 10, 16U << 10, 1U << 20};
constexpr nanoseconds kAnswerTimeout = std::chrono::seconds(10);
// A server that polls and hears nothing sleeps again.
constexpr nanoseconds kPollsFor = std::chrono::seconds(2);

struct BenchFlags {
  bool serve = false;
  std::string name;
  std::optional<nanoseconds> time;
  std::optional<nanoseconds> await;
  bool json = false;
};

void PauseBetweenLooks() {
  static const bool one_core = std::thread::hardware_concurrency() <= 1;
  if (one_core) {
    std::this_thread::yield();
  } else {
    SpinPause();
  }
}

std::uint64_t NumberOf(std::span<const std::byte> payload) {
  std::uint64_t number = 0;
  if (payload.size() >= sizeof number) std::memcpy(&number, payload.data(), sizeof number);
  return number;
}

SendResult SendKind(Node& node, PeerId to, MessageKind kind, std::span<const std::byte> payload) {
  return node.Send(to, {.kind = layout::FrameKind::kBytes, .type = kind, .name = {}}, payload,
                   {.when_full = WhenFull::kWait, .timeout = kAnswerTimeout});
}

NodeOptions BenchOptions(std::string name) {
  NodeOptions options;
  options.name = std::move(name);
  options.spin_budget = nanoseconds(0);  // who is to poll does it here
  options.on_report = [](const Status& status) { Complain(status); };
  return options;
}

// ---- The server ----

class BenchServer {
 public:
  explicit BenchServer(Node& node) : node_(node) {}

  void Run(const Interrupt& interrupt) {
    const auto take = [this](const Message& message) { Take(message); };
    SteadyClock::time_point until{};
    for (std::uint32_t looks = 0; !interrupt.requested();) {
      if (node_.Poll(take) != 0) {
        looks = 0;
      } else if (polls_ && (looks++ % 1024 != 0 || SteadyClock::now() < until)) {
        PauseBetweenLooks();
        continue;
      } else {
        polls_ = false;
        (void)node_.Wait(nanoseconds::max());
      }
      if (looks == 0 && polls_) until = SteadyClock::now() + kPollsFor;
    }
  }

 private:
  void Take(const Message& message) {
    if (message.kind != layout::FrameKind::kBytes) return;
    SendResult result = SendResult::kOk;
    switch (message.type) {
      case kCounted:
        ++counted_;
        return;
      case kTotal:
        result = SendKind(node_, message.from, kTotal, std::as_bytes(std::span(&counted_, 1)));
        counted_ = 0;
        break;
      case kPolls:
        polls_ = NumberOf(message.payload) != 0;
        [[fallthrough]];
      case kEcho:
        result =
            SendKind(node_, message.from, static_cast<MessageKind>(message.type), message.payload);
        break;
      default:
        return;
    }
    if (result != SendResult::kOk) {
      Complain(fmt::format("{}: no answer could be sent: {}", NameOf(node_, message.from),
                           SendResultName(result)));
    }
  }

  Node& node_;
  std::uint64_t counted_ = 0;
  bool polls_ = false;
};

int RunServer(const std::string& name, const std::string& address) {
  HoldSignals();
  const auto node = Node::Open(address, BenchOptions(name));
  if (!node.ok()) return Fail(node.status());
  const Interrupt interrupt([&node] { (*node)->Wake(); });
  Complain(fmt::format("ready as {} (slot {}) at {}", (*node)->name(), (*node)->id().slot,
                       (*node)->transport().info().address));
  BenchServer(**node).Run(interrupt);
  return kExitOk;
}

// A server in a process of its own, that ends with this object, and with this process.
class LocalServer {
 public:
  // Before this process has threads.
  explicit LocalServer(const std::string& address)
      : name_(fmt::format("bench-{}", getpid())), pid_(fork()) {
    if (pid_ != 0) return;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    _exit(RunServerQuietly(name_, address));
  }
  ~LocalServer() {
    if (pid_ <= 0) return;
    (void)kill(pid_, SIGTERM);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  LocalServer(const LocalServer&) = delete;
  LocalServer& operator=(const LocalServer&) = delete;

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] bool ok() const noexcept { return pid_ > 0; }

 private:
  static int RunServerQuietly(const std::string& name, const std::string& address) {
    HoldSignals();
    const auto node = Node::Open(address, BenchOptions(name));
    if (!node.ok()) return Fail(node.status());
    const Interrupt interrupt([&node] { (*node)->Wake(); });
    BenchServer(**node).Run(interrupt);
    return kExitOk;
  }

  std::string name_;
  pid_t pid_;
};

// ---- The client ----

// One cache line between two threads. Nothing if they would share a core.
std::optional<Latencies> BareLine(nanoseconds time, const Interrupt& interrupt) {
  if (std::thread::hardware_concurrency() <= 1) return std::nullopt;
  struct alignas(2 * layout::kCacheLine) Line {
    std::atomic<std::uint64_t> number{0};
  };
  constexpr std::uint64_t kEnd = ~std::uint64_t{0};
  const auto there = std::make_unique<Line>();
  const auto back = std::make_unique<Line>();
  std::thread other([&] {
    for (std::uint64_t seen = 0; seen != kEnd;) {
      const std::uint64_t number = there->number.load(std::memory_order_acquire);
      if (number == seen) {
        SpinPause();
        continue;
      }
      seen = number;
      back->number.store(number, std::memory_order_release);
    }
  });
  std::optional<Latencies> latencies(std::in_place);
  SteadyClock::time_point now = SteadyClock::now();
  const SteadyClock::time_point end = now + time;
  for (std::uint64_t number = 1; now < end && !interrupt.requested(); ++number) {
    const SteadyClock::time_point sent = now;
    there->number.store(number, std::memory_order_release);
    while (back->number.load(std::memory_order_acquire) != number) SpinPause();
    now = SteadyClock::now();
    latencies->Add(now - sent);
  }
  there->number.store(kEnd, std::memory_order_release);
  other.join();
  if (latencies->count() == 0) return std::nullopt;
  return latencies;
}

class BenchClient {
 public:
  BenchClient(Node& node, const PeerInfo& peer, const Interrupt& interrupt)
      : node_(node), peer_(peer), interrupt_(interrupt), payload_(kSizes.back()) {}

  // Has both sides poll, or sleep.
  bool SetPolls(bool polls) {
    polls_ = polls;
    return Exchange(kPolls, polls ? 1 : 0, sizeof(std::uint64_t)).has_value();
  }

  // Round trips for so long. Nothing if that failed: see failure(), OK if a signal came.
  std::optional<Latencies> RoundTrips(std::size_t size, nanoseconds time) {
    std::optional<Latencies> latencies(std::in_place);
    const SteadyClock::time_point begun = SteadyClock::now();
    const SteadyClock::time_point warm = begun + time / 8;
    for (SteadyClock::time_point now = begun; now < begun + time || latencies->count() == 0;) {
      const SteadyClock::time_point sent = SteadyClock::now();
      if (!Exchange(kEcho, ++sequence_, size)) return std::nullopt;
      now = SteadyClock::now();
      if (sent >= warm || time == nanoseconds(0)) latencies->Add(now - sent);
    }
    return latencies;
  }

  // Messages a second, as fast as it goes, until the last one was handled.
  std::optional<double> Rate(std::size_t size, nanoseconds time) {
    if (!Exchange(kTotal, 0, sizeof(std::uint64_t))) return std::nullopt;
    const SteadyClock::time_point begun = SteadyClock::now();
    std::uint64_t count = 0;
    // The clock is looked at once for 64 KiB.
    const std::uint64_t burst = std::max<std::uint64_t>(1, (64U << 10) / size);
    do {
      for (std::uint64_t i = 0; i < burst; ++i) {
        if (!Send(kCounted, ++count, size)) return std::nullopt;
      }
      if (interrupt_.requested()) return std::nullopt;
    } while (SteadyClock::now() < begun + time);
    const auto counted = Exchange(kTotal, 0, sizeof(std::uint64_t));
    if (!counted) return std::nullopt;
    const auto taken = std::chrono::duration<double>(SteadyClock::now() - begun);
    if (*counted != count) {
      failure_ = {StatusCode::kDataLoss, fmt::format("{}: {} counted {} messages of {}", address(),
                                                     peer_.name, *counted, count)};
      return std::nullopt;
    }
    return static_cast<double>(count) / taken.count();
  }

  [[nodiscard]] const Status& failure() const noexcept { return failure_; }

 private:
  [[nodiscard]] const std::string& address() const { return node_.transport().info().address; }

  bool Send(MessageKind kind, std::uint64_t number, std::size_t size) {
    std::memcpy(payload_.data(), &number, sizeof number);
    const SendResult result = SendKind(node_, peer_.id, kind, std::span(payload_).first(size));
    if (result == SendResult::kOk) return true;
    failure_ = SendFailure(node_, peer_, result);
    return false;
  }

  // The number of the answer, which has the same kind.
  std::optional<std::uint64_t> Exchange(MessageKind kind, std::uint64_t number, std::size_t size) {
    if (!Send(kind, number, size)) return std::nullopt;
    std::optional<std::uint64_t> answer;
    const auto take = [&](const Message& message) {
      if (message.from == peer_.id && message.type == kind && message.payload.size() == size) {
        answer = NumberOf(message.payload);
      }
    };
    constexpr nanoseconds kLook = std::chrono::milliseconds(250);
    std::optional<SteadyClock::time_point> deadline;
    for (std::uint32_t looks = 1; !answer; ++looks) {
      if (node_.Poll(take) != 0) continue;
      if (polls_ && looks % 1024 != 0) {
        PauseBetweenLooks();
        continue;
      }
      if (interrupt_.requested()) return std::nullopt;
      const SteadyClock::time_point now = SteadyClock::now();
      if (!deadline) deadline = now + kAnswerTimeout;
      if (now >= *deadline || !node_.IsLive(peer_.id)) {
        failure_ = NoAnswer();
        return std::nullopt;
      }
      if (!polls_) (void)node_.Wait(kLook);
    }
    return answer;
  }

  [[nodiscard]] Status NoAnswer() const {
    const std::string who = fmt::format("{}: {} (slot {}, pid {})", address(),
                                        PrintableName(peer_.name), peer_.id.slot, peer_.pid);
    if (!node_.IsLive(peer_.id)) return {StatusCode::kUnavailable, who + " has left the region"};
    return {StatusCode::kDeadlineExceeded,
            fmt::format("{} did not answer within {}: does it run `ivmq bench --serve`?", who,
                        DurationText(kAnswerTimeout))};
  }

  Node& node_;
  const PeerInfo& peer_;
  const Interrupt& interrupt_;
  std::vector<std::byte> payload_;
  std::uint64_t sequence_ = 0;
  bool polls_ = false;
  Status failure_;
};

Json LatencyJson(const Latencies& of) {
  return {{"round_trips", of.count()},
          {"min_ns", of.min().count()},
          {"p50_ns", of.Percentile(0.5).count()},
          {"p99_ns", of.Percentile(0.99).count()},
          {"p999_ns", of.Percentile(0.999).count()},
          {"max_ns", of.max().count()}};
}

// What was measured so far, as a document.
class Figures {
 public:
  void AddLatencies(const std::string& what, std::optional<std::size_t> size,
                    const Latencies& latencies) {
    table_.AddRow({what, size ? SizeText(*size) : "", DurationText(latencies.Percentile(0.5)),
                   DurationText(latencies.Percentile(0.99)),
                   DurationText(latencies.Percentile(0.999)), DurationText(latencies.max()), "",
                   ""});
    Json json{{"what", what}};
    if (size) json["size"] = *size;
    json.update(LatencyJson(latencies));
    rows_.push_back(std::move(json));
  }
  void AddRate(const std::string& what, std::size_t size, double rate) {
    const double bytes = rate * static_cast<double>(size);
    table_.AddRow({what, SizeText(size), "", "", "", "", fmt::format("{:.4g}", rate),
                   fmt::format("{:.3g} GB/s", bytes / 1e9)});
    rows_.push_back({{"what", what},
                     {"size", size},
                     {"messages_per_second", rate},
                     {"bytes_per_second", bytes}});
  }
  [[nodiscard]] const Json& rows() const noexcept { return rows_; }
  [[nodiscard]] std::string Text() const { return table_.Render(); }

 private:
  Table table_{{{"", Table::Align::kLeft},
                {"size", Table::Align::kRight},
                {"p50", Table::Align::kRight},
                {"p99", Table::Align::kRight},
                {"p99.9", Table::Align::kRight},
                {"max", Table::Align::kRight},
                {"messages/s", Table::Align::kRight},
                {"", Table::Align::kRight}}};
  Json rows_ = Json::array();
};

// False if that failed or a signal came.
bool Measure(BenchClient& client, nanoseconds each, const Interrupt& interrupt, Figures* figures) {
  constexpr nanoseconds kLineTime = std::chrono::seconds(2);  // it needs no more
  if (const auto line = BareLine(std::min(each, kLineTime), interrupt)) {
    figures->AddLatencies("a bare cache line", std::nullopt, *line);
  }
  for (const bool polls : {true, false}) {
    if (!client.SetPolls(polls)) return false;
    for (const std::size_t size : kSizes) {
      const auto latencies = client.RoundTrips(size, each);
      if (!latencies) return false;
      figures->AddLatencies(polls ? "round trip, polling" : "round trip, sleeping", size,
                            *latencies);
    }
  }
  if (!client.SetPolls(true)) return false;
  for (const std::size_t size : kSizes) {
    const auto rate = client.Rate(size, each);
    if (!rate) return false;
    figures->AddRate("one way, polling", size, *rate);
  }
  return client.SetPolls(false);
}

int RunClient(const BenchFlags& options, const std::string& address, const std::string& peer_name) {
  HoldSignals();
  const auto node = Node::Open(address, BenchOptions(options.name));
  if (!node.ok()) return Fail(node.status());
  const Interrupt interrupt([&node] { (*node)->Wake(); });
  const auto peer = FindPeer(**node, peer_name, options.await, interrupt);
  if (interrupt.requested()) return kExitInterrupted;
  if (!peer.ok()) return Fail(peer.status());

  BenchClient client(**node, *peer, interrupt);
  Figures figures;
  constexpr int kParts = 1 + 3 * static_cast<int>(kSizes.size());
  const nanoseconds each = options.time.value_or(std::chrono::seconds(30)) / kParts;
  const bool complete = Measure(client, each, interrupt, &figures);
  const std::string& where = (*node)->transport().info().description;
  if (options.json) {
    Print(JsonText({{"address", (*node)->transport().info().address},
                    {"transport", where},
                    {"peer", peer->name},
                    {"complete", complete},
                    {"figures", figures.rows()}}));
  } else if (!figures.rows().empty()) {
    Print(fmt::format("With {}, over {}\n\n{}", PrintableName(peer->name), where, figures.Text()));
  }
  if (!client.failure().ok()) return Fail(client.failure());
  return complete ? kExitOk : kExitInterrupted;
}

int RunBench(const BenchFlags& options, const std::string& address,
             const std::vector<std::string>& words) {
  if (options.serve) {
    if (!words.empty() || options.json) WrongUsage("--serve takes neither PEER nor --json");
    return RunServer(options.name, address);
  }
  if (!words.empty()) return RunClient(options, address, words[0]);
  const LocalServer server(address);
  if (!server.ok()) {
    return Fail({StatusCode::kResourceExhausted, "no process for the other side"});
  }
  BenchFlags with_local = options;
  with_local.await = options.await.value_or(kAnswerTimeout);
  return RunClient(with_local, address, server.name());
}

}  // namespace

void AddBench(CLI::App& app, int* exit_code) {
  const auto options = std::make_shared<BenchFlags>();
  CLI::App* const command =
      AddCommand(app, exit_code,
                 {.name = "bench",
                  .summary = "Measure latencies and rates to a peer, beside a bare cache line",
                  .words = "[PEER]",
                  .max_words = 1,
                  .footer = kBenchFooter},
                 [options](const std::string& address, const std::vector<std::string>& words) {
                   return RunBench(*options, address, words);
                 });
  command->add_flag("--serve", options->serve, "Be the peer with which others measure");
  AddDuration(command, "--time", &options->time, "How long to measure (30s)");
  AddDuration(command, "--await", &options->await, "How long to wait for the peer to join");
  AddPeerName(command, &options->name);
  command->add_flag("--json", options->json, "Print JSON");
}

}  // namespace ivmq::tool
