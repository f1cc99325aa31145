#include "common/process.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <thread>

#include <fmt/format.h>

namespace ivmq::campaign {

std::int64_t MonotonicNanoseconds() {
  return std::chrono::steady_clock::now().time_since_epoch().count();
}

pid_t Fork(const std::function<int()>& body) {
  (void)std::fflush(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) {
    std::perror("fork");
    std::abort();
  }
  if (pid != 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  const int status = body();
  (void)std::fflush(nullptr);
  _exit(status);
}

void KillAndWait(pid_t pid) {
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
}

void RunBeside(const std::vector<std::function<void()>>& bodies, std::chrono::milliseconds limit) {
  std::vector<pid_t> pids;
  for (const auto& body : bodies) {
    pids.push_back(Fork([&body] {
      body();
      return 0;
    }));
  }
  constexpr std::chrono::milliseconds kTick{50};
  const auto until = std::chrono::steady_clock::now() + limit;
  for (const pid_t pid : pids) {
    while (!EndOf(pid)) {
      if (std::chrono::steady_clock::now() > until) kill(pid, SIGKILL);
      std::this_thread::sleep_for(kTick);
    }
  }
}

bool Until(std::chrono::milliseconds limit, const std::function<bool()>& done,
           const std::function<void()>& meanwhile, std::chrono::milliseconds tick) {
  const auto until = std::chrono::steady_clock::now() + limit;
  while (!done()) {
    if (std::chrono::steady_clock::now() >= until) return false;
    meanwhile();
    std::this_thread::sleep_for(tick);
  }
  return true;
}

std::optional<int> EndOf(pid_t pid) {
  int status = 0;
  if (waitpid(pid, &status, WNOHANG) != pid) return std::nullopt;
  return status;
}

std::string TextOfEnd(int status) {
  return WIFSIGNALED(status) ? fmt::format("ended by signal {}", WTERMSIG(status))
                             : fmt::format("ended with status {}", WEXITSTATUS(status));
}

std::uint64_t MemoryOf(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/statm", pid));
  std::uint64_t pages = 0;
  std::uint64_t resident = 0;
  std::uint64_t shared = 0;
  file >> pages >> resident >> shared;
  return (resident - std::min(resident, shared)) * static_cast<std::uint64_t>(getpagesize());
}

std::size_t DescriptorsOf(pid_t pid) {
  std::error_code error;
  std::size_t count = 0;
  for (std::filesystem::directory_iterator at(fmt::format("/proc/{}/fd", pid), error), end;
       !error && at != end; at.increment(error)) {
    ++count;
  }
  return count;
}

}  // namespace ivmq::campaign
