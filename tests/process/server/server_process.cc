#include "server_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include <gtest/gtest.h>

namespace ivmq::testing {
namespace {

constexpr int kLogPatience = 30'000;

}  // namespace

TemporaryFolder::TemporaryFolder()
    : path_((std::filesystem::temp_directory_path() / "ivmq-test-XXXXXX").string()) {
  if (mkdtemp(path_.data()) == nullptr || chmod(path_.c_str(), 0777) != 0) {
    std::perror("mkdtemp");
    std::abort();
  }
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

ServerProcess::ServerProcess(std::string socket, std::vector<std::string> arguments,
                             const std::function<void()>& before)
    : socket_(std::move(socket)) {
  if (std::find(arguments.begin(), arguments.end(), "--log-limit") == arguments.end()) {
    arguments.insert(arguments.end(), {"--log-limit", "0"});
  }
  arguments.insert(arguments.begin(), {IVMQD_PATH, "--socket", socket_, "--verbose"});
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  std::array<int, 2> pipe_ends{};
  if (pipe2(pipe_ends.data(), O_CLOEXEC) != 0) std::abort();
  log_.reset(pipe_ends[0]);
  const UniqueFd write_end(pipe_ends[1]);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(write_end.get(), STDERR_FILENO);
    // Opened first: the user that `before` changes to may not see the folder.
    const int program = open(argv[0], O_PATH | O_CLOEXEC);
    if (before) before();
    // After `before`: a change of user clears it.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    fexecve(program, argv.data(), environ);
    std::perror(argv[0]);
    _exit(127);
  }
  if (pid < 0) std::abort();
  process_ = Child(pid);
}

bool ServerProcess::ReadLog(int timeout) {
  pollfd readable{log_.get(), POLLIN, 0};
  if (poll(&readable, 1, timeout) <= 0) return true;
  std::array<char, 4096> buffer;
  const ssize_t got = read(log_.get(), buffer.data(), buffer.size());
  if (got <= 0) return false;
  text_.append(buffer.data(), static_cast<std::size_t>(got));
  return true;
}

std::string ServerProcess::AwaitLog(const std::string& text) {
  for (bool more = true;;) {
    for (std::size_t end = text_.find('\n', seen_); end != std::string::npos;
         end = text_.find('\n', seen_)) {
      std::string line = text_.substr(seen_, end - seen_);
      seen_ = end + 1;
      if (line.find(text) != std::string::npos) return line;
    }
    if (!more) break;
    const std::size_t before = text_.size();
    more = ReadLog(kLogPatience) && text_.size() != before;
  }
  ADD_FAILURE() << "the server did not log '" << text << "' but:\n" << text_;
  return {};
}

int ServerProcess::Terminate() {
  Signal(SIGTERM);
  return Wait();
}

std::string ServerProcess::Log() {
  std::size_t before = 0;
  do {
    before = text_.size();
  } while (ReadLog(pid() < 0 ? kLogPatience : 0) && text_.size() != before);
  return text_;
}

}  // namespace ivmq::testing
