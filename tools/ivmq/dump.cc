// ivmq dump: the structures of a region, decoded.
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "ivmq/internal/region.h"

#include "command.h"
#include "commands.h"
#include "exit_code.h"
#include "opened_region.h"
#include "output.h"
#include "region_report.h"
#include "text.h"

namespace ivmq::tool {
namespace {

constexpr const char* kDumpFooter =
    R"(Shows the header, each slot that was ever used, each ring with its positions and
the number of unread messages, and the extents of the heaps; with --records, all
unread records down to the last one; with --ring, one ring with its first 64. FROM
(the sender) and TO (the receiver) are slots or names. Instead of an address it takes
the path of a file. Only reads: takes no id and no slot.

What is inconsistent has "problems" beside it; the last line counts them, and the exit
status is 6. Of a region with a damaged header it shows the header. What a living
region changes meanwhile is looked at again. `ivmq fsck` tells more of a region that
nobody uses.

Example:
  ivmq dump shm:/demo
  ivmq dump shm:/demo --records --json
  ivmq dump shm:/demo --ring alice bob)";

constexpr std::size_t kRecordsOfARing = 64;

struct DumpFlags {
  std::vector<std::string> ring;  // FROM TO, or empty
  bool records = false;
  bool json = false;
};

void Show(const Json& document, const DumpFlags& flags) {
  Print(flags.json ? JsonText(document) : Outline(document));
}

// The exit status, once everything is shown.
int Verdict(const RegionReport& report, const std::string& address) {
  const std::size_t problems = report.problems().size();
  if (problems == 0) return kExitOk;
  Complain(fmt::format("{}: {} problem{}, the first: {}", address, problems,
                       problems == 1 ? "" : "s", report.problems().front()));
  return kExitDamaged;
}

int DumpRing(const OpenedRegion& opened, const DumpFlags& flags) {
  std::array<std::uint32_t, 2> slots{};
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const auto slot = SlotOf(opened, flags.ring[i]);
    if (!slot.ok()) return Fail(slot.status());
    slots[i] = *slot;
  }
  RegionReport report(opened.region);
  Show(
      report.Ring(slots[0], slots[1], flags.records ? RegionReport::kMostRecords : kRecordsOfARing),
      flags);
  return Verdict(report, opened.memory.address);
}

int RunDump(const std::string& address, const DumpFlags& flags) {
  const auto memory = OpenRegion(address);
  if (!memory.ok()) return Fail(memory.status());
  const auto region = Region::Attach(memory->memory);
  if (region.ok() && !flags.ring.empty()) return DumpRing({*memory, *region}, flags);

  Json document;
  document["address"] = memory->address;
  document["description"] = memory->description;
  if (memory->memory.size() >= sizeof(layout::Header)) {
    document["header"] =
        RawHeaderJson(*reinterpret_cast<const layout::Header*>(memory->memory.data()));
  }
  if (!region.ok()) {
    document["header"]["problems"] = Json::array({region.status().message()});
    Show(document, flags);
    return Fail({region.status().code(),
                 fmt::format("{}: {}", memory->address, region.status().message())});
  }
  RegionReport report(*region);
  document["slots"] = report.Slots();
  document["rings"] = report.Rings(flags.records ? RegionReport::kMostRecords : 0);
  document["heaps"] = report.Heaps();
  document["problems"] = report.problems().size();
  Show(document, flags);
  return Verdict(report, memory->address);
}

}  // namespace

void AddDump(CLI::App& app, int* exit_code) {
  const auto flags = std::make_shared<DumpFlags>();
  CLI::App* const command =
      AddCommand(app, exit_code,
                 {.name = "dump",
                  .summary = "Decode a region down to the last record, and mark damage",
                  .words = "[FILE]",
                  .max_words = 1,
                  .footer = kDumpFooter},
                 [flags](const std::string& address, const std::vector<std::string>& words) {
                   return RunDump(words.empty() ? address : "file:" + words[0], *flags);
                 });
  command->add_option("--ring", flags->ring, "Show one ring, with its unread records")
      ->expected(2)
      ->type_name("FROM TO");
  command->add_flag("--records", flags->records, "Show all unread records");
  command->add_flag("--json", flags->json, "Print JSON");
}

}  // namespace ivmq::tool
