// ivmqd: the ivshmem server.
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <systemd/sd-daemon.h>

#include "ivmq/address.h"

#include "event_loop.h"
#include "region_server.h"
#include "signals.h"

namespace {

using ivmq::server::EventLoop;
using ivmq::server::IdPolicy;
using ivmq::server::LogLevel;
using ivmq::server::Options;
using ivmq::server::RegionServer;
using ivmq::server::Signals;

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

constexpr const char* kDescription =
    R"(Serves one shared-memory region to QEMU guests (ivshmem-doorbell) and to processes of this host.)";

constexpr const char* kFooter = R"(
Regions:
  memfd      memory of this server, sealed: no client can truncate it. It exists as long as a process
             maps it, but a restarted server creates a new one.
  shm:NAME   POSIX shared memory; survives the server, which takes it over at its next start.
  file:PATH  a file, e.g. in hugetlbfs (then --size is a multiple of its huge page). As with shm, a
             process that may write it can truncate it, which ends every process that uses it.
  A shm or file is formatted only if it is new or all zero. A region of the same --size and --max-peers
  is taken over; anything else is refused.

Example:
  ivmqd --socket /run/ivmq/ivmq.sock --size 64M --vectors 8 --group kvm
  qemu-system-x86_64 ... -chardev socket,path=/run/ivmq/ivmq.sock,id=iv \
                         -device ivshmem-doorbell,chardev=iv,vectors=8
  ivmq ls unix:/run/ivmq/ivmq.sock

Exit status:
  0  ended by SIGTERM or SIGINT
  1  could not start or go on: socket or region in use, foreign content, no memory, ...
  2  bad options)";

std::uint64_t Size(const std::string& option, const std::string& text) {
  const auto size = ivmq::ParseSize(text);
  if (!size.ok()) throw CLI::ValidationError(option, size.status().message());
  return *size;
}

IdPolicy Policy(const std::string& text) {
  if (text == "lend") return IdPolicy::kLend;
  if (text == "unique") return IdPolicy::kUnique;
  throw CLI::ValidationError("--id-policy", fmt::format("'{}' is neither lend nor unique", text));
}

std::uint32_t Mode(const std::string& text) {
  std::size_t end = 0;
  unsigned long mode = 01000;
  try {
    mode = std::stoul(text, &end, 8);
  } catch (const std::exception&) {
    end = 0;
  }
  if (end != text.size() || mode > 0777) {
    throw CLI::ValidationError("--mode",
                               fmt::format("'{}' is not an octal number from 0 to 0777", text));
  }
  return static_cast<std::uint32_t>(mode);
}

// Standard error, which must not hold the server up: while its reader does not read, lines are
// dropped and counted.
class LogSink final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    if (!IsWritable()) {
      ++dropped_;
      return;
    }
    if (dropped_ != 0) {
      Write(fmt::format("ivmqd: {} lines of this log were dropped, since its reader was too slow\n",
                        std::exchange(dropped_, 0)));
      // The line may have taken the space that there was.
      if (!IsWritable()) {
        ++dropped_;
        return;
      }
    }
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    Write({line.data(), line.size()});
  }
  void flush_() override {}

  // A pipe that is writable takes PIPE_BUF bytes without blocking.
  static bool IsWritable() {
    pollfd writable{STDERR_FILENO, POLLOUT, 0};
    return poll(&writable, 1, 0) == 1;
  }
  static void Write(std::string_view text) {
    // Nobody is left to be told of a failure.
    (void)!write(STDERR_FILENO, text.data(), std::min<std::size_t>(text.size(), PIPE_BUF));
  }

  std::uint64_t dropped_ = 0;
};

void WriteLog(LogLevel level, std::string_view line) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::debug("{}", line);
    case LogLevel::kInfo:
      return spdlog::info("{}", line);
    case LogLevel::kWarning:
      return spdlog::warn("{}", line);
    case LogLevel::kError:
      return spdlog::error("{}", line);
  }
}

void OnSignal(EventLoop& loop, int signal, pid_t sender) {
  if (signal == SIGHUP) {
    spdlog::warn("SIGHUP from pid {} is ignored: options are read only at the start", sender);
    return;
  }
  spdlog::info("{} from pid {}", signal == SIGTERM ? "SIGTERM" : "SIGINT", sender);
  loop.Stop();
}

int Failed(const ivmq::Status& status) {
  spdlog::error("{}", status.message());
  return status.code() == ivmq::StatusCode::kInvalidArgument ? kExitUsage : kExitFailed;
}

