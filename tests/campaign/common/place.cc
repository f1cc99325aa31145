#include "common/place.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "ivmq/address.h"

#include "common/process.h"

namespace ivmq::campaign {
namespace {

constexpr std::chrono::seconds kServerStarts{30};

int RunServer(std::vector<std::string> command, const std::string& log, std::uint64_t descriptors) {
  if (std::freopen(log.c_str(), "a", stderr) == nullptr) return 1;
  if (descriptors != 0) {
    const rlimit limit{descriptors, descriptors};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return 1;
  }
  std::vector<char*> arguments;
  for (std::string& argument : command) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  execv(arguments.front(), arguments.data());
  std::perror(arguments.front());
  return 1;
}

}  // namespace

Place::Place(const PlaceOptions& options)
    : options_(options),
      folder_((std::filesystem::temp_directory_path() / "ivmq-campaign-XXXXXX").string()) {
  if (mkdtemp(folder_.data()) == nullptr) {
    std::perror(folder_.c_str());
    std::abort();
  }
  if (!options.over_unix || options.region_is_file) file_address_ = "file:" + folder_ + "/region";
  if (!options.over_unix) {
    address_ = file_address_;
    status_ = CreateRegionFile(
        address_, options.region_bytes,
        {.format = {.max_peers = options.max_peers, .ring_capacity = options.ring_bytes}});
    return;
  }
  const std::string socket = folder_ + "/socket";
  address_ = "unix:" + socket;
  command_ = {IVMQD_PATH,
              "--socket",
              socket,
              "--size",
              fmt::format("{}M", options.region_bytes >> 20),
              "--max-peers",
              std::to_string(options.max_peers)};
  if (options.ring_bytes != 0) {
    command_.insert(command_.end(), {"--ring-size", fmt::format("{}K", options.ring_bytes >> 10)});
  }
  if (options.region_is_file) command_.insert(command_.end(), {"--region", file_address_});
  if (!options.has_keeper) command_.emplace_back("--no-keeper");
  command_.insert(command_.end(), options.server_arguments.begin(), options.server_arguments.end());
  StartServer();
  const auto until = std::chrono::steady_clock::now() + kServerStarts;
  while (!IsServed()) {
    if (EndOf(server_) || std::chrono::steady_clock::now() > until) {
      status_ = Status(StatusCode::kUnavailable, "ivmqd did not start: see " + folder_);
      server_ = -1;
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

void Place::StartServer(bool is_upgrade) {
  std::vector<std::string> command = command_;
  if (is_upgrade) command.emplace_back("--upgrade");
  server_ =
      Fork([&] { return RunServer(command, folder_ + "/ivmqd.log", options_.server_descriptors); });
}

void Place::KillServer() {
  KillAndWait(server_);
  server_ = -1;
}

bool Place::IsServed() const {
  const std::string socket = folder_ + "/socket";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, socket.c_str(),
              std::min(socket.size() + 1, sizeof(address.sun_path)));
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return false;
  const bool is_served =
      connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  close(fd);
  return is_served;
}

Status Place::EndServer() {
  if (server_ < 0) return {};
  const std::optional<int> end = EndOf(server_);
  int status = end.value_or(0);
  if (!end) {
    kill(server_, SIGTERM);
    waitpid(server_, &status, 0);
  }
  server_ = -1;
  if (!end && status == 0) return {};
  return {StatusCode::kInternal, "ivmqd " + TextOfEnd(status)};
}

std::string Place::Keep() {
  is_kept_ = true;
  return fmt::format("  Region and reports are kept in {}\n", folder_);
}

Place::~Place() {
  (void)EndServer();
  if (is_kept_) return;
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

}  // namespace ivmq::campaign
