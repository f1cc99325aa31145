#ifndef IVMQ_TESTS_QEMU_GUEST_H_
#define IVMQ_TESTS_QEMU_GUEST_H_

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ivmq::testing {

// An ivshmem device of a guest.
struct IvshmemDevice {
  // Over a file or shm on the host, whose size must be `size`, a power of two.
  static IvshmemDevice Plain(std::string file, std::uint64_t size);
  // The same in a machine that can be copied: QEMU does not save other plain devices.
  static IvshmemDevice Master(std::string file, std::uint64_t size);
  // Served by an ivshmem server that listens at `socket`.
  static IvshmemDevice Doorbell(std::string socket, int vectors = 8);

  std::string path;
  std::uint64_t size = 0;  // plain only
  int vectors = 0;         // doorbell only; 0 says that the device is plain
  bool master = false;     // plain only
};

struct GuestOptions {
  std::string name = "vm";  // host name in the guest, and its name in failures
  std::vector<IvshmemDevice> devices{};
  std::string machine = "pc";            // Restore works with "pc" only
  std::string kernel{};                  // as fetch-kernel.sh's; empty: boot.sh's default
  std::string initrd{};                  // empty: that of the tests; else Boot only
  std::string append{};                  // more words for the kernel's command line; Boot only
  std::vector<std::string> arguments{};  // more of QEMU's; Boot only
  int memory_mib = 256;
  std::chrono::seconds boot_limit{60};
};

// What a command in a guest did.
struct Result {
  int status = -1;  // its exit status; 128 + N after signal N; -1: not known (the test has failed)
  std::string output;  // stdout and stderr as they came
};

// A QEMU guest with a command channel, started by tools/guest/boot.sh.
//
// Whatever goes wrong with the guest itself (it does not boot, a time limit is over, QEMU ends)
// becomes a failure of the current test that shows the end of the guest's console. A destroyed
// Guest leaves no process and no file behind, and QEMU is killed when the thread that started it
// ends. With the environment variable IVMQ_TEST_LIMIT=SECONDS, which ivmq_test() sets, a test
// program that is not done by then prints the consoles of its guests and ends.
//
// Thread-compatible: one thread at a time uses a Guest; different guests are independent.
class Guest {
 public:
  using Duration = std::chrono::milliseconds;
  using JobId = std::uint64_t;
  static constexpr Duration kDefaultLimit = std::chrono::seconds(30);

  // Boots a guest with its devices on the command line, and waits until it takes commands. Null
  // and a failure of the test if that does not work.
  static std::unique_ptr<Guest> Boot(const GuestOptions& options = {});

  // The same result in a tenth of the time: goes on from a state that is saved once for each
  // initrd, then plugs in the devices. The guest gets a boot id of its own, but shares the state
  // of its random generator with other restored guests.
  static std::unique_ptr<Guest> Restore(const GuestOptions& options = {});

  // A copy of this running machine beside it, with the same devices and, instead of
  // options.arguments, these for its QEMU. Commands that run go on in both, under the same JobId;
  // so does everything else, the boot id included. REQUIRES: all devices were there at the boot,
  // and none is a doorbell device.
  // QEMU puts the memory of the devices back to what it was when the machine was saved.
  std::unique_ptr<Guest> Copy(std::vector<std::string> arguments);

  ~Guest();
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;

  // Runs one line of shell and waits for it. At the limit the command is killed and the test fails.
  Result Run(std::string_view command, Duration limit = kDefaultLimit);

  // Runs one line of shell in the background.
  JobId Start(std::string_view command);
  // Waits for the end of a started command, and forgets it. At the limit as Run.
  Result Wait(JobId job, Duration limit = kDefaultLimit);
  // Waits until the output of a running command has `text`. False and a failure of the test if
  // the limit comes, or the command ends, without it.
  bool WaitForOutput(JobId job, std::string_view text, Duration limit = kDefaultLimit);
  // What a running command has printed so far.
  const std::string& Output(JobId job);
  // Sends a signal ("TERM") to all processes of a started command.
  void Signal(JobId job, std::string_view signal);

  // Plugs in a device and waits until the guest has found it.
  bool AddDevice(const IvshmemDevice& device, Duration limit = kDefaultLimit);
  // Unplugs the device that was plugged in last, and waits until the guest and QEMU have let it go.
  bool RemoveLastDevice(Duration limit = kDefaultLimit);

  // Resets the machine, as its reset button would, and waits until it takes commands again. QEMU,
  // its sockets and its devices stay. Commands that ran are forgotten.
  bool SystemReset(Duration limit = std::chrono::seconds(60));

  // SIGKILL for QEMU: what its peers see when a machine goes without a word.
  void Kill();
  // Ends QEMU by SIGTERM, or SIGKILL when that does not help.
  void Stop();

  // Sends a QMP command, e.g. Qmp("stop") or Qmp("device_del", R"({"id":"dev0"})"), and gives the
  // line that QEMU answers with. An error is a failure of the test, and gives an empty string.
  std::string Qmp(std::string_view command, std::string_view arguments = "{}",
                  Duration limit = kDefaultLimit);

  // What the guest wrote to its console so far.
  std::string Console() const;
  // QEMU's process; -1 when it has ended.
  pid_t Pid() const { return pid_; }
  // Changes with every boot of the guest.
  const std::string& BootId() const { return boot_id_; }
  const std::string& Name() const { return options_.name; }

 private:
  using TimePoint = std::chrono::steady_clock::time_point;
  struct Job {
    std::string command;
    Result result;
    bool done = false;
  };
  struct Plugged {
    std::string id;
    bool doorbell = false;
    std::size_t files_before = 0;  // what OpenFiles() gave
  };

  explicit Guest(GuestOptions options);

  static std::string SavedState(const GuestOptions& options);
  bool Save(const std::string& file);
  bool Launch(const std::string& incoming, const std::vector<IvshmemDevice>& devices);
  bool Greet(TimePoint deadline);
  bool Adopt();
  bool AwaitReady(TimePoint deadline);
  bool ConnectQmp(TimePoint deadline);
  std::string ReadQmp(std::string_view wanted, TimePoint deadline);
  bool WaitForActivity(int fd, TimePoint deadline);
  void ReadAgent();
  void HandleLine(std::string_view line);
  [[nodiscard]] std::size_t OpenFiles() const;
  void Tell(const std::string& line);
  template <typename Condition>
  bool Await(Condition condition, TimePoint deadline);
  void Fail(const std::string& what) const;
  bool Reap(bool block);

  GuestOptions options_;
  std::string dir_;
  pid_t pid_ = -1;
  int exit_status_ = 0;
  int pidfd_ = -1;
  int inotify_ = -1;
  int agent_in_ = -1;
  int agent_out_ = -1;
  int qmp_ = -1;
  std::string agent_buffer_;
  std::string qmp_buffer_;
  std::string boot_id_;  // empty: not ready
  std::map<JobId, Job> jobs_;
  JobId next_job_ = 1;
  int next_device_ = 0;
  std::vector<Plugged> plugged_;
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_QEMU_GUEST_H_
