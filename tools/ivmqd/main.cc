// ivmqd: the ivshmem server.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "config.h"
#include "daemon.h"
#include "descriptor_store.h"
#include "event_loop.h"
#include "log.h"

namespace {

using ivmq::server::Config;
using ivmq::server::Daemon;
using ivmq::server::EventLoop;
using ivmq::server::Log;
using ivmq::server::LogLevel;
using ivmq::server::PassedFd;

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

int ExitCode(const ivmq::Status& status) {
  return status.code() == ivmq::StatusCode::kInvalidArgument ? kExitUsage : kExitFailed;
}

ivmq::Status Serve(Config config, std::vector<std::string> arguments, std::vector<PassedFd> passed,
                   Log& log) {
  const auto loop = EventLoop::Create();
  if (!loop.ok()) return loop.status();
  const auto daemon =
      Daemon::Start(std::move(config), std::move(arguments), std::move(passed), **loop, log);
  if (!daemon.ok()) return daemon.status();
  return (*loop)->Run();
}

int Main(int argc, char** argv) {
  // Whoever reads the log may go away.
  (void)std::signal(SIGPIPE, SIG_IGN);
  std::vector<PassedFd> passed = ivmq::server::TakePassedFds();
  std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  auto config = ivmq::server::ReadConfig(arguments);
  if (!config.ok()) {
    (void)std::fprintf(stderr, "ivmqd: %s\n", config.status().message().c_str());
    return ExitCode(config.status());
  }
  if (config->help) {
    return std::fputs(config->help->c_str(), stdout) >= 0 && std::fflush(stdout) == 0 ? 0
                                                                                      : kExitFailed;
  }
  Log log(STDERR_FILENO, config->log_level, config->log_format);
  const ivmq::Status status =
      Serve(*std::move(config), std::move(arguments), std::move(passed), log);
  if (status.ok()) return 0;
  log.WriterFor("")(LogLevel::kError, status.message());
  return ExitCode(status);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Main(argc, argv);
  } catch (const std::exception& failure) {
    (void)std::fprintf(stderr, "ivmqd: %s\n", failure.what());
    return kExitFailed;
  }
}
