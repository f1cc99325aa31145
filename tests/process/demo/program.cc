#include "program.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include <gtest/gtest.h>

namespace ivmq::testing {

Program::Program(std::vector<std::string> command, const Variables& environment) {
  // A program that ends early must not end the test.
  (void)std::signal(SIGPIPE, SIG_IGN);
  std::vector<char*> argv;
  for (std::string& word : command) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::array<int, 2> in{};
  std::array<int, 2> out{};
  if (pipe2(in.data(), O_CLOEXEC) != 0 || pipe2(out.data(), O_CLOEXEC) != 0) std::abort();
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ < 0) std::abort();
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    (void)std::signal(SIGPIPE, SIG_DFL);
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    dup2(out[1], STDERR_FILENO);
    for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
    execv(argv[0], argv.data());
    std::perror(argv[0]);
    _exit(127);
  }
  close(in[0]);
  close(out[1]);
  input_ = in[1];
  stream_ = out[0];
}

Program::~Program() {
  CloseInput();
  if (stream_ >= 0) close(stream_);
  if (pid_ <= 0) return;
  (void)kill(pid_, SIGKILL);
  (void)waitpid(pid_, nullptr, 0);
}

bool Program::Read() {
  if (stream_ < 0) return false;
  std::array<char, 4096> bytes;
  const ssize_t got = read(stream_, bytes.data(), bytes.size());
  if (got < 0 && errno == EINTR) return true;
  if (got <= 0) {
    close(stream_);
    stream_ = -1;
    return false;
  }
  output_.append(bytes.data(), static_cast<std::size_t>(got));
  return true;
}

bool Program::AwaitOutput(std::string_view text) {
  while (output_.find(text) == std::string::npos) {
    if (!Read()) {
      ADD_FAILURE() << "it ended without '" << text << "':\n" << output_;
      return false;
    }
  }
  return true;
}

void Program::Write(std::string_view text) const {
  EXPECT_EQ(write(input_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

void Program::CloseInput() {
  if (input_ >= 0) close(input_);
  input_ = -1;
}

void Program::Signal(int signal) const { ASSERT_EQ(kill(pid_, signal), 0); }

int Program::Wait() {
  while (Read()) {
  }
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace ivmq::testing
