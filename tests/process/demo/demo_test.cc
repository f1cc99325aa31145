// The demo delivers, and leaves nothing behind however it ends.
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/program.h"
#include "support/temp_folder.h"

namespace ivmq::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// With QEMU or with processes of the host only: see CMakeLists.txt.
#ifdef IVMQ_DEMO_GUESTS
#define IVMQ_DEMO_SUITE DemoGuestsTest
const std::vector<std::string> kMode = {};
const std::vector<std::string> kDirections = {"host -> vm1", "vm1 -> vm2", "vm2 -> host",
                                              "vm1 -> host", "vm2 -> vm1", "host -> vm2",
                                              "host -> vm3", "vm3 -> host"};
const std::vector<std::string> kCalls = {
    "host -> vm1 -> vm2 +ivmq",
    "vm1-client -> vm2 +ivmq",
#ifdef IVMQ_DEMO_GRPC
    "vm1-client -> vm2 +gRPC over virtio-net",
#endif
};
#else
#define IVMQ_DEMO_SUITE DemoTest
const std::vector<std::string> kMode = {"--host"};
const std::vector<std::string> kDirections = {"host -> app1", "app1 -> app2", "app2 -> host",
                                              "app1 -> host", "app2 -> app1", "host -> app2"};
const std::vector<std::string> kCalls = {"host -> app2 +ivmq", "host -> app1 -> app2 +ivmq"};
#endif

std::vector<std::string> Command(std::vector<std::string> more) {
  std::vector<std::string> command = {IVMQ_DEMO_RUN};
  command.insert(command.end(), kMode.begin(), kMode.end());
  command.insert(command.end(), more.begin(), more.end());
  return command;
}

// The words of a process's command line, with NULs between them.
std::string CommandLine(int pid) {
  return ReadWholeFile("/proc/" + std::to_string(pid) + "/cmdline");
}

class IVMQ_DEMO_SUITE : public ::testing::Test {
 protected:
  // What is in the folder.
  [[nodiscard]] std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }
  // Processes whose command lines name the folder: all that a program with it as its TMPDIR starts.
  [[nodiscard]] std::vector<int> Processes() const {
    std::vector<int> pids;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const std::string name = entry.path().filename().string();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      const int pid = std::stoi(name);
      if (CommandLine(pid).find(folder_.path()) != std::string::npos) pids.push_back(pid);
    }
    return pids;
  }
  // Starts a demo that goes on for ever, and waits until its messages flow.
  void StartEndless(Program& demo) const {
    ASSERT_TRUE(demo.AwaitOutput("What went where"));
    ASSERT_THAT(Files(), SizeIs(1));
    ASSERT_THAT(Processes(), ::testing::Not(IsEmpty()));
  }
  void ExpectNothingLeft(const std::string& folder) const {
    EXPECT_THAT(Processes(), IsEmpty());
    EXPECT_THAT(Files(), IsEmpty());
    EXPECT_FALSE(std::filesystem::exists("/dev/shm/" + folder));
  }

  const TempFolder folder_;
  const ProgramOptions in_folder_ = {
      .environment = {{"TMPDIR", folder_.path()}, {"IVMQ_BUILD_DIR", IVMQ_DEMO_BUILD_DIR}}};
};

TEST_F(IVMQ_DEMO_SUITE, EveryDirectionDeliversAndNothingIsLeft) {
  Program demo(Command({"--count", "100"}), in_folder_);
  ASSERT_TRUE(demo.AwaitOutput("What went where"));
  const std::vector<std::string> files = Files();
  ASSERT_THAT(files, SizeIs(1));
  EXPECT_EQ(demo.Wait(), 0) << demo.output();
  for (const std::string& direction : kDirections) {
    EXPECT_THAT(demo.output(), ::testing::ContainsRegex(direction + " +64 B +100/100 +100/100"));
    EXPECT_THAT(demo.output(), ::testing::ContainsRegex(direction + " +1 MiB +1/1 +1/1"));
  }
  for (const std::string& call : kCalls) {
    EXPECT_THAT(demo.output(), ::testing::ContainsRegex(call + " +100/100"));
  }
  EXPECT_THAT(demo.output(), HasSubstr("Every message arrived whole"));
  ExpectNothingLeft(files[0]);
}

