// ivmq doctor: what it finds, and the command it names for each thing that is wrong.
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "ivmq/internal/layout.h"

#include "fake_pci_devices.h"
#include "fixture.h"
#include "server_process.h"
#include "src/unique_fd.h"
#include "tool_process.h"

namespace ivmq::testing {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

class DoctorTest : public ToolTest {
 protected:
  static void ExpectUsable(const Outcome& found) {
    EXPECT_EQ(found.exit_code, 0) << found.out << found.err;
    EXPECT_THAT(found.out, Not(HasSubstr("problem")));
  }
  // A problem of this entry of the catalogue, in these words, with this remedy in a line of its own
  // below.
  static void ExpectProblem(const Outcome& found, const std::string& id, const std::string& words,
                            const std::string& remedy) {
    EXPECT_EQ(found.exit_code, 1) << found.out << found.err;
    const std::size_t problem = found.out.find("problem  ");
    ASSERT_NE(problem, std::string::npos) << found.out;
    const std::size_t end = found.out.find('\n', problem);
    EXPECT_THAT(found.out.substr(problem, end - problem),
                AllOf(HasSubstr(words), EndsWith(" [" + id + "]")));
    EXPECT_THAT(found.out.substr(end), HasSubstr("\n           " + remedy));
  }
  [[nodiscard]] Outcome LookAtDevices(const std::string& address) const {
    return RunTool({"doctor", address, "--pci-devices", devices_.path()});
  }
  // Makes `driver` the owner of a device.
  void Bind(const std::string& bdf, const std::string& driver) const {
    std::filesystem::create_directory_symlink("../drivers/" + driver,
                                              devices_.path() + "/" + bdf + "/driver");
  }

  FakePciDevices devices_;
};

constexpr const char* kBdf = "0000:00:04.0";

TEST_F(DoctorTest, AGoodRegionIsUsable) {
  MakeRegion();
  Tool receiver({"recv", address_, "--name", "bob"});
  receiver.AwaitError("ready");
  const Outcome found = RunTool({"doctor", address_});
  ExpectUsable(found);
  EXPECT_THAT(found.out,
              AllOf(HasSubstr("a region of 1 MiB, format 3."),
                    HasSubstr("1 peer live: bob; room for 8"), HasSubstr("times as long")));
}

TEST_F(DoctorTest, LookingChangesNothing) {
  MakeRegion();
  const std::string before = ReadWholeFile("/dev/shm" + name_);
  ExpectUsable(RunTool({"doctor", address_}));
  EXPECT_TRUE(ReadWholeFile("/dev/shm" + name_) == before);
}

TEST_F(DoctorTest, AMissingFileIsFormatted) {
  ExpectProblem(RunTool({"doctor", address_}), "no-region-file", "there is no such file",
                "ivmq format " + address_ + " --size 64M");
}

TEST_F(DoctorTest, AnUnformattedRegionIsFormatted) {
  const std::string path = folder_.Write("zeros", std::string(1 << 20, '\0'));
  ExpectProblem(RunTool({"doctor", "file:" + path}), "not-formatted", "1 MiB, not formatted",
                "ivmq format file:" + path);
}

TEST_F(DoctorTest, ARegionOfAnotherVersionNamesBoth) {
  MakeRegion();
  Overwrite(offsetof(layout::Header, version), std::string("\x03\x00\x07\x00", 4));
  ExpectProblem(RunTool({"doctor", address_}), "other-version",
                "format version 7.3, and this program", "ivmq --version");
}

// To format it would be refused.
TEST_F(DoctorTest, AForeignFileIsNoRegion) {
  const std::string path = folder_.Write("photo", std::string(1 << 16, 'x'));
  ExpectProblem(RunTool({"doctor", "file:" + path}), "foreign-content", "not an ivmq region",
                "ivmq format file:" + path + "   # of a new file");
}

// Runs the tool as somebody else who has that user and group, if the test may.
class OtherUser {
 public:
  explicit OtherUser(unsigned id) : id_(id) {}
  void operator()() const {
    if (geteuid() == 0 && (setgroups(0, nullptr) != 0 || setresgid(id_, id_, id_) != 0 ||
                           setresuid(id_, id_, id_) != 0)) {
      _exit(1);
    }
  }

