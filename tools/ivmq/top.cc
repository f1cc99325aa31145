// ivmq top: who sends how much to whom, live.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ivmq/address.h"
#include "ivmq/internal/peer_table.h"
#include "ivmq/node.h"

#include "command.h"
#include "commands.h"
#include "common/region_sample.h"
#include "exit_code.h"
#include "interrupt.h"
#include "opened_region.h"
#include "output.h"
#include "peers.h"
#include "pinger.h"
#include "terminal.h"
#include "text.h"
#include "top_view.h"

namespace ivmq::tool {
namespace {

using inspect::RegionSample;
using std::chrono::nanoseconds;
using Clock = std::chrono::steady_clock;

constexpr const char* kTopFooter =
    R"(Only reads: takes no id and no slot, unless it probes. Counts and bytes are a second's;
k, M and G are thousands, millions and so on. As many columns as fit, from 60 on:
  SENT, RECV, OUT, IN  messages and bytes that the peer sent and received
  FILL, UNREAD         of the fullest ring to it, and all that waits for it
  BELLS                doorbells that it rang
  FINDS                messages that only its look once a second found; 0 is right
  DROPPED, DAMAGED, AGAIN, KEPT
                       in its whole life: messages dropped, damaged rings given up,
                       messages handed out again, messages that it keeps now
A live peer whose heartbeat has stopped is "still"; a durable one that is expected
back is "away".

Keys: n m b f d sort by name, messages, bytes, fill, doorbells, the same key again
reverses; p changes between peers and pairs; space pauses; arrows, j and k scroll;
q quits.

--probe pings a peer that sends pings back, as `ivmq recv --echo` does; for that it
takes a slot. It can be given several times.

Example:
  ivmq top shm:/demo
  ivmq top shm:/demo --probe bob --interval 500ms
  ivmq top unix:/run/ivmq/ivmq.sock --once --json)";

struct TopFlags {
  std::optional<nanoseconds> interval;
  std::vector<std::string> probes;
  bool once = false;
  bool json = false;
};

// Round trips to the peers of --probe, from a node of its own.
class Prober {
 public:
  static Result<std::unique_ptr<Prober>> Open(const std::string& address,
                                              const std::vector<std::string>& names,
                                              const Interrupt& interrupt) {
    // What it would report, nobody could read on this screen.
    auto node = Node::Open(address, {.name = fmt::format("top-{}", getpid())});
    if (!node.ok()) return node.status();
    return std::unique_ptr<Prober>(new Prober(*std::move(node), names, interrupt));
  }

  // One round trip to each.
  Probes Probe() {
    Probes probes;
    for (const std::string& name : names_) probes[name] = ProbeOne(name);
    return probes;
  }

 private:
  Prober(std::unique_ptr<Node> node, std::vector<std::string> names, const Interrupt& interrupt)
      : node_(std::move(node)), names_(std::move(names)), interrupt_(interrupt) {}

  std::string ProbeOne(const std::string& name) {
    constexpr std::chrono::milliseconds kTimeout{200};
    const auto peer = node_->Lookup(name);
    if (!peer.ok() || peer->state != layout::PeerState::kLive) return "gone";
    Pinger pinger(*node_, *peer, kMinPingSize, kTimeout, interrupt_);
    return pinger.RoundTrip() ? DurationText(pinger.last()) : "none";
  }

  std::unique_ptr<Node> node_;
  std::vector<std::string> names_;
  const Interrupt& interrupt_;
};

class Top {
 public:
  Top(OpenedRegion opened, nanoseconds interval, std::unique_ptr<Prober> prober)
      : opened_(std::move(opened)), interval_(interval), prober_(std::move(prober)) {}

  [[nodiscard]] nanoseconds interval() const noexcept { return interval_; }

  // Looks again. FAILED_PRECONDITION: the region is no longer the one that was opened.
  Status Look() {
    if (opened_.region.IsReplaced()) {
      return {StatusCode::kFailedPrecondition,
              opened_.memory.address + ": the region was formatted anew; start again"};
    }
    before_ = std::move(now_);
    now_ = inspect::Sample(opened_.region);
    heartbeats_.Add(*now_);
    if (prober_ != nullptr) probes_ = prober_->Probe();
    return {};
  }

  // Waits until all live peers' hearts have beaten, for two seconds at most. REQUIRES, as of what
  // follows: Look() has been called
  void AwaitHearts() {
    const StillPeers still(PeerTable(opened_.region), now_->peers);
    heartbeats_.Add(inspect::Sample(opened_.region));
  }
  // Whether a live peer's heartbeat has not moved between the last two looks.
  [[nodiscard]] bool HasStillPeers() const {
    const TopView view = View();
    return std::any_of(view.peers.begin(), view.peers.end(), [](const PeerRow& row) {
      return row.peer->state == layout::PeerState::kLive && !row.rates.moves;
    });
  }
  [[nodiscard]] TopView View() const {
    return MakeTopView(opened_.memory.address, before_ ? &*before_ : nullptr, *now_, heartbeats_,
                       probes_);
  }
  [[nodiscard]] Clock::time_point taken() const { return now_->taken; }

