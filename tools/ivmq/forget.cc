// ivmq forget: gives up the slot and the messages of a durable peer that is away.
#include <string>
#include <vector>

#include <fmt/format.h>

#include "ivmq/internal/peer_table.h"

#include "command.h"
#include "commands.h"
#include "exit_code.h"
#include "opened_region.h"
#include "output.h"
#include "text.h"

namespace ivmq::tool {
namespace {

constexpr const char* kForgetFooter =
    R"(A durable peer (`ivmq recv --durable`) keeps its slot and the messages it has not
read. This command drops them. A live peer is not forgotten: end it first.

Example:
  ivmq forget shm:/demo bob)";

int RunForget(const std::string& address, const std::string& name) {
  const auto opened = OpenFormatted(address, Access::kReadWrite);
  if (!opened.ok()) return Fail(opened.status());
  const Status status = PeerTable(opened->region).Forget(name);
  if (!status.ok()) {
    return Fail({status.code(), fmt::format("{}: {}", opened->memory.address, status.message())});
  }
  Print(fmt::format("forgot {}\n", PrintableName(name)));
  return kExitOk;
}

}  // namespace

void AddForget(CLI::App& app, int* exit_code) {
  AddCommand(app, exit_code,
             {.name = "forget",
              .summary = "Forget a durable peer that is away, and its messages",
              .words = "PEER",
              .min_words = 1,
              .max_words = 1,
              .footer = kForgetFooter},
             [](const std::string& address, const std::vector<std::string>& words) {
               return RunForget(address, words[0]);
             });
}

}  // namespace ivmq::tool