int Serve(Options options) {
  // Whoever reads the log may go away.
  (void)std::signal(SIGPIPE, SIG_IGN);
  const auto created = EventLoop::Create();
  if (!created.ok()) return Failed(created.status());
  EventLoop& loop = **created;
  const auto signals =
      Signals::Take(loop, {SIGTERM, SIGINT, SIGHUP},
                    [&loop](int signal, pid_t sender) { OnSignal(loop, signal, sender); });
  if (!signals.ok()) return Failed(signals.status());
  const auto server = RegionServer::Create(std::move(options), loop);
  if (!server.ok()) return Failed(server.status());
  (void)sd_notify(0, "READY=1");
  const ivmq::Status status = loop.Run();
  (void)sd_notify(0, "STOPPING=1");
  if (!status.ok()) {
    spdlog::error("{}", status.message());
    return kExitFailed;
  }
  return 0;
}

int Main(int argc, char** argv) {
  Options options;
  options.log = WriteLog;
  bool verbose = false;

  CLI::App app(kDescription, "ivmqd");
  app.footer(kFooter);
  app.add_option("--socket", options.socket, "Path of the socket")->required()->type_name("PATH");
  app.add_option("--region", options.region, "memfd, shm:NAME or file:PATH")
      ->capture_default_str()
      ->type_name("REGION");
  app.add_option_function<std::string>(
         "--size", [&](const std::string& text) { options.size = Size("--size", text); },
         "Size of the region, a power of two, e.g. 64M or 1G")
      ->type_name("SIZE")
      ->default_str("64M");
  app.add_option("--vectors", options.vectors, "Doorbells of each client, 1 to 64")
      ->capture_default_str()
      ->type_name("N");
  app.add_option("--max-peers", options.max_peers, "Peers that the region has slots for, 2 to 1024")
      ->capture_default_str()
      ->type_name("N");
  app.add_option_function<std::string>(
         "--ring-size",
         [&](const std::string& text) {
           const std::uint64_t size = Size("--ring-size", text);
           if (size > UINT32_MAX)
             throw CLI::ValidationError("--ring-size", "a ring is smaller than 4G");
           options.ring_size = static_cast<std::uint32_t>(size);
         },
         "Size of the first rings, a power of two; default: chosen by the size of the region")
      ->type_name("SIZE");
  app.add_option("--group", options.group,
                 "Group of the socket, and of a shm or file that is created; name or number")
      ->type_name("GROUP");
  app.add_option_function<std::string>(
         "--mode", [&](const std::string& text) { options.mode = Mode(text); },
         "Permissions of the socket, and of a shm or file that is created, octal")
      ->type_name("MODE")
      ->default_str("0660");
  app.add_option(
         "--allow-uid", options.allow_uids,
         "Only this user may connect, apart from root and the server's own user; may be repeated")
      ->type_name("UID")
      ->allow_extra_args(false);
  app.add_option_function<std::string>(
         "--id-policy", [&](const std::string& text) { options.id_policy = Policy(text); },
         "lend: the id of a client that is gone is assigned to the next one; unique: the others "
         "are told that it is gone, and no id is reused")
      ->type_name("lend|unique")
      ->default_str("lend");
  app.add_option("--first-id", options.first_id,
                 "Id of the first client, 0 to 65534; QEMU's ivshmem-doorbell,master=on needs 0")
      ->capture_default_str()
      ->type_name("N");
  app.add_option("--ids-per-uid", options.ids_per_uid,
                 "Most ids that the clients of one user may have, connected or not; one process "
                 "may have three quarters of them; 0: three quarters of what this server can serve")
      ->capture_default_str()
      ->type_name("N");
  app.add_option_function<std::uint32_t>(
         "--handshake-timeout",
         [&](std::uint32_t seconds) { options.handshake_timeout = std::chrono::seconds(seconds); },
         "Seconds after which a connection that does not read its greeting is closed; 0: never")
      ->type_name("SECONDS")
      ->default_str("60");
  app.add_option(
         "--log-limit", options.log_lines_per_second,
         "Most lines in this log that the clients of one user may cause in a second; further "
         "lines are only counted; 0: no limit")
      ->capture_default_str()
      ->type_name("N");
  app.add_flag("--verbose", verbose,
               "Also log clients that read slowly, and those that only inspect the region");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }

  spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("ivmqd", std::make_shared<LogSink>()));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e ivmqd[%P] %l: %v");
  spdlog::set_level(verbose ? spdlog::level::debug : spdlog::level::info);
  return Serve(std::move(options));
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