 private:
  OpenedRegion opened_;
  nanoseconds interval_;
  std::unique_ptr<Prober> prober_;
  std::optional<RegionSample> before_;
  std::optional<RegionSample> now_;
  Heartbeats heartbeats_;
  Probes probes_;
};

// Prints after each interval, or once.
int RunPlain(Top& top, const TopFlags& flags, const Interrupt& interrupt) {
  const bool utf8 = WritesUtf8();
  if (const Status status = top.Look(); !status.ok()) return Fail(status);
  for (;;) {
    if (interrupt.WaitFor(top.taken() + top.interval() - Clock::now())) {
      return flags.once ? kExitInterrupted : kExitOk;
    }
    if (const Status status = top.Look(); !status.ok()) return Fail(status);
    // A heart that has not beaten between two looks may only be late.
    if (flags.once && top.HasStillPeers()) top.AwaitHearts();
    TopView view = top.View();
    SortTopView({}, &view);
    if (flags.json) {
      Print(JsonText(TopJson(view), flags.once ? JsonStyle::kIndented : JsonStyle::kOneLine));
    } else {
      Print(TopText(view, SizeOfTerminal().columns, utf8));
    }
    if (flags.once) return kExitOk;
  }
}

// Passes what follows the escape of a key that has no meaning here.
void PassSequence(std::string_view* keys) {
  if (!keys->starts_with('[') && !keys->starts_with('O')) return;
  keys->remove_prefix(1);
  while (!keys->empty()) {
    const bool is_last = keys->front() >= '@' && keys->front() <= '~';
    keys->remove_prefix(1);
    if (is_last) return;
  }
}

// False: q.
bool Obey(std::string_view keys, TopStyle* style) {
  const auto scroll = [style](int rows) {
    const auto by = static_cast<std::size_t>(std::abs(rows));
    style->first = rows < 0 ? style->first - std::min(style->first, by) : style->first + by;
  };
  while (!keys.empty()) {
    constexpr std::pair<std::string_view, int> kScrolls[] = {
        {"\x1b[A", -1}, {"\x1bOA", -1}, {"k", -1},        {"\x1b[B", 1},
        {"\x1bOB", 1},  {"j", 1},       {"\x1b[5~", -10}, {"\x1b[6~", 10}};
    const auto* const scrolls =
        std::find_if(std::begin(kScrolls), std::end(kScrolls),
                     [keys](const auto& known) { return keys.starts_with(known.first); });
    if (scrolls != std::end(kScrolls)) {
      scroll(scrolls->second);
      keys.remove_prefix(scrolls->first.size());
      continue;
    }
    const char key = keys.front();
    keys.remove_prefix(1);
    switch (key) {
      case 'q':
        return false;
      case 'p':
        style->shows_pairs = !style->shows_pairs;
        style->first = 0;
        break;
      case ' ':
        style->is_paused = !style->is_paused;
        break;
      case 'n':
      case 'm':
      case 'b':
      case 'f':
      case 'd':
        style->reversed = style->sort == static_cast<TopSort>(key) && !style->reversed;
        style->sort = static_cast<TopSort>(key);
        break;
      case '\x1b':
        PassSequence(&keys);
        break;
      default:
        break;
    }
  }
  return true;
}

// Until q or a signal.
Status RunLive(Top& top, const Interrupt& interrupt) {
  TopStyle style{.colors = std::getenv("NO_COLOR") == nullptr, .utf8 = WritesUtf8()};
  if (Status status = top.Look(); !status.ok()) return status;
  Screen screen;
  // The first rates come soon.
  Clock::time_point due =
      top.taken() + std::min<nanoseconds>(top.interval(), std::chrono::seconds(1));
  for (;;) {
    TopView view = top.View();
    SortTopView(style, &view);
    const TerminalSize size = SizeOfTerminal();
    screen.Show(TopScreen(view, size.columns, size.rows, &style));
    const nanoseconds left = style.is_paused ? nanoseconds::max() : due - Clock::now();
    const std::string keys = screen.Wait(std::max(left, nanoseconds(0)), interrupt);
    if (interrupt.requested() || !Obey(keys, &style)) return {};
    if (style.is_paused || Clock::now() < due) continue;
    if (Status status = top.Look(); !status.ok()) return status;
    due = top.taken() + top.interval();
  }
}

int RunTop(const TopFlags& flags, const std::string& address) {
  const nanoseconds interval = flags.interval.value_or(std::chrono::seconds(1));
  if (interval < std::chrono::milliseconds(50)) WrongUsage("--interval: at least 50ms");
  const bool plain = flags.once || flags.json;
  if (!plain && !HasTerminal()) {
    WrongUsage("standard input and output are no terminal; use --once or --json");
  }
  auto opened = OpenFormatted(address);
  if (!opened.ok()) return Fail(opened.status());
  HoldSignals();
  if (!plain) HoldScreenSignals();
  const Interrupt interrupt([] {});
  std::unique_ptr<Prober> prober;
  if (!flags.probes.empty()) {
    auto opened_prober = Prober::Open(address, flags.probes, interrupt);
    if (!opened_prober.ok()) return Fail(opened_prober.status());
    prober = *std::move(opened_prober);
  }
  Top top(*std::move(opened), interval, std::move(prober));
  if (plain) return RunPlain(top, flags, interrupt);
  const Status end = RunLive(top, interrupt);
  return end.ok() ? kExitOk : Fail(end);
}

}  // namespace

void AddTop(CLI::App& app, int* exit_code) {
  const auto flags = std::make_shared<TopFlags>();
  CLI::App* const command =
      AddCommand(app, exit_code,
                 {.name = "top",
                  .summary = "Show peers and pairs, their rates and rings, live",
                  .words = "",
                  .footer = kTopFooter},
                 [flags](const std::string& address, const std::vector<std::string>& /*words*/) {
                   return RunTop(*flags, address);
                 });
  AddDuration(command, "--interval", &flags->interval, "Time between two looks (1s)");
  command->add_option("--probe", flags->probes, "Show round trips to this peer, which echoes")
      ->type_name("PEER")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_flag("--once", flags->once, "Print both tables once, after one interval");
  command->add_flag("--json", flags->json,
                    "Print one JSON object a line after each interval; with --once, one document");
}

}  // namespace ivmq::tool
