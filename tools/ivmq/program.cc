#include "program.h"

#include <fmt/format.h>

#include "commands.h"
#include "exit_code.h"

namespace ivmq::tool {
namespace {

constexpr const char* kDescription =
    R"(Inspects ivmq regions, sends, receives and publishes messages, calls services, rings
doorbells. If something does not work, `ivmq doctor` says what is missing, and
`ivmq explain` what a message means.)";

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

}  // namespace

std::unique_ptr<CLI::App> MakeProgram(int* exit_code) {
  auto app = std::make_unique<CLI::App>(kDescription, "ivmq");
  app->get_formatter()->column_width(14);
  app->get_formatter()->label("SUBCOMMAND", "COMMAND");
  app->footer(fmt::format("{}\n{}\n{}", kAddresses, kExitCodeHelp, kExample));
  app->set_version_flag("--version", "ivmq " IVMQ_VERSION);
  app->require_subcommand(1);
  for (const auto add :
       {AddFormat, AddInfo, AddLs,     AddTop,    AddDump,   AddFsck,    AddPing,
        AddBench,  AddSend, AddRecv,   AddTopic,  AddRecord, AddReplay,  AddRing,
        AddWait,   AddCall, AddForget, AddServer, AddDoctor, AddExplain, AddCompletion}) {
    add(*app, exit_code);
  }
  return app;
}

}  // namespace ivmq::tool
