// ivmq: looks into regions, sends and receives messages, rings doorbells.
#include <csignal>
#include <exception>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "commands.h"
#include "exit_code.h"

namespace {

using ivmq::tool::Complain;

constexpr const char* kDescription =
    R"(Inspects ivmq regions, sends, receives and publishes messages, calls services, rings
doorbells. If something does not work, `ivmq doctor` says what is missing.)";

constexpr const char* kAddresses = R"(Addresses (ADDR):
  unix:PATH   socket of an ivshmem server such as ivmqd
  shm:/NAME   POSIX shared memory of this host
  file:PATH   a file of this host, e.g. in hugetlbfs
  ivmq:NODE   in a guest: an ivshmem device through its driver, e.g. ivmq:/dev/ivmq0
  vfio:BDF    in a guest: a device bound to vfio-pci, for one process
  pci:BDF     in a guest: a device without a driver; pci:auto finds it
  auto        $IVMQ_ADDRESS if set, otherwise the guest's device through its driver
If the first argument looks like one of these, it is the address. Otherwise the
address is that of --address, then $IVMQ_ADDRESS, then auto.
)";

constexpr const char* kExample = R"(
Example:
  ivmq format shm:/demo --size 16M
  ivmq recv shm:/demo --name bob &
  ivmq send shm:/demo bob 'hello there'
  IVMQ_ADDRESS=shm:/demo ivmq ls)";

int Main(int argc, char** argv) {
  // Whoever reads the output may go away: writing then fails instead.
  (void)std::signal(SIGPIPE, SIG_IGN);

  CLI::App app(kDescription, "ivmq");
  app.get_formatter()->column_width(14);
  app.get_formatter()->label("SUBCOMMAND", "COMMAND");
  app.footer(fmt::format("{}\n{}\n{}", kAddresses, ivmq::tool::kExitCodeHelp, kExample));
  app.set_version_flag("--version", "ivmq " IVMQ_VERSION);
  app.require_subcommand(1);
  int exit_code = ivmq::tool::kExitFailed;
  for (const auto add :
       {ivmq::tool::AddFormat, ivmq::tool::AddInfo, ivmq::tool::AddLs, ivmq::tool::AddTop,
        ivmq::tool::AddDump, ivmq::tool::AddFsck, ivmq::tool::AddPing, ivmq::tool::AddBench,
        ivmq::tool::AddSend, ivmq::tool::AddRecv, ivmq::tool::AddTopic, ivmq::tool::AddRecord,
        ivmq::tool::AddReplay, ivmq::tool::AddRing, ivmq::tool::AddWait, ivmq::tool::AddCall,
        ivmq::tool::AddForget, ivmq::tool::AddServer, ivmq::tool::AddDoctor}) {
    add(app, &exit_code);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // help and version
    std::string command;
    for (auto commands = app.get_subcommands(); !commands.empty();
         commands = commands.front()->get_subcommands()) {
      command += (command.empty() ? "" : " ") + commands.front()->get_name();
    }
    if (command.empty()) {
      Complain(argc == 1 ? "no command given; see `ivmq --help`"
                         : fmt::format("{}; see `ivmq --help`", error.what()));
    } else {
      Complain(fmt::format("{0}: {1}; see `ivmq {0} --help`", command, error.what()));
    }
    return ivmq::tool::kExitUsage;
  }
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Main(argc, argv);
  } catch (const std::exception& failure) {
    Complain(failure.what());
    return ivmq::tool::kExitFailed;
  }
}