 private:
  unsigned id_;
};
constexpr unsigned kNobody = 65534;

TEST_F(DoctorTest, AFileThatThisUserMayNotUseSaysWhoseItIs) {
  MakeRegion();
  ASSERT_EQ(chmod(("/dev/shm" + name_).c_str(), 0), 0);
  Tool tool({"doctor", address_}, "", OtherUser(kNobody));
  const Outcome found = tool.Wait();
  ExpectProblem(found, "not-permitted", "with mode 0000; the user ", "chgrp ");
  EXPECT_THAT(found.out, Not(HasSubstr("as root, or as root")));
}

TEST_F(DoctorTest, AFileOfAGroupThatIsGoneNamesTheGroup) {
  if (geteuid() != 0) return;  // nobody else can give a file to such a group
  constexpr unsigned kNoGroup = 54321;
  MakeRegion();
  const std::string path = "/dev/shm" + name_;
  ASSERT_EQ(chown(path.c_str(), 0, kNoGroup), 0);
  ASSERT_EQ(chmod(path.c_str(), 0660), 0);
  Tool tool({"doctor", address_}, "", OtherUser(kNobody));
  ExpectProblem(tool.Wait(), "missing-group", "its group is 54321, which is no group",
                "groupadd -g 54321 ivmq");
}

// In a namespace of its own, in which /etc/group names the user.
TEST_F(DoctorTest, AMembershipThatIsNewerThanTheLoginAsksForANewOne) {
  if (geteuid() != 0) return;  // as above
  constexpr unsigned kGroup = 54321;
  MakeRegion();
  const std::string path = "/dev/shm" + name_;
  ASSERT_EQ(chown(path.c_str(), 0, kGroup), 0);
  ASSERT_EQ(chmod(path.c_str(), 0660), 0);
  const std::string groups = folder_.Write("group", "root:x:0:\nivmq-test:x:54321:nobody\n");
  Tool tool({"doctor", address_}, "", [&] {
    if (unshare(CLONE_NEWNS) != 0 || mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount(groups.c_str(), "/etc/group", nullptr, MS_BIND, nullptr) != 0) {
      _exit(1);
    }
    OtherUser{kNobody}();
  });
  ExpectProblem(tool.Wait(), "login-again", "it is a member of ivmq-test", "newgrp ivmq-test");
}

TEST_F(DoctorTest, AFileForEverybodyIsNoted) {
  MakeRegion();
  ASSERT_EQ(chmod(("/dev/shm" + name_).c_str(), 0666), 0);
  const Outcome found = RunTool({"doctor", address_});
  ExpectUsable(found);
  EXPECT_THAT(found.out, AllOf(HasSubstr("everybody on this machine"), HasSubstr("chmod o= ")));
}

TEST_F(DoctorTest, AStoppedPeerIsSuspected) {
  MakeRegion();
  Tool receiver({"recv", address_, "--name", "bob"});
  receiver.AwaitError("ready");
  receiver.Freeze();
  const Outcome found = RunTool({"doctor", address_});
  ExpectUsable(found);
  EXPECT_THAT(found.out, HasSubstr("peer bob (slot 0, pid " + std::to_string(receiver.pid()) +
                                   ") is suspected"));
}

TEST_F(DoctorTest, AnAwayPeerCanBeForgottenWhateverItsName) {
  MakeRegion();
  {
    Tool receiver({"recv", address_, "--name", "bob;$(date)", "--durable"});
    receiver.AwaitError("ready");
    receiver.Signal(SIGTERM);
    EXPECT_EQ(receiver.Wait().exit_code, 0);
  }
  const Outcome found = RunTool({"doctor", address_});
  ExpectUsable(found);
  EXPECT_THAT(found.out, HasSubstr("ivmq forget " + address_ + " 'bob;$(date)'"));
}

TEST_F(DoctorTest, AMissingSocketStartsTheServer) {
  const std::string socket = folder_ / "socket";
  ExpectProblem(RunTool({"doctor", "unix:" + socket}), "no-socket",
                "no server has created this socket", "ivmqd --socket " + socket);
}

TEST_F(DoctorTest, AMissingFolderIsMade) {
  const std::string folder = folder_ / "none";
  ExpectProblem(RunTool({"doctor", "unix:" + folder + "/socket"}), "no-folder",
                "the folder " + folder + " does not exist", "install -d -m 0755 -o USER " + folder);
}

TEST_F(DoctorTest, AFolderInWhichNoSocketCanBeMadeIsNoted) {
  const std::string folder = folder_ / "locked";
  ASSERT_EQ(mkdir(folder.c_str(), 0555), 0);
  Tool tool({"doctor", "unix:" + folder + "/socket"}, "", OtherUser(kNobody));
  EXPECT_THAT(tool.Wait().out,
              AllOf(HasSubstr("may make no socket in " + folder),
                    HasSubstr("[folder-not-writable]"), HasSubstr("install -d -m 0755 -o USER")));
}

TEST_F(DoctorTest, ASocketThatIsBeingMadeIsBusy) {
  const std::string socket = folder_ / "socket";
  const UniqueFd lock(open((socket + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(flock(lock.get(), LOCK_EX | LOCK_NB), 0);
  ExpectProblem(RunTool({"doctor", "unix:" + socket}), "socket-in-use",
                "pid " + std::to_string(getpid()) + " (", "ps -C ivmqd");
}

TEST_F(DoctorTest, AnythingElseAtThePathOfASocketIsInTheWay) {
  const std::string path = folder_.Write("notes", "x");
  ExpectProblem(RunTool({"doctor", "unix:" + path}), "socket-path-taken", "is no socket",
                "rm -r " + path);
}

TEST_F(DoctorTest, ASocketOfADeadServerStartsItAgain) {
  ServerProcess server(folder_ / "socket", {"--size", "1M"});
  server.AwaitReady();
  server.Kill();
  ExpectProblem(RunTool({"doctor", "unix:" + server.socket()}), "server-ended", "nobody listens",
                "ivmqd --socket " + server.socket());
}

TEST_F(DoctorTest, AServerAnswersWithoutGivingAnIdAway) {
  ServerProcess server(folder_ / "socket", {"--size", "1M"});
  server.AwaitReady();
  const Outcome found = RunTool({"doctor", "unix:" + server.socket()});
  ExpectUsable(found);
  EXPECT_THAT(found.out, AllOf(HasSubstr("the server answers, with protocol version 0"),
                               HasSubstr("ivmqd serves it: pid " + std::to_string(server.pid()))));
  server.AwaitLog("looks at the region");
  EXPECT_THAT(server.Log(), Not(::testing::ContainsRegex("id [0-9]+ to ")));
}

TEST_F(DoctorTest, ARegionWhoseServerWasKilledIsNoted) {
  ServerProcess server(folder_ / "socket", {"--size", "1M", "--region", "shm:" + name_});
  server.AwaitReady();
  server.Kill();
  const Outcome found = RunTool({"doctor", address_});
  ExpectUsable(found);
  EXPECT_THAT(found.out, HasSubstr("has ended: attached peers go on"));
}

// The next server has another region, and so cannot say who is in this one.
TEST_F(DoctorTest, ProcessesInARegionThatNobodyCanJoinAreNamedWithTheRemedy) {
  ServerProcess server(folder_ / "socket", {"--size", "1M"});
  server.AwaitReady();
  const std::string address = "unix:" + server.socket();
  Tool receiver({"recv", address, "--name", "bob"});
  receiver.AwaitError("ready");
  const std::string pid = std::to_string(receiver.pid());
  EXPECT_THAT(RunTool({"doctor", address}).out, Not(HasSubstr("pid " + pid + " (ivmq)")));
  server.Kill();
  receiver.AwaitError("nobody can join this region any more");
  ServerProcess next(folder_ / "socket", {"--size", "1M"});
  next.AwaitReady();
  const Outcome found = RunTool({"doctor", address});
  EXPECT_THAT(found.out, AllOf(HasSubstr("in a region that nobody can join any more"),
                               HasSubstr("pid " + pid + " (ivmq)"),
                               HasSubstr("kill " + pid + "   # then start it again")));
}

TEST_F(DoctorTest, ARegionThatNobodyCanJoinIsAProblem) {
  MakeRegion();
  Overwrite(offsetof(layout::Header, server_epoch), std::string("\1\0\0\0\0\0\0\0", 8));
  Overwrite(offsetof(layout::Header, orphaned), std::string("\1\0\0\0\0\0\0\0", 8));
  ExpectProblem(RunTool({"doctor", address_}), "region-lost",
                "nobody can join this region any more", "ivmq doctor");
  EXPECT_EQ(RunTool({"info", address_, "--json"}).Json()["server"]["last"], true);
  EXPECT_THAT(RunTool({"info", address_}).out, HasSubstr("nobody can join any more"));
}

// Its doorbells are of the first server; the second one's clients do not have them.
TEST_F(DoctorTest, PeersThatCannotWakeOthersAreNamedWithTheirProcess) {
  const std::vector<std::string> region{"--size", "1M", "--region", "shm:" + name_};
  ServerProcess server(folder_ / "socket", region);
  server.AwaitReady();
  const std::string address = "unix:" + server.socket();
  Tool former({"recv", address, "--name", "former"});
  former.AwaitError("ready");
  former.Freeze();
  server.Kill();
  ServerProcess next(folder_ / "socket", region);
  next.AwaitReady();
  EXPECT_THAT(RunTool({"doctor", address}).out, Not(HasSubstr("cannot wake")))
      << "there is nobody else";
  Tool late({"recv", address, "--name", "late"});
  late.AwaitError("ready");
  const std::string pid = std::to_string(former.pid());
  const Outcome found = RunTool({"doctor", address});
  EXPECT_THAT(found.out,
              AllOf(HasSubstr("former (ivposition 1, pid " + pid + " (ivmq)) cannot wake"),
                    HasSubstr("(epoch 1, now 2)"), HasSubstr("kill " + pid)));
}

TEST_F(DoctorTest, APlainDeviceWithoutADriverPollsOnly) {
  devices_.Add(kBdf, {});
  const Outcome found = LookAtDevices("pci:auto");
  ExpectUsable(found);
  EXPECT_THAT(found.out,
              AllOf(HasSubstr("ivshmem-plain, revision 1, BAR2 of 1 MiB"),
                    HasSubstr("polling only: a plain device"), HasSubstr("a region of 1 MiB")));
}

TEST_F(DoctorTest, ADoorbellDeviceWithoutADriverAsksForIt) {
  devices_.Add(kBdf, {.msix = true});
  const Outcome found = LookAtDevices("pci:" + std::string(kBdf));
  ExpectUsable(found);
  EXPECT_THAT(found.out, AllOf(HasSubstr("8 vectors, bus master off"),
                               HasSubstr("no driver: polling only"), HasSubstr("ivmq-dkms")));
}

TEST_F(DoctorTest, ADeviceOfAnUnformattedRegionSaysWhatToDoOnTheHost) {
  devices_.Add(kBdf, {.formatted = false});
  ExpectProblem(LookAtDevices("pci:auto"), "not-formatted", "not formatted",
                "ivmq format FILE   # on the host");
}

TEST_F(DoctorTest, ADeviceWithoutAddressesNeedsALargerWindow) {
  devices_.Add(kBdf, {.bar2 = false});
  ExpectProblem(LookAtDevices("pci:auto"), "no-bar2-addresses",
                "gave its memory, BAR2, no addresses", "-device pcie-root-port");
}

TEST_F(DoctorTest, ADeviceBeyondWhatTheMachineCanAddressNamesItsBits) {
  devices_.Add(kBdf, {.bar2 = false, .bar2_address = std::uint64_t{1} << 55});
  ExpectProblem(LookAtDevices("pci:auto"), "address-width",
                "the firmware put it at 0x80000000000000, beyond the ",
                "-cpu host,host-phys-bits=on");
}

TEST_F(DoctorTest, ADeviceOfAnotherDriverIsTakenFromIt) {
  devices_.Add(kBdf, {});
  Bind(kBdf, "uio_pci_generic");
  ExpectProblem(LookAtDevices("pci:auto"), "other-driver", "belongs to the driver uio_pci_generic",
                "echo 0000:00:04.0 > " + devices_.path());
}

TEST_F(DoctorTest, DevicesOfOthersAreNamedAndLeftAlone) {
  devices_.Add(kBdf, {});
  devices_.Add("0000:00:05.0", {.formatted = false});
  Bind("0000:00:05.0", "kvmfr");
  devices_.Add("0000:00:06.0", {.formatted = false});
  const Outcome found = LookAtDevices("pci:auto");
  ExpectUsable(found);
  EXPECT_THAT(
      found.out,
      AllOf(HasSubstr("0000:00:04.0: a region of 1 MiB"),
            HasSubstr("0000:00:05.0: left alone: belongs to the driver kvmfr, of Looking Glass"),
            HasSubstr("0000:00:06.0: left alone: its memory holds no region of ivmq")));
  ExpectProblem(LookAtDevices("pci:0000:00:05.0"), "other-driver",
                "belongs to the driver kvmfr, of Looking Glass",
                "echo 0000:00:05.0 > " + devices_.path());
}

TEST_F(DoctorTest, ADeviceThatVfioHasNeedsAnIommu) {
  devices_.Add(kBdf, {.msix = true});
  Bind(kBdf, "vfio-pci");
  ExpectProblem(LookAtDevices("pci:auto"), "no-iommu", "in no IOMMU group",
                "-machine q35,kernel-irqchip=split -device intel-iommu,intremap=on");
}

TEST_F(DoctorTest, ADeviceThatTheDriverHasNeedsItsNode) {
  devices_.Add(kBdf, {.msix = true});
  Bind(kBdf, "ivmq");
  std::filesystem::create_directories(devices_.path() + "/" + kBdf + "/ivmq/ivmq-none");
  ExpectProblem(LookAtDevices("pci:auto"), "no-node", "there is no /dev/ivmq-none",
                "udevadm trigger");
}

TEST_F(DoctorTest, AnAddressOfTheWrongWayNamesTheRightOne) {
  devices_.Add(kBdf, {.msix = true});
  ExpectProblem(LookAtDevices("vfio:" + std::string(kBdf)), "no-driver", "no driver has the device",
                "echo vfio-pci > " + devices_.path() + "/" + kBdf + "/driver_override");
  Bind(kBdf, "vfio-pci");
  ExpectProblem(LookAtDevices("pci:" + std::string(kBdf)), "other-driver",
                "the driver vfio-pci has the device; so it is vfio:0000:00:04.0",
                "ivmq doctor vfio:0000:00:04.0");
}

TEST_F(DoctorTest, ANodeThatIsNotThereAsksForTheDriver) {
  devices_.Add(kBdf, {.msix = true});
  ExpectProblem(LookAtDevices("ivmq:/dev/ivmq-none"), "no-driver",
                "no ivshmem device has this node", "");
}

TEST_F(DoctorTest, AMachineWithoutADeviceNeedsOne) {
  ExpectProblem(LookAtDevices("pci:auto"), "no-device", "has no ivshmem device",
                "-chardev socket,path=");
}

TEST_F(DoctorTest, ADeviceOfRevisionZeroIsAProblem) {
  devices_.Add(kBdf, {.revision = 0});
  const Outcome found = LookAtDevices("pci:auto");
  EXPECT_EQ(found.exit_code, 1);
  EXPECT_THAT(found.out, HasSubstr("revision 0"));
}

TEST_F(DoctorTest, JsonHasTheSame) {
  devices_.Add(kBdf, {.formatted = false});
  const Outcome found = RunTool({"doctor", "pci:auto", "--pci-devices", devices_.path(), "--json"});
  EXPECT_EQ(found.exit_code, 1);
  const auto json = found.Json();
  EXPECT_EQ(json["usable"], false);
  EXPECT_EQ(json["findings"][0]["level"], "ok");
  EXPECT_EQ(json["findings"][0]["subject"], "machine");
  EXPECT_EQ(json["findings"][0]["id"], nullptr);
  bool has_problem = false;
  for (const auto& finding : json["findings"]) {
    if (finding["level"] != "problem") continue;
    has_problem = true;
    EXPECT_EQ(finding["id"], "not-formatted");
  }
  EXPECT_TRUE(has_problem);
}

TEST_F(DoctorTest, AnAddressWithinOneProcessIsWrongUsage) {
  EXPECT_EQ(RunTool({"doctor", "inproc:x"}).exit_code, 2);
  EXPECT_EQ(RunTool({"doctor"}, "", "inproc:x").exit_code, 2);
}

}  // namespace
}  // namespace ivmq::testing
