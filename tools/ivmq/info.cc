// ivmq info: one region at a glance.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "ivmq/internal/arena.h"
#include "ivmq/internal/peer_table.h"

#include "command.h"
#include "commands.h"
#include "exit_code.h"
#include "opened_region.h"
#include "output.h"
#include "peers.h"
#include "table.h"
#include "text.h"

namespace ivmq::tool {
namespace {

constexpr const char* kInfoFooter = R"(Only reads: takes no id and no slot.

Example:
  ivmq info shm:/demo)";

struct Server {
  std::uint64_t epoch = 0;
  std::uint32_t pid = 0;
  std::uint32_t vectors = 0;
  bool is_last = false;  // peers say that nobody can join behind it
};

struct PeerCounts {
  unsigned live = 0;
  unsigned claiming = 0;
  unsigned away = 0;
  unsigned dead = 0;
};

Server ServerOf(const layout::Header& header) {
  const std::uint64_t epoch = header.server_epoch.load(std::memory_order_relaxed);
  return {epoch, header.server_pid.load(std::memory_order_relaxed),
          header.server_vectors.load(std::memory_order_relaxed),
          epoch != 0 && header.orphaned.load(std::memory_order_relaxed) == epoch};
}

PeerCounts CountPeers(const Region& region) {
  PeerCounts counts;
  for (const PeerInfo& peer : PeerTable(region).Snapshot().peers) {
    switch (peer.state) {
      case layout::PeerState::kLive:
        ++counts.live;
        break;
      case layout::PeerState::kClaiming:
        ++counts.claiming;
        break;
      default:
        ++(peer.durable ? counts.away : counts.dead);
        break;
    }
  }
  return counts;
}

std::string ServerText(const Server& server) {
  if (server.epoch == 0) return "none has had this region";
  std::string state = server.pid == 0 ? "ended" : fmt::format("pid {}", server.pid);
  if (server.is_last) state = "ended, and nobody can join any more";
  return fmt::format("{}, {} vectors, epoch {}", state, server.vectors, server.epoch);
}

int RunInfo(const std::string& address, bool json) {
  const auto opened = OpenFormatted(address);
  if (!opened.ok()) return Fail(opened.status());
  const Region& region = opened->region;
  const Geometry& geometry = region.geometry();
  const Server server = ServerOf(region.header());
  const PeerCounts peers = CountPeers(region);
  const ArenaStats arena = Arena(region).Stats();

  if (json) {
    Json document;
    document["address"] = opened->memory.address;
    document["description"] = opened->memory.description;
    document.update(GeometryJson(geometry));
    document["server"] = {{"epoch", server.epoch},
                          {"pid", server.pid},
                          {"vectors", server.vectors},
                          {"last", server.is_last}};
    document["peers"] = {{"live", peers.live},
                         {"claiming", peers.claiming},
                         {"away", peers.away},
                         {"dead", peers.dead}};
    document["arena"] = {{"units", arena.units},
                         {"units_free", arena.units_free},
                         {"units_free_small", arena.units_free_small},
                         {"rings", arena.rings},
                         {"smallest_capacity", arena.smallest_capacity},
                         {"extents", arena.extents},
                         {"extent_bytes", arena.extent_bytes}};
    Print(JsonText(document));
    return kExitOk;
  }

  Table table({{.title = ""}, {.title = ""}});
  const auto add = [&table](const char* key, std::string value) {
    table.AddRow({key, std::move(value)});
  };
  const std::uint64_t used = arena.units - std::min(arena.units, arena.units_free);
  add("address", Printable(opened->memory.address));
  add("description", Printable(opened->memory.description));
  add("version", fmt::format("{}.{}", layout::kVersionMajor, geometry.version_minor));
  add("formatted at", TimeText(geometry.formatted_at));
  add("region id", HexDigits(std::as_bytes(std::span(geometry.region_id))));
  add("region size", SizeText(geometry.region_size));
  add("server", ServerText(server));
  add("peers", fmt::format("{} live, {} away, {} dead; room for {}", peers.live + peers.claiming,
                           peers.away, peers.dead, geometry.max_peers));
  add("arena",
      fmt::format("{} of {} used ({:.0f} %)", SizeText(used * geometry.unit_size),
                  SizeText(std::uint64_t{geometry.unit_count} * geometry.unit_size),
                  arena.units == 0 ? 0.0 : 100.0 * static_cast<double>(used) / arena.units));
  add("rings",
      arena.rings == 0
          ? fmt::format("none yet; the first get {}", SizeText(geometry.ring_capacity))
          : fmt::format("{}, the smallest of {}; the first got {}", arena.rings,
                        SizeText(arena.smallest_capacity), SizeText(geometry.ring_capacity)));
  if (arena.extents != 0) {
    add("extents", fmt::format("{} of heaps, {}", arena.extents, SizeText(arena.extent_bytes)));
  }
  Print(table.Render());
  return kExitOk;
}

}  // namespace

void AddInfo(CLI::App& app, int* exit_code) {
  const auto json = std::make_shared<bool>(false);
  CLI::App* const command =
      AddCommand(app, exit_code,
                 {.name = "info",
                  .summary = "Show the size, server, peers and usage of a region",
                  .words = "",
                  .footer = kInfoFooter},
                 [json](const std::string& address, const std::vector<std::string>& /*words*/) {
                   return RunInfo(address, *json);
                 });
  command->add_flag("--json", *json, "Print JSON");
}

}  // namespace ivmq::tool
