#include "client_process.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/times.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "src/unique_fd.h"
#include "support/temp_folder.h"

namespace ivmq::server {
namespace {

// A socket that child processes connect to.
class ClientProcessTest : public ::testing::Test {
 protected:
  ClientProcessTest() : listener_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    address_.sun_family = AF_UNIX;
    (folder_ / "s").copy(address_.sun_path, sizeof(address_.sun_path) - 1);
    EXPECT_EQ(bind(listener_.get(), Address(), sizeof(address_)), 0);
    EXPECT_EQ(listen(listener_.get(), 8), 0);
  }

  // Accepts the connection of a child process, which ends with this object.
  class Connected {
   public:
    Connected(int listener, pid_t child)
        : child_(child), socket_(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC)) {}
    ~Connected() {
      kill(child_, SIGKILL);
      EXPECT_EQ(waitpid(child_, nullptr, 0), child_);
    }
    Connected(const Connected&) = delete;
    Connected& operator=(const Connected&) = delete;

    [[nodiscard]] ClientProcess Look() const { return ClientProcess(socket_.get()); }
    [[nodiscard]] pid_t pid() const { return child_; }

   private:
    pid_t child_;
    UniqueFd socket_;
  };

  // A child with this pid, or any if it is 0, which connects and then does `more`.
  std::unique_ptr<Connected> Connect(pid_t pid = 0, const std::function<void()>& more = {}) {
    clone_args arguments{};
    arguments.exit_signal = SIGCHLD;
    if (pid != 0) {
      arguments.set_tid = reinterpret_cast<std::uintptr_t>(&pid);
      arguments.set_tid_size = 1;
    }
    const auto child = static_cast<pid_t>(syscall(SYS_clone3, &arguments, sizeof(arguments)));
    if (child == 0) {
      const int client = socket(AF_UNIX, SOCK_STREAM, 0);
      if (connect(client, Address(), sizeof(address_)) != 0) _exit(1);
      if (more) more();
      for (;;) pause();
    }
    if (child < 0) {
      std::perror("clone3, which root may call with a pid");
      std::abort();
    }
    return std::make_unique<Connected>(listener_.get(), child);
  }

  // Whether a process with this program, started by this name, is taken for a QEMU.
  bool IsQemu(const std::string& program, const std::string& name) {
    const std::string file = folder_ / program;
    std::filesystem::copy_file("/bin/sleep", file);
    if (name != program) std::filesystem::create_symlink(file, folder_ / name);
    std::array<int, 2> started{};
    EXPECT_EQ(pipe2(started.data(), O_CLOEXEC), 0);
    const UniqueFd end(started[0]);
    UniqueFd begin(started[1]);
    const auto connected = Connect(0, [&] {
      (void)execl((folder_ / name).c_str(), name.c_str(), "1000", nullptr);
      _exit(1);
    });
    begin.reset();
    char byte = 0;
    EXPECT_EQ(read(end.get(), &byte, 1), 0);  // closed by exec()
    return connected->Look().IsQemu();
  }

  sockaddr* Address() { return reinterpret_cast<sockaddr*>(&address_); }

  testing::TempFolder folder_;
  sockaddr_un address_{};
  UniqueFd listener_;
};

TEST_F(ClientProcessTest, ConnectionsOfOneProcessHaveOneKey) {
  const auto connected = Connect();
  EXPECT_EQ(connected->Look().key(), connected->Look().key());
  EXPECT_EQ(connected->Look().pid(), connected->pid());
  EXPECT_EQ(connected->Look().uid(), geteuid());
}

TEST_F(ClientProcessTest, AProcessThatGetsThePidOfAnotherIsNotTakenForIt) {
  auto first = Connect();
  const pid_t pid = first->pid();
  const ProcessKey key = first->Look().key();
  first.reset();
  tms unused{};
  for (const clock_t tick = times(&unused); times(&unused) == tick;) {
  }
  const auto second = Connect(pid);
  EXPECT_EQ(second->Look().pid(), pid);
  EXPECT_NE(second->Look().key(), key);
}

TEST_F(ClientProcessTest, AQemuIsKnownByItsProgramWhateverItIsCalled) {
  EXPECT_TRUE(IsQemu("qemu-system-x86_64", "vm1"));
  EXPECT_FALSE(IsQemu("sleep", "vm2"));
}

TEST_F(ClientProcessTest, AQemuIsKnownByWhatItIsCalledWhateverProgramStartsIt) {
  EXPECT_TRUE(IsQemu("wrapper", "qemu-kvm"));
}

}  // namespace
}  // namespace ivmq::server
