// ivmq wait: waits for doorbells.
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "command.h"
#include "commands.h"
#include "exit_code.h"
#include "interrupt.h"
#include "output.h"
#include "server_clients.h"
#include "text.h"

namespace ivmq::tool {
namespace {

using std::chrono::nanoseconds;
using Clock = std::chrono::steady_clock;

constexpr const char* kWaitFooter =
    R"(Connects to the server as a client; "ready" on standard error is followed by the
id that others ring. Works with any ivshmem server. With VECTOR, rings of other
vectors do not count.

Example:
  ivmq wait unix:/run/ivmq/ivmq.sock --timeout 10
  ivmq wait unix:/run/ivmq/ivmq.sock -n 0)";

struct WaitFlags {
  std::uint64_t count = 1;
  std::optional<nanoseconds> timeout;
  bool json = false;
};

class Waiter {
 public:
  Waiter(IvshmemClient& client, const Interrupt& interrupt)
      : client_(client), interrupt_(interrupt) {}

  // The next ring. DEADLINE_EXCEEDED at the deadline (nothing: there is none), CANCELLED after a
  // signal.
  Result<IvshmemClient::Rung> Next(std::optional<Clock::time_point> deadline) {
    for (;;) {
      if (interrupt_.requested()) return Status(StatusCode::kCancelled, "interrupted");
      const auto now = Clock::now();
      auto rung = client_.Wait(now);
      if (rung.ok() || rung.status().code() != StatusCode::kDeadlineExceeded) return rung;
      if (deadline && now >= *deadline) return rung;
      Sleep(deadline);
    }
  }

 private:
  void Sleep(std::optional<Clock::time_point> deadline) {
    std::vector<pollfd> waits{{interrupt_.fd(), POLLIN, 0}};
    for (std::uint32_t v = 0; v < client_.vectors(); ++v) {
      waits.push_back({client_.vector_fd(v), POLLIN, 0});
    }
    if (connected_) waits.push_back({client_.control_fd(), POLLIN, 0});
    int timeout = -1;
    if (deadline) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - Clock::now());
      timeout = static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 3600 * 1000));
    }
    (void)poll(waits.data(), waits.size(), timeout);
    if (!connected_ || waits.back().revents == 0 || client_.HandleControl()) return;
    connected_ = false;
    Complain(client_.connection().message() + "; still waiting for clients that know this one");
  }

  IvshmemClient& client_;
  const Interrupt& interrupt_;
  bool connected_ = true;
};

std::optional<std::uint32_t> ParseVector(const std::vector<std::string>& words) {
  if (words.empty()) return std::nullopt;
  const auto vector = ParseNumber(words[0], std::numeric_limits<std::uint16_t>::max());
  if (!vector) WrongUsage(fmt::format("VECTOR is a number, not '{}'", words[0]));
  return static_cast<std::uint32_t>(*vector);
}

int RunWait(const WaitFlags& options, const std::string& address,
            std::optional<std::uint32_t> vector) {
  HoldSignals();
  const auto client = ConnectAndSettle(address);
  if (!client.ok()) return Fail(client.status());
  const std::uint32_t vectors = (*client)->vectors();
  if (vector && *vector >= vectors) {
    return Fail({StatusCode::kInvalidArgument,
                 fmt::format("{}: this client has vectors 0 to {}, but not {}", address,
                             vectors - 1, *vector)});
  }
  const Interrupt interrupt([] {});
  const std::uint16_t id = (*client)->id();
  Complain(fmt::format("ready as client {}, {} vector{}, at {}", id, vectors,
                       vectors == 1 ? "" : "s", address));

  Waiter waiter(**client, interrupt);
  for (std::uint64_t rings = 0; options.count == 0 || rings < options.count;) {
    std::optional<Clock::time_point> deadline;
    if (options.timeout) deadline = Clock::now() + *options.timeout;
    const auto rung = waiter.Next(deadline);
    if (!rung.ok()) {
      const bool interrupted = rung.status().code() == StatusCode::kCancelled;
      if (!interrupted)
        return Fail({rung.status().code(), address + ": " + rung.status().message()});
      Complain(fmt::format("{} ring{}", rings, rings == 1 ? "" : "s"));
      return options.count == 0 ? kExitOk : kExitInterrupted;
    }
    if (vector && rung->vector != *vector) continue;
    rings += rung->count;
    if (options.json) {
      Print(JsonText({{"id", id}, {"vector", rung->vector}, {"count", rung->count}},
                     JsonStyle::kOneLine));
    } else {
      Print(fmt::format("vector {} rung{}\n", rung->vector,
                        rung->count == 1 ? "" : fmt::format(" {} times", rung->count)));
    }
  }
  return kExitOk;
}

}  // namespace

void AddWait(CLI::App& app, int* exit_code) {
  const auto options = std::make_shared<WaitFlags>();
  CLI::App* const command =
      AddCommand(app, exit_code,
                 {.name = "wait",
                  .summary = "Wait for doorbells, with any ivshmem server",
                  .words = "[VECTOR]",
                  .max_words = 1,
                  .footer = kWaitFooter},
                 [options](const std::string& address, const std::vector<std::string>& words) {
                   return RunWait(*options, address, ParseVector(words));
                 });
  command->add_option("-n,--count", options->count, "End after this many rings; 0: at SIGINT (1)")
      ->type_name("COUNT");
  AddDuration(command, "--timeout", &options->timeout,
              "End when no ring has arrived for this long");
  command->add_flag("--json", options->json, "Print one JSON object per line");
}

}  // namespace ivmq::tool
