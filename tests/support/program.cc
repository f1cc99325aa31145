#include "support/program.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include <gtest/gtest.h>

namespace ivmq::testing {
namespace {

constexpr int kSilence = 60'000;

struct Pipe {
  int read_end;
  int write_end;
};

Pipe MakePipe() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    std::perror("pipe2");
    std::abort();
  }
  return {ends[0], ends[1]};
}

void Close(int* fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

// In the new process.
[[noreturn]] void Run(char* const* argv, const ProgramOptions& options) {
  for (const auto& [name, value] : options.environment) {
    if (value.empty()) {
      unsetenv(name.c_str());
    } else {
      setenv(name.c_str(), value.c_str(), 1);
    }
  }
  if (options.before) {
    // Opened first: the user that `before` changes to may not see the folder.
    const int program = open(argv[0], O_PATH | O_CLOEXEC);
    options.before();
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // a change of user clears it
    (void)fexecve(program, argv, environ);
  } else {
    execv(argv[0], argv);
  }
  std::perror(argv[0]);
  _exit(127);
}

}  // namespace

Program::Program(std::vector<std::string> command, const ProgramOptions& options) {
  // A program that ends early must not end the test.
  (void)std::signal(SIGPIPE, SIG_IGN);
  std::vector<char*> argv;
  for (std::string& word : command) argv.push_back(word.data());
  argv.push_back(nullptr);
  Pipe in = MakePipe();
  Pipe out = MakePipe();
  Pipe err = MakePipe();
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) {
    std::perror("fork");
    std::abort();
  }
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    (void)std::signal(SIGPIPE, SIG_DFL);
    dup2(in.read_end, STDIN_FILENO);
    dup2(out.write_end, STDOUT_FILENO);
    dup2(options.errors_apart ? err.write_end : out.write_end, STDERR_FILENO);
    Run(argv.data(), options);
  }
  for (int* const end : {&in.read_end, &out.write_end, &err.write_end}) Close(end);
  process_ = Child(pid);
  input_ = in.write_end;
  streams_ = {out.read_end, err.read_end};
}

Program::~Program() {
  CloseInput();
  for (int& stream : streams_) Close(&stream);
}

bool Program::Read(int timeout) {
  std::array<pollfd, 2> waits{};
  for (std::size_t i = 0; i < waits.size(); ++i) waits[i] = {streams_[i], POLLIN, 0};
  if (streams_[0] < 0 && streams_[1] < 0) return false;
  const int ready = poll(waits.data(), waits.size(), timeout);
  for (std::size_t i = 0; ready > 0 && i < waits.size(); ++i) {
    if (waits[i].revents == 0) continue;
    std::array<char, 65536> buffer;
    const ssize_t got = read(streams_[i], buffer.data(), buffer.size());
    if (got > 0) {
      texts_[i].append(buffer.data(), static_cast<std::size_t>(got));
    } else if (got == 0 || errno != EINTR) {
      Close(&streams_[i]);
    }
  }
  return ready != 0;
}

std::string Program::AwaitLine(Stream stream, std::string_view text) {
  const std::string& all = texts_[static_cast<std::size_t>(stream)];
  std::size_t& passed = passed_[static_cast<std::size_t>(stream)];
  do {
    for (std::size_t end = all.find('\n', passed); end != std::string::npos;
         end = all.find('\n', passed)) {
      std::string line = all.substr(passed, end - passed);
      passed = end + 1;
      if (line.find(text) != std::string::npos) return line;
    }
  } while (Read(kSilence));
  ADD_FAILURE() << "no line with '" << text << "' but:\n" << texts_[0] << texts_[1];
  return {};
}

bool Program::AwaitOutput(std::string_view text) {
  while (output().find(text) == std::string::npos) {
    if (!Read()) {
      ADD_FAILURE() << "it ended without '" << text << "':\n" << texts_[0] << texts_[1];
      return false;
    }
  }
  return true;
}

void Program::AwaitEnd() {
  while (Read()) {
  }
}

const std::string& Program::Written(Stream stream) {
  while (Read(0)) {
  }
  return texts_[static_cast<std::size_t>(stream)];
}

void Program::WriteInput(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(input_, text.data(), text.size());
    if (written < 0) return;  // it ended early; the test sees that in its exit code
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

void Program::CloseInput() noexcept { Close(&input_); }

void Program::CloseOutput() noexcept { Close(&streams_[0]); }

int Program::Kill() {
  Signal(SIGKILL);
  return Wait();
}

int Program::Wait() {
  CloseInput();
  AwaitEnd();
  return process_.Wait();
}

}  // namespace ivmq::testing
