#include "qemu_device.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <gtest/gtest.h>

namespace ivmq::testing {
namespace {

constexpr int kDeadlineMilliseconds = 60'000;
constexpr std::uint32_t kDevice = 0x11;
constexpr std::uint32_t kBar0 = 0xfeb00000;
constexpr std::uint32_t kIvposition = kBar0 + 8;
constexpr std::uint32_t kDoorbell = kBar0 + 12;

std::string Hex(std::uint32_t value) {
  std::array<char, 16> text{};
  (void)std::snprintf(text.data(), text.size(), "0x%x", value);
  return text.data();
}

std::array<UniqueFd, 2> Pipe() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) std::abort();
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

}  // namespace

QemuDevice::QemuDevice(const std::string& socket, std::uint32_t vectors,
                       const std::function<void()>& before, const std::string& more) {
  std::vector<std::string> arguments = {IVMQ_QEMU,
                                        "-accel",
                                        "tcg",
                                        "-S",
                                        "-M",
                                        "pc",
                                        "-smp",
                                        "1,maxcpus=2",
                                        "-m",
                                        "64",
                                        "-nodefaults",
                                        "-no-user-config",
                                        "-display",
                                        "none",
                                        "-qtest",
                                        "stdio",
                                        "-qtest-log",
                                        "none",
                                        "-chardev",
                                        "socket,id=iv,path=" + socket,
                                        "-device",
                                        "ivshmem-doorbell,chardev=iv,addr=" + Hex(kDevice) +
                                            ",vectors=" + std::to_string(vectors) + more};
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  auto [child_in, in] = Pipe();
  auto [out, child_out] = Pipe();
  auto [errors, child_errors] = Pipe();
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(child_in.get(), STDIN_FILENO);
    dup2(child_out.get(), STDOUT_FILENO);
    dup2(child_errors.get(), STDERR_FILENO);
    if (before) before();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    execv(argv[0], argv.data());
    std::perror(argv[0]);
    _exit(127);
  }
  if (pid < 0) std::abort();
  process_ = Child(pid);
  in_ = std::move(in);
  out_ = std::move(out);
  errors_ = std::move(errors);
}

std::string QemuDevice::Command(const std::string& line) {
  const std::string text = line + "\n";
  if (write(in_.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    ADD_FAILURE() << "QEMU does not take '" << line << "'";
    return {};
  }
  std::string reply;
  for (char c = 0; c != '\n'; reply += c) {
    pollfd readable{out_.get(), POLLIN, 0};
    if (poll(&readable, 1, kDeadlineMilliseconds) != 1 || read(out_.get(), &c, 1) != 1) {
      ADD_FAILURE() << "QEMU does not answer '" << line << "'";
      return {};
    }
  }
  EXPECT_EQ(reply.substr(0, 2), "OK") << line << ": " << reply;
  return reply.size() > 3 ? reply.substr(3) : std::string();
}

std::uint32_t QemuDevice::ReadConfig(std::uint32_t offset) {
  Command("outl 0xcf8 " + Hex(0x80000000U | kDevice << 11 | offset));
  const std::string value = Command("inl 0xcfc");
  return value.empty() ? 0 : static_cast<std::uint32_t>(std::stoul(value, nullptr, 16));
}

void QemuDevice::WriteConfig(std::uint32_t offset, std::uint32_t value) {
  Command("outl 0xcf8 " + Hex(0x80000000U | kDevice << 11 | offset));
  Command("outl 0xcfc " + Hex(value));
}

bool QemuDevice::Attach() {
  (void)std::signal(SIGPIPE, SIG_IGN);
  // QEMU answers once its devices are there.
  EXPECT_EQ(ReadConfig(0), 0x11101af4U);
  WriteConfig(0x10, kBar0);
  WriteConfig(0x04, 0x6);  // memory space and bus master
  if (!::testing::Test::HasFailure()) return true;
  if (pid() > 0) Kill();
  ADD_FAILURE() << Errors();
  return false;
}

std::uint16_t QemuDevice::ReadIvposition() {
  const std::string value = Command("readl " + Hex(kIvposition));
  return value.empty() ? 0xffff : static_cast<std::uint16_t>(std::stoul(value, nullptr, 16));
}

void QemuDevice::Ring(std::uint16_t peer, std::uint16_t vector) {
  Command("writel " + Hex(kDoorbell) + " " + Hex(std::uint32_t{peer} << 16 | vector));
}

std::string QemuDevice::Errors() {
  std::string text;
  std::array<char, 4096> buffer;
  ssize_t got = 0;
  while ((got = read(errors_.get(), buffer.data(), buffer.size())) > 0) {
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return text;
}

}  // namespace ivmq::testing