TEST_F(IVMQ_DEMO_SUITE, AKilledDemoLeavesNoProcess) {
  Program demo(Command({"--count", "1000000"}), in_folder_);
  StartEndless(demo);
  std::vector<pollfd> ends;
  for (const int pid : Processes()) {
    const auto fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    if (fd >= 0) ends.push_back({fd, POLLIN, 0});
  }
  ASSERT_THAT(ends, ::testing::Not(IsEmpty()));
  demo.Signal(SIGKILL);
  EXPECT_EQ(demo.Wait(), 128 + SIGKILL);
  for (pollfd& end : ends) {
    EXPECT_EQ(poll(&end, 1, -1), 1);  // ctest's limit ends a test that waits for ever
    close(end.fd);
  }
  EXPECT_THAT(Processes(), IsEmpty());
  std::filesystem::remove_all("/dev/shm/" + Files()[0]);
}

#ifdef IVMQ_DEMO_GUESTS
TEST_F(IVMQ_DEMO_SUITE, ADemoInterruptedWhileBootingLeavesNothing) {
  Program demo(Command({}), in_folder_);
  ASSERT_TRUE(demo.AwaitOutput("Booting"));
  const std::string folder = Files()[0];
  demo.Signal(SIGINT);
  EXPECT_EQ(demo.Wait(), 130) << demo.output();
  ExpectNothingLeft(folder);
}

TEST_F(IVMQ_DEMO_SUITE, AGuestThatDiesIsAFailureThatShowsItsConsole) {
  Program demo(Command({"--count", "1000000"}), in_folder_);
  StartEndless(demo);
  const std::string folder = Files()[0];
  for (const int pid : Processes()) {
    const std::string words = CommandLine(pid);
    if (words.find("qemu") != std::string::npos &&
        words.find("ivmq.name=vm2") != std::string::npos) {
      ASSERT_EQ(kill(pid, SIGKILL), 0);
    }
  }
  EXPECT_EQ(demo.Wait(), 1) << demo.output();
  EXPECT_THAT(demo.output(), HasSubstr("the peer vm2 has left"));
  EXPECT_THAT(demo.output(), HasSubstr("the end of the console of vm2"));
  ExpectNothingLeft(folder);
}
#else
TEST_F(IVMQ_DEMO_SUITE, AnInterruptedDemoLeavesNothing) {
  Program demo(Command({"--count", "1000000"}), in_folder_);
  StartEndless(demo);
  const std::string folder = Files()[0];
  demo.Signal(SIGINT);
  EXPECT_EQ(demo.Wait(), 130) << demo.output();
  EXPECT_THAT(demo.output(), HasSubstr("Interrupted"));
  ExpectNothingLeft(folder);
}

TEST_F(IVMQ_DEMO_SUITE, AMissingProgramIsNamed) {
  Program demo(Command({}),
               {.environment = {{"TMPDIR", folder_.path()}, {"IVMQ_BUILD_DIR", folder_.path()}}});
  EXPECT_EQ(demo.Wait(), 1);
  EXPECT_THAT(demo.output(), HasSubstr(folder_.path() + "/tools/ivmqd is not built"));
}

TEST_F(IVMQ_DEMO_SUITE, APeerThatDiesIsAFailureWithAReason) {
  Program demo(Command({"--count", "1000000"}), in_folder_);
  StartEndless(demo);
  const std::string folder = Files()[0];
  for (const int pid : Processes()) {
    const std::string words = CommandLine(pid);
    if (words.find("app2") != std::string::npos && words.find("--with") == std::string::npos) {
      ASSERT_EQ(kill(pid, SIGKILL), 0);
    }
  }
  EXPECT_EQ(demo.Wait(), 1) << demo.output();
  EXPECT_THAT(demo.output(), HasSubstr("app2"));
  EXPECT_THAT(demo.output(), HasSubstr("not every message arrived"));
  ExpectNothingLeft(folder);
}
#endif

}  // namespace
}  // namespace ivmq::testing
