// ivmq doctor: what is there, what is wrong with it, and the commands that mend it.
#include <sys/utsname.h>

#include <cstddef>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "ivmq/guest_device.h"

#include "command.h"
#include "commands.h"
#include "device_check.h"
#include "exit_code.h"
#include "findings.h"
#include "load_timing.h"
#include "output.h"
#include "server_check.h"

namespace ivmq::tool {
namespace {

constexpr const char* kDoctorFooter =
    R"(Without ADDR it checks all ivshmem devices, the socket /run/ivmq/ivmq.sock and
the sockets of all running ivmqd. It takes no slot, no id of ivmqd and no vector. In a
guest it writes one word, a count of changes, to see whether the memory keeps it.
Each finding is one line: ok; note, which may stay as it is; or problem, which
must be fixed. The lines after a finding are commands that fix it; `ivmq explain ID`
says more about the [ID] behind it. The exit status is 1 if there is a problem.

Example:
  ivmq doctor
  ivmq doctor unix:/run/ivmq/ivmq.sock)";

void CheckMachine(Findings* findings) {
  utsname kernel{};
  if (uname(&kernel) != 0) return;
  findings->Ok("machine",
               fmt::format("ivmq {}, {} {}, {}{}", IVMQ_VERSION, kernel.sysname, kernel.release,
                           kernel.machine, CpuIsEmulated() ? ", emulated processor (TCG)" : ""));
  std::string possible;
  std::ifstream("/sys/devices/system/cpu/possible") >> possible;
  if (!CpuIsEmulated() || possible != "0") return;
  findings->Problem(
      "one-emulated-processor", "machine",
      "emulated (TCG) with one possible processor: its atomic operations are not atomic for other "
      "machines and the host, so that messages and wake-ups get lost",
      {"-smp 1,maxcpus=2   # of QEMU"});
}

void CheckEverything(const std::string& devices, Findings* findings) {
  const std::size_t found = CheckDevices(devices, findings);
  const std::vector<std::string> sockets = ListServerSockets();
  for (const std::string& socket : sockets) CheckServerAt("unix:" + socket, findings);
  CheckLostRegions(/*is_aside=*/false, findings);
  if (found != 0 || !sockets.empty()) return;
  Findings::Remedies remedies = NoDeviceRemedies();
  remedies.emplace_back("ivmqd --socket /run/ivmq/ivmq.sock --size 64M   # on a host");
  findings->Problem("no-device", "machine",
                    "neither an ivshmem device (PCI 1af4:1110) nor a server was found here",
                    remedies);
}

int RunDoctor(const std::string& address, const std::string& devices, bool json) {
  Findings findings;
  CheckMachine(&findings);
  if (address == "auto") {
    CheckEverything(devices, &findings);
  } else if (IsDeviceAddress(address)) {
    CheckDeviceAt(devices, address, &findings);
  } else if (address.starts_with("unix:")) {
    CheckServerAt(address, &findings);
    CheckLostRegions(/*is_aside=*/true, &findings);
  } else if (IsAddress(address)) {
    CheckFileAt(address, &findings);
  } else {
    WrongUsage(fmt::format("'{}' is memory of one process: there is nothing to check", address));
  }
  Print(json ? JsonText(findings.ToJson()) : findings.Text());
  return findings.usable() ? kExitOk : kExitFailed;
}

}  // namespace

void AddDoctor(CLI::App& app, int* exit_code) {
  struct Options {
    std::string devices{kPciDevices};
    bool json = false;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* const command =
      AddCommand(app, exit_code,
                 {.name = "doctor",
                  .summary = "Check devices, servers and regions, and say how to fix what is wrong",
                  .words = "",
                  .footer = kDoctorFooter},
                 [options](const std::string& address, const std::vector<std::string>& /*words*/) {
                   return RunDoctor(address, options->devices, options->json);
                 });
  command
      ->add_option("--pci-devices", options->devices,
                   fmt::format("Folder that lists the PCI devices ({})", kPciDevices))
      ->type_name("FOLDER");
  command->add_flag("--json", options->json, "Print JSON");
}

}  // namespace ivmq::tool
