#include "succession.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include <gtest/gtest.h>

#include "keeper.h"
#include "src/unique_fd.h"

namespace ivmq::testing {
namespace {

pid_t Spawn(const Succession::Command& command, const std::string& log) {
  std::vector<char*> arguments;
  for (const std::string& argument : command)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const pid_t pid = vfork();
  if (pid == 0) {
    const int file = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    (void)dup2(file, STDERR_FILENO);
    (void)execv(arguments[0], arguments.data());
    _exit(127);
  }
  return pid;
}

}  // namespace

Succession::Succession(std::string socket, std::deque<Command> first, Command then, std::string log,
                       ServiceManager* manager)
    : socket_(std::move(socket)),
      log_(std::move(log)),
      manager_(manager),
      first_(std::move(first)),
      then_(std::move(then)),
      thread_([this] { Run(); }) {
  AwaitServing(1);
}

std::size_t Succession::CountServing() const {
  std::ifstream file(log_);
  std::size_t count = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.find("serving") != std::string::npos) ++count;
  }
  return count;
}

void Succession::AwaitServing(std::size_t count) {
  while (CountServing() < count && !HasEnded()) std::this_thread::yield();
}

Succession::~Succession() {
  {
    const std::scoped_lock lock(mutex_);
    ending_ = true;
    if (pid_ > 0) (void)kill(pid_, SIGKILL);
  }
  if (thread_.joinable()) thread_.join();
  EndKeeper(socket_);
}

bool Succession::HasEnded() {
  const std::scoped_lock lock(mutex_);
  return ending_;
}

void Succession::Run() {
  std::unique_lock lock(mutex_);
  while (!ending_) {
    Command command = then_;
    if (!first_.empty()) {
      command = std::move(first_.front());
      first_.pop_front();
    }
    pid_ = Start(command);
    changed_.notify_all();
    const pid_t pid = pid_;
    lock.unlock();
    AwaitEnd(pid);
    lock.lock();
    pid_ = -1;
    int status = 0;
    (void)waitpid(pid, &status, 0);
    status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (status_ == 128 + SIGKILL) {
      ++killed_;
    } else if (std::exchange(restarting_, false)) {
      EXPECT_EQ(status_, 0);
    } else if (!ending_) {
      ADD_FAILURE() << "a server ended with " << status_ << "; see " << log_;
      ending_ = true;
    }
  }
}

pid_t Succession::Start(const Command& command) const {
  return manager_ != nullptr ? manager_->Start(command, log_) : Spawn(command, log_);
}

// It is a zombie then, and its pid its own until it is waited for.
void Succession::AwaitEnd(pid_t pid) {
  if (manager_ != nullptr) {
    const UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    std::array<pollfd, 2> events{{{process.get(), POLLIN, 0}, {manager_->fd(), POLLIN, 0}}};
    while (events[0].revents == 0) {
      (void)poll(events.data(), events.size(), -1);
      manager_->Receive();
    }
  }
  siginfo_t end{};
  (void)waitid(P_PID, static_cast<id_t>(pid), &end, WEXITED | WNOWAIT);
}

void Succession::Restart() {
  const std::size_t served = CountServing();
  {
    const std::scoped_lock lock(mutex_);
    restarting_ = true;
    if (pid_ > 0) (void)kill(pid_, SIGTERM);
  }
  AwaitServing(served + 1);
}

void Succession::Kill() {
  std::unique_lock lock(mutex_);
  const int killed = killed_;
  if (pid_ > 0) (void)kill(pid_, SIGKILL);
  changed_.wait(lock, [&] { return ending_ || (killed_ > killed && pid_ > 0); });
}

int Succession::Terminate() {
  for (;;) {
    {
      const std::scoped_lock lock(mutex_);
      ending_ = true;
      if (pid_ > 0) (void)kill(pid_, SIGTERM);
    }
    thread_.join();
    if (status_ != 128 + SIGKILL && status_ != 128 + SIGTERM) return status_;
    // It had come to its step before it heard of it, or had not begun to listen to signals.
    const std::size_t served = CountServing();
    ending_ = false;
    thread_ = std::thread([this] { Run(); });
    AwaitServing(served + 1);
  }
}

Succession::Command Ivmqd(const std::string& socket, std::vector<std::string> arguments,
                          const std::string& keep) {
  Succession::Command command{IVMQD_PATH, "--socket", socket, "--keep", keep, "--log-limit", "0"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

Succession::Command SteppingIvmqd(const std::string& socket, std::vector<std::string> arguments) {
  Succession::Command command{STEPPING_IVMQD_PATH, socket};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

void EndKeeper(const std::string& socket) {
  const auto ended = server::AskKeeper(socket + ".keeper", server::Ask::kEnd);
  EXPECT_TRUE(ended.ok()) << ended.status().ToString();
}

}  // namespace ivmq::testing
