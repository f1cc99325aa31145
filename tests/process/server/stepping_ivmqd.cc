// ivmqd for tests: it kills itself at a step, and its record may have another version.
//   stepping_ivmqd SOCKET lend|unique STEP:N|- MAJOR.MINOR[+BYTES] [upgrade] [no-takeover] [large]
#include <csignal>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "estate.h"
#include "event_loop.h"
#include "region_server.h"
#include "signals.h"
#include "step.h"

namespace ivmq::server {
namespace {

std::string step_name;
int passes_left = 0;

}  // namespace

void Step(const char* name) noexcept {
  if (step_name == name && --passes_left == 0) (void)kill(getpid(), SIGKILL);
}

namespace {

int Failed(const Status& status) {
  (void)std::fprintf(stderr, "%s\n", status.message().c_str());
  return 1;
}

int Main(const std::vector<std::string>& arguments) {
  Options options;
  options.socket = arguments.at(1);
  options.size = std::uint64_t{1} << 20;
  options.vectors = 3;
  options.ids_per_uid = 16;
  options.id_policy = arguments.at(2) == "unique" ? IdPolicy::kUnique : IdPolicy::kLend;
  if (const std::size_t colon = arguments.at(3).find(':'); colon != std::string::npos) {
    step_name = arguments[3].substr(0, colon);
    passes_left = std::stoi(arguments[3].substr(colon + 1));
  }
  options.log = [](LogLevel, std::string_view line) {
    (void)std::fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data());
  };
  EstateOptions estate_options{.sockets = {options.socket}, .log = options.log};
  (void)std::sscanf(arguments.at(4).c_str(), "%u.%u+%u", &estate_options.version.major,
                    &estate_options.version.minor, &estate_options.version.more_id_bytes);
  for (std::size_t i = 5; i < arguments.size(); ++i) {
    estate_options.upgrade |= arguments[i] == "upgrade";
    estate_options.take_over &= arguments[i] != "no-takeover";
    if (arguments[i] == "large") {
      options.size = std::uint64_t{16} << 20;
      options.vectors = 4;
    }
  }
  std::vector<PassedFd> passed = TakePassedFds();
  (void)std::signal(SIGPIPE, SIG_IGN);
  const auto loop = EventLoop::Create();
  if (!loop.ok()) return Failed(loop.status());
  const auto signals = Signals::Take(**loop, {SIGTERM}, [&](int, pid_t) { (*loop)->Stop(); });
  if (!signals.ok()) return Failed(signals.status());
  const auto estate = Estate::Open(std::move(estate_options), **loop, std::move(passed));
  if (!estate.ok()) return Failed(estate.status());
  const auto server = RegionServer::Create(std::move(options), **loop, **estate);
  if (!server.ok()) return Failed(server.status());
  if (const Status status = (*estate)->Commit(); !status.ok()) return Failed(status);
  const Status status = (*loop)->Run();
  (*estate)->End();
  return status.ok() ? 0 : Failed(status);
}

}  // namespace
}  // namespace ivmq::server

int main(int argc, char** argv) {
  try {
    return ivmq::server::Main({argv, argv + argc});
  } catch (const std::exception& failure) {
    (void)std::fprintf(stderr, "stepping_ivmqd: %s\n", failure.what());
    return 2;
  }
}
