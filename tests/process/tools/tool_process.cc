#include "tool_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include <gtest/gtest.h>

namespace ivmq::testing {
namespace {

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};

Pipe MakePipe() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) std::abort();
  Pipe pipe;
  pipe.read_end.reset(ends[0]);
  pipe.write_end.reset(ends[1]);
  return pipe;
}

}  // namespace

nlohmann::json Outcome::Json() const {
  auto json = nlohmann::json::parse(out, nullptr, /*allow_exceptions=*/false);
  EXPECT_FALSE(json.is_discarded()) << "no JSON: " << out << err;
  return json.is_discarded() ? nlohmann::json() : json;
}

Tool::Tool(std::vector<std::string> arguments, std::string_view address,
           const std::function<void()>& before) {
  // A program that ends early must not end the test.
  (void)std::signal(SIGPIPE, SIG_IGN);
  arguments.insert(arguments.begin(), IVMQ_PATH);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  Pipe in = MakePipe();
  Pipe out = MakePipe();
  Pipe err = MakePipe();
  const std::string variable(address);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    dup2(in.read_end.get(), STDIN_FILENO);
    dup2(out.write_end.get(), STDOUT_FILENO);
    dup2(err.write_end.get(), STDERR_FILENO);
    if (variable.empty()) {
      unsetenv("IVMQ_ADDRESS");
    } else {
      setenv("IVMQ_ADDRESS", variable.c_str(), 1);
    }
    // Opened first: the user that `before` changes to may not see the folder.
    const int program = open(argv[0], O_PATH | O_CLOEXEC);
    if (before) before();
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // a change of user clears it
    (void)fexecve(program, argv.data(), environ);
    std::perror(argv[0]);
    _exit(127);
  }
  if (pid < 0) std::abort();
  process_ = Child(pid);
  input_ = std::move(in.write_end);
  streams_ = {std::move(out.read_end), std::move(err.read_end)};
}

bool Tool::Read() {
  std::array<pollfd, 2> waits{};
  bool open = false;
  for (std::size_t i = 0; i < waits.size(); ++i) {
    waits[i] = {streams_[i].valid() ? streams_[i].get() : -1, POLLIN, 0};
    open = open || streams_[i].valid();
  }
  if (!open) return false;
  (void)poll(waits.data(), waits.size(), -1);
  for (std::size_t i = 0; i < waits.size(); ++i) {
    if (waits[i].revents == 0) continue;
    std::array<char, 65536> buffer;
    const ssize_t got = read(streams_[i].get(), buffer.data(), buffer.size());
    if (got > 0) {
      texts_[i].append(buffer.data(), static_cast<std::size_t>(got));
    } else {
      streams_[i].reset();
    }
  }
  return true;
}

std::string Tool::Await(std::size_t stream, const std::string& text) {
  std::string& all = texts_[stream];
  std::size_t& passed = passed_[stream];
  do {
    for (std::size_t end = all.find('\n', passed); end != std::string::npos;
         end = all.find('\n', passed)) {
      std::string line = all.substr(passed, end - passed);
      passed = end + 1;
      if (line.find(text) != std::string::npos) return line;
    }
  } while (Read());
  ADD_FAILURE() << "ivmq ended without '" << text << "':\n" << texts_[0] << texts_[1];
  return {};
}

void Tool::AwaitEnd() {
  while (Read()) {
  }
}

void Tool::WriteInput(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(input_.get(), text.data(), text.size());
    if (written < 0) return;  // it ended early; the test sees that in its exit code
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

void Tool::CloseOutput() { streams_[0].reset(); }

Outcome Tool::Wait() {
  CloseInput();
  AwaitEnd();
  return {process_.Wait(), texts_[0], texts_[1]};
}

Outcome RunTool(std::vector<std::string> arguments, std::string_view input,
                std::string_view address) {
  Tool tool(std::move(arguments), address);
  tool.WriteInput(input);
  return tool.Wait();
}

}  // namespace ivmq::testing
