// ivmq fsck: what a region holds that nobody uses, saved and made anew.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ivmq/address.h"
#include "ivmq/internal/arena.h"
#include "ivmq/internal/peer_table.h"
#include "ivmq/internal/region.h"

#include "command.h"
#include "commands.h"
#include "exit_code.h"
#include "opened_region.h"
#include "output.h"
#include "peers.h"
#include "recording.h"
#include "region_report.h"
#include "salvage.h"
#include "src/file_lock.h"
#include "src/region_file.h"
#include "text.h"

namespace ivmq::tool {
namespace {

constexpr const char* kFsckFooter =
    R"(Checks the header, slots, rings, records and heaps of a region in a file, such as one
that a crash of the host has left, and says what is inconsistent and what is unread.
Refuses if a server or a living peer has the file. Reads only.

--salvage writes all unread messages into a file, those behind damage too, which
`ivmq replay` prints or sends. --format formats the region anew, with as many slots
and rings as large as before; it asks, unless --yes is given.

The exit status is 6 if the region is damaged, and 0 if it is not, or is formatted.

Example:
  ivmq fsck /dev/hugepages/ivmq
  ivmq fsck /dev/hugepages/ivmq --salvage left.ivmq --format
  ivmq replay unix:/run/ivmq/ivmq.sock left.ivmq --speed max)";

constexpr std::size_t kProblemsShown = 20;

struct FsckFlags {
  std::string salvage;
  bool force = false;
  bool format = false;
  bool yes = false;
  bool json = false;
};

// What is unread in a ring.
struct UnreadRing {
  std::string from;
  std::string to;
  std::uint32_t producer = 0;
  std::uint32_t consumer = 0;
  Salvaged messages;
};

Status InUse(const std::string& address, const std::string& who) {
  return {StatusCode::kFailedPrecondition,
          fmt::format("{}: {}; end it first, or use `ivmq dump {}`, which only looks", address, who,
                      address)};
}

// A region that nobody uses, for as long as this lives.
class UnusedRegion {
 public:
  static Result<UnusedRegion> Open(const std::string& address) {
    const auto path = RegionFilePath(address);
    if (!path) {
      return Status(
          StatusCode::kInvalidArgument,
          address + ": only the region of a file or of shm can be checked; see `ivmq dump`");
    }
    if (!path->ok())
      return Status(path->status().code(), address + ": " + path->status().message());
    auto file = OpenRegionFile(**path, address, Access::kReadOnly);
    if (!file.ok()) return Status(file.status().code(), address + ": " + file.status().message());
    // Keeps peers and servers away, which lock bytes of it.
    if (IsFileLocked(file->fd.get(), 0, 0) ||
        TryShareFile(file->fd.get(), 0, 0) != LockResult::kLocked) {
      return InUse(address, "a server or a living peer has this region");
    }
    auto memory = OpenRegion(address);
    if (!memory.ok()) return memory.status();
    return UnusedRegion(std::move(file->fd), *std::move(memory));
  }

  [[nodiscard]] const RegionMemory& memory() const noexcept { return memory_; }
  // Lets go of the file.
  void Release() noexcept { lock_.reset(); }

 private:
  UnusedRegion(UniqueFd lock, RegionMemory memory)
      : lock_(std::move(lock)), memory_(std::move(memory)) {}

  UniqueFd lock_;
  RegionMemory memory_;
};

// Guests whose device is the file itself hold no lock, but their hearts beat.
Status CheckHeartbeats(const Region& region, const std::string& address) {
  const PeerTable table(region);
  const std::vector<PeerInfo> peers = table.Snapshot().peers;
  const StillPeers still(table, peers);
  for (const PeerInfo& peer : peers) {
    if (peer.state != layout::PeerState::kLive || still.Contains(peer)) continue;
    return InUse(address,
                 fmt::format("peer {} (slot {}) lives", PrintableName(peer.name), peer.id.slot));
  }
  return {};
}

std::vector<UnreadRing> FindUnread(
    const Region& region, const RegionReport& report,
    const std::function<Status(const UnreadRing& ring, const inspect::RingMessage& message)>& use) {
  std::vector<UnreadRing> rings;
  // Each byte of a heap is of one message.
  std::uint64_t heap_budget = region.geometry().region_size;
  Status status;
  for (std::uint32_t consumer = 0; consumer < region.max_peers(); ++consumer) {
    for (std::uint32_t producer = 0; producer < region.max_peers(); ++producer) {
      UnreadRing ring{.from = report.NameAt(producer),
                      .to = report.NameAt(consumer),
                      .producer = producer,
                      .consumer = consumer,
                      .messages = {}};
      ring.messages = SalvageRing(region, producer, consumer, &heap_budget,
                                  [&](const inspect::RingMessage& message) {
                                    if (status.ok()) status = use(ring, message);
                                  });
      const Salvaged& found = ring.messages;
      if (found.messages + found.lost_messages + found.lost_bytes != 0) {
        rings.push_back(std::move(ring));
      }
    }
  }
  return rings;
}

recording::Message Recorded(const UnreadRing& ring, const inspect::RingMessage& message) {
  recording::Message recorded;
  recorded.set_from(RecordedText(ring.from));
  recorded.set_to(RecordedText(ring.to));
  recorded.set_topic(RecordedText(message.topic));
  recorded.set_sequence(message.sequence);
  recorded.set_is_history(message.is_history);
  SetContent(message.kind, message.type, message.type_name,
             {reinterpret_cast<const char*>(message.payload.data()), message.payload.size()},
             &recorded);
  return recorded;
}

// Writes all that is unread, and where something is lost.
Status Salvage(const FsckFlags& flags, const std::string& address, const Region& region,
               const RegionReport& report) {
  recording::Header header;
  header.set_salvaged(true);
  auto writer = RecordingWriter::Create(flags.salvage, flags.force, address, region.geometry(),
                                        std::move(header));
  if (!writer.ok()) {
    const bool exists = writer.status().code() == StatusCode::kAlreadyExists;
    return {writer.status().code(),
            writer.status().message() + (exists ? "; to replace it: --force" : "")};
  }
  const std::vector<UnreadRing> rings =
      FindUnread(region, report, [&](const UnreadRing& ring, const inspect::RingMessage& message) {
        return (*writer)->Write(Recorded(ring, message));
      });
  for (const UnreadRing& ring : rings) {
    if (ring.messages.lost_messages + ring.messages.lost_bytes == 0) continue;
    recording::Missed missed;
    missed.set_from(RecordedText(ring.from));
    missed.set_to(RecordedText(ring.to));
    missed.set_messages(ring.messages.lost_messages);
    missed.set_bytes(ring.messages.lost_bytes);
    missed.set_why("damaged");
    (void)(*writer)->WriteMissed(std::move(missed));
  }
  if (Status status = (*writer)->Finish(); !status.ok()) return status;
  Complain(fmt::format("{}: {} message{} of {} saved", flags.salvage, (*writer)->messages(),
                       (*writer)->messages() == 1 ? "" : "s",
                       SizeText((*writer)->payload_bytes())));
  return {};
}

std::string SlotsText(const std::vector<PeerInfo>& peers) {
  std::size_t live = 0;
  std::size_t away = 0;
  for (const PeerInfo& peer : peers) {
    if (peer.state == layout::PeerState::kLive) ++live;
    if (peer.state == layout::PeerState::kDead && peer.durable) ++away;
  }
  return fmt::format("{} in use: {} were live, {} durable and away", peers.size(), live, away);
}

// For people.
std::string FindingsText(const Region& region, const std::vector<UnreadRing>& rings,
                         const std::vector<std::string>& problems) {
  const ArenaStats arena = Arena(region).Stats();
  std::string text =
      fmt::format("slots     {}\nrings     {}\nheaps     {} extent{}, {}\n",
                  SlotsText(PeerTable(region).Snapshot().peers), arena.rings, arena.extents,
                  arena.extents == 1 ? "" : "s", SizeText(arena.extent_bytes));
  text += rings.empty() ? "unread    nothing\n" : "";
  for (const UnreadRing& ring : rings) {
    const Salvaged& found = ring.messages;
    text += fmt::format("unread    {} to {}: {} message{}", PrintableName(ring.from),
                        PrintableName(ring.to), found.messages, found.messages == 1 ? "" : "s");
    if (found.lost_messages != 0) text += fmt::format(", {} lost", found.lost_messages);
    if (found.lost_bytes != 0) text += fmt::format(", {} damaged", SizeText(found.lost_bytes));
    text += "\n";
  }
  for (std::size_t i = 0; i < problems.size() && i < kProblemsShown; ++i) {
    text += "damage    " + Printable(problems[i]) + "\n";
  }
  if (problems.size() > kProblemsShown) {
    text += fmt::format("damage    and {} more; `ivmq dump` shows them\n",
                        problems.size() - kProblemsShown);
  }
  return text + (problems.empty() ? "no damage\n" : "");
}

Json FindingsJson(const std::string& address, const std::vector<UnreadRing>& rings,
                  const std::vector<std::string>& problems) {
  Json json{{"address", address}, {"problems", problems}, {"unread", Json::array()}};
  for (const UnreadRing& ring : rings) {
    json["unread"].push_back({{"from", ring.from},
                              {"to", ring.to},
                              {"messages", ring.messages.messages},
                              {"lost_messages", ring.messages.lost_messages},
                              {"lost_bytes", ring.messages.lost_bytes}});
  }
  return json;
}

// Asks on the terminal; without one, that is a no.
bool Confirm(const std::string& question) {
  if (isatty(STDIN_FILENO) != 1) return false;
  (void)TryPrint(question + " [y/N] ");
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "yes";
}

int FormatAnew(UnusedRegion& unused, const FsckFlags& flags, const std::string& address,
               std::uint64_t unread) {
  if (!flags.yes && !Confirm(fmt::format("Format {} anew? Its {} unread messages are lost.",
                                         Printable(address), unread))) {
    Complain(address + ": not formatted; to format it without being asked: --yes");
    return kExitFailed;
  }
  CreateOptions create;
  create.replace = true;
  if (const auto region = Region::Attach(unused.memory().memory); region.ok()) {
    create.format.max_peers = region->geometry().max_peers;
    create.format.ring_capacity = region->geometry().ring_capacity;
  }
  unused.Release();
  if (const Status status = CreateRegionFile(address, 0, create); !status.ok()) {
    return Fail(status);
  }
  Complain(address + ": formatted anew");
  return kExitOk;
}

int RunFsck(const FsckFlags& flags, const std::string& path) {
  const std::string address = IsAddress(path) ? path : "file:" + path;
  if (flags.yes && !flags.format) WrongUsage("--yes without --format");
  auto unused = UnusedRegion::Open(address);
  if (!unused.ok()) return Fail(unused.status());
  const auto region = Region::Attach(unused->memory().memory);
  if (!region.ok()) {
    Complain(address + ": " + region.status().message());
    if (!flags.format) return kExitDamaged;
    return FormatAnew(*unused, flags, address, 0);
  }
  if (const Status status = CheckHeartbeats(*region, address); !status.ok()) return Fail(status);

  RegionReport report(*region);
  (void)report.Slots();
  (void)report.Rings(0);
  (void)report.Heaps();
  const auto look = [](const UnreadRing& /*ring*/, const inspect::RingMessage& /*message*/) {
    return Status();
  };
  const std::vector<UnreadRing> rings = FindUnread(*region, report, look);
  std::uint64_t unread = 0;
  for (const UnreadRing& ring : rings) unread += ring.messages.messages;
  Print(flags.json ? JsonText(FindingsJson(address, rings, report.problems()))
                   : FindingsText(*region, rings, report.problems()));
  if (!flags.salvage.empty()) {
    if (const Status status = Salvage(flags, address, *region, report); !status.ok()) {
      return Fail(status);
    }
  }
  if (flags.format) return FormatAnew(*unused, flags, address, unread);
  return report.problems().empty() ? kExitOk : kExitDamaged;
}

}  // namespace

void AddFsck(CLI::App& app, int* exit_code) {
  const auto flags = std::make_shared<FsckFlags>();
  CLI::App* const command = AddPlainCommand(
      app, exit_code,
      {.name = "fsck",
       .summary = "Check, salvage and format a region that nobody uses",
       .words = "FILE",
       .min_words = 1,
       .max_words = 1,
       .footer = kFsckFooter},
      [flags](const std::vector<std::string>& words) { return RunFsck(*flags, words[0]); });
  command->add_option("--salvage", flags->salvage, "Write the unread messages to this file")
      ->type_name("OUT");
  command->add_flag("--force", flags->force, "Replace OUT if it exists");
  command->add_flag("--format", flags->format, "Then format the region anew");
  command->add_flag("--yes", flags->yes, "Do not ask");
  command->add_flag("--json", flags->json, "Print JSON");
}

}  // namespace ivmq::tool
