#include "region_check.h"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <map>
#include <sstream>
#include <vector>

#include <fmt/format.h>

#include "ivmq/internal/doorbell_epochs.h"
#include "ivmq/internal/layout.h"
#include "ivmq/internal/peer_table.h"
#include "ivmq/internal/region.h"

#include "load_timing.h"
#include "peers.h"
#include "region_holders.h"
#include "text.h"

namespace ivmq::tool {
namespace {

using layout::Counter;

// From here on address translation with pages of 4 KiB shows.
constexpr std::uint64_t kHugePagesPay = std::uint64_t{256} << 20;

// Says what the memory holds in place of a region.
void CheckUnformatted(const RegionMemory& memory, const RegionHome& home, const Status& status,
                      Findings* findings) {
  if (memory.memory.size() >= sizeof(layout::Header)) {
    const auto& header = *reinterpret_cast<const layout::Header*>(memory.memory.data());
    if (header.magic.load(std::memory_order_acquire) == 0) {
      findings->Problem("not-formatted", home.subject,
                        fmt::format("{}, not formatted", SizeText(memory.memory.size())),
                        {home.format});
      return;
    }
    const std::uint32_t version = header.version.load(std::memory_order_relaxed);
    if (header.magic.load(std::memory_order_relaxed) == layout::kMagic &&
        version >> 16 != layout::kVersionMajor) {
      findings->Problem(
          "other-version", home.subject,
          fmt::format(
              "the region has format version {}.{}, and this program, ivmq {}, supports {}.{}",
              version >> 16, version & 0xffff, IVMQ_VERSION, layout::kVersionMajor,
              layout::kVersionMinor),
          {"ivmq --version   # on every machine that uses the region: install the same release"});
      return;
    }
  }
  findings->Problem(home.subject, status,
                    {fmt::format("{}   # of a new file: what is there is something else, and kept",
                                 home.format.substr(0, home.format.find("   #")))});
}

// True if `pid` is an ivmqd on this machine.
bool IsServer(std::uint32_t pid) {
  std::ifstream file(fmt::format("/proc/{}/comm", pid));
  std::string name;
  std::getline(file, name);
  return name == "ivmqd";
}

void CheckServer(const layout::Header& header, const RegionHome& home, Findings* findings) {
  const std::uint64_t epoch = header.server_epoch.load(std::memory_order_relaxed);
  const std::uint32_t pid = header.server_pid.load(std::memory_order_relaxed);
  const std::uint32_t vectors = header.server_vectors.load(std::memory_order_relaxed);
  if (epoch == 0) {
    if (!home.served) return;
    findings->Note("foreign-server", home.subject,
                   "its server is not ivmqd: deaths of peers are not confirmed, so their "
                   "slots and names stay taken",
                   {"ivmqd --socket PATH --size SIZE   # instead of that server"});
    return;
  }
  // Of a region that a server has just given, it is not true.
  const bool is_reached = home.on_host && home.served;
  if (!is_reached && header.orphaned.load(std::memory_order_relaxed) == epoch) {
    findings->Problem(
        "region-lost", home.subject,
        "nobody can join this region any more: its server has ended, and it is in no file that the "
        "next one could take over. Attached peers go on, but do not meet those who start now",
        {home.on_host ? "ivmq doctor   # says which processes and guests are to be started again"
                      : "poweroff   # then start QEMU again on the host: a reboot is not enough"});
    return;
  }
  if (pid == 0 || (home.on_host && !IsServer(pid))) {
    findings->Note("server-ended", home.subject,
                   fmt::format("its server ivmqd{} has ended: attached peers go on, but no peer "
                               "can join through it",
                               pid == 0 ? "" : fmt::format(", pid {},", pid)),
                   {home.on_host ? "ivmqd --socket PATH --region ...   # as it was started before"
                                 : "ivmqd --socket PATH ...   # on the host, as before"});
    return;
  }
  findings->Ok(home.subject, fmt::format("ivmqd serves it: pid {}{}, {} vectors, epoch {}", pid,
                                         home.on_host ? "" : " of the host", vectors, epoch));
}

std::string FirstNames(const std::vector<PeerInfo>& peers) {
  constexpr std::size_t kMost = 8;
  std::string names;
  for (std::size_t i = 0; i < peers.size() && i < kMost; ++i) {
    names += (i == 0 ? "" : ", ") + PrintableName(peers[i].name);
  }
  return peers.size() > kMost ? names + ", ..." : names;
}

void CheckPeer(const PeerInfo& peer, bool still, const RegionMemory& memory, const RegionHome& home,
               Findings* findings) {
  std::string who =
      fmt::format("peer {} (slot {}, pid {}", PrintableName(peer.name), peer.id.slot, peer.pid);
  if (peer.ivposition != layout::kNoIvposition) {
    who += fmt::format(", ivposition {}", peer.ivposition);
  }
  who += ")";
  const auto note = [&](Cause cause, const std::string& text, Findings::Remedies remedies = {}) {
    findings->Note(cause, home.subject, who + " " + text, std::move(remedies));
  };
  if (peer.state == layout::PeerState::kDead) {
    if (!peer.durable) return note("peer-left", "is dead; its slot is being reclaimed");
    return note("peer-away", "is durable and away: its slot and its messages are kept for it",
                {fmt::format("ivmq forget {} {}   # if it will not return",
                             ShellWord(memory.address), ShellWord(peer.name))});
  }
  if (still) {
    note("peer-still",
         "is suspected: its heartbeat has stopped, so the peer or its machine is stopped",
         {fmt::format("ps -o pid,stat,args -p {}   # on its machine; T is stopped", peer.pid)});
  }
  if (peer.disconnected) {
    note("peer-disconnected",
         "is suspected: its connection to ivmqd has ended, though it still has the region. It gets "
         "no doorbells of new peers. A process of the host reconnects on its own",
         {"journalctl -u ivmqd   # says when and why"});
  }
  if (const auto finds = CounterOf(peer, Counter::kNetFinds); finds != 0) {
    note(
        "lost-doorbells",
        fmt::format("found {} messages for which no doorbell had arrived: doorbells to it are lost",
                    finds));
  }
  if (const auto poisoned = CounterOf(peer, Counter::kRingsPoisoned); poisoned != 0) {
    note("damaged-ring",
         fmt::format("gave up {} damaged rings: some process writes to memory that is not its own",
                     poisoned));
  }
}

// The process that has the region by that id of a server; nullptr: not to be found.
const RegionHolder* HolderOf(const std::vector<HeldRegion>& regions, std::uint16_t ivposition) {
  for (const HeldRegion& region : regions) {
    for (const RegionHolder& holder : region.holders) {
      if (holder.ids.contains(ivposition)) return &holder;
    }
  }
  return nullptr;
}

// How to bring peers, with the doorbells of a former server, to the present one.
std::string ReturnRemedy(const PeerInfo& peer, const RegionHolder* holder, bool on_host) {
  constexpr const char* kUnless =
      "start it again, unless it reconnects by itself within half a minute";
  if (holder != nullptr && !holder->is_qemu) {
    return fmt::format("kill {}   # then {}", holder->pid, kUnless);
  }
  // What the region says of pids anybody may have written.
  if (holder == nullptr && on_host && peer.boot_id == ReadBootId()) {
    return fmt::format("ps -o pid,args -p {}   # {}", peer.pid, kUnless);
  }
  return "poweroff   # in its guest; then start its QEMU again: a reboot is not enough";
}

// Peers that cannot ring others and be rung by them, since their doorbells are of another server.
void CheckDoorbells(const Region& region, const std::vector<PeerInfo>& live,
                    const RegionMemory& memory, const RegionHome& home, Findings* findings) {
  const DoorbellEpochs epochs(region);
  const std::uint64_t epoch = region.header().server_epoch.load(std::memory_order_relaxed);
  std::map<std::uint16_t, std::vector<PeerInfo>> apart;
  for (const PeerInfo& peer : live) {
    const bool is_alone = std::none_of(live.begin(), live.end(), [&](const PeerInfo& other) {
      return other.ivposition != layout::kNoIvposition &&
             !epochs.AreTogether(peer.ivposition, other.ivposition);
    });
    if (peer.ivposition == layout::kNoIvposition || is_alone) continue;
    if (epochs.Of(peer.ivposition) != epoch) apart[peer.ivposition].push_back(peer);
  }
  if (apart.empty()) return;
  std::vector<HeldRegion> regions;
  if (const auto file = FileMappedAt(memory.memory.data()); home.on_host && file) {
    regions = FindHeldRegions(file);
    std::erase_if(regions, [&](const HeldRegion& held) { return held.file != *file; });
  }
  for (const auto& [ivposition, peers] : apart) {
    const std::uint64_t its = epochs.Of(ivposition);
    if (its == layout::kEpochUnsure) {
      findings->Note(
          "peers-apart", home.subject,
          fmt::format("{} (ivposition {}) and peers that have come since cannot wake each other: "
                      "ivmqd does not reach it, or it may open too few files. They look for each "
                      "other's messages every millisecond",
                      FirstNames(peers), ivposition),
          {"journalctl -u ivmqd   # says when and why"});
      continue;
    }
    const RegionHolder* const holder = HolderOf(regions, ivposition);
    findings->Note(
        "peers-apart", home.subject,
        fmt::format("{} (ivposition {}{}) cannot wake, nor be woken by, peers that have come since "
                    "its server ended (epoch {}, now {}). They look for each other's messages "
                    "every millisecond",
                    FirstNames(peers), ivposition, holder == nullptr ? "" : ", " + holder->text,
                    its, epoch),
        {ReturnRemedy(peers.front(), holder, home.on_host)});
  }
}

void CheckPeers(const Region& region, const RegionMemory& memory, const RegionHome& home,
                Findings* findings) {
  const PeerTable table(region);
  const StillPeers still(table, table.Snapshot().peers);
  const std::vector<PeerInfo> peers = table.Snapshot().peers;
  std::vector<PeerInfo> live;
  for (const PeerInfo& peer : peers) {
    if (peer.state != layout::PeerState::kDead) live.push_back(peer);
  }
  if (peers.size() >= region.max_peers()) {
    findings->Problem("slots-taken", home.subject,
                      fmt::format("all of its {} slots are taken", peers.size()),
                      {fmt::format("ivmq ls {}   # which peers can be ended or forgotten?",
                                   ShellWord(memory.address))});
  } else {
    findings->Ok(home.subject,
                 live.empty() ? fmt::format("no peers; room for {}", region.max_peers())
                              : fmt::format("{} live: {}; room for {}",
                                            live.size() == 1 ? "1 peer"
                                                             : fmt::format("{} peers", live.size()),
                                            FirstNames(live), region.max_peers()));
  }
  for (const PeerInfo& peer : peers) {
    CheckPeer(peer, still.Contains(peer), memory, home, findings);
  }
  CheckDoorbells(region, live, memory, home, findings);
}

void CheckMapping(const RegionMemory& memory, const RegionHome& home, Findings* findings) {
  const LoadTiming timing = TimeLoads(memory.memory);
  const std::string measured =
      fmt::format("a load takes {:.1f} ns, one of ordinary memory {:.1f} ns: {:.1f} times as long",
                  timing.region_ns, timing.ordinary_ns, timing.ratio());
  if (CpuIsEmulated()) {
    findings->Note("cache-unknown", home.subject,
                   fmt::format("mapping: {}; whether it is cached is unknown, since this "
                               "processor is emulated (TCG)",
                               measured));
  } else if (timing.cached()) {
    findings->Ok(home.subject, fmt::format("mapping: cached: {}", measured));
  } else {
    findings->Problem("uncached", home.subject, fmt::format("mapping: uncached: {}", measured),
                      home.uncached);
  }
}

// Bytes of a page of the mapping at `memory`; 0 if the kernel does not say.
std::uint64_t PageBytes(const std::byte* memory) {
  std::ifstream maps("/proc/self/smaps");
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    std::string word;
    words >> word;
    if (inside && word == "KernelPageSize:") {
      std::uint64_t kib = 0;
      words >> kib;
      return kib << 10;
    }
    if (const std::size_t dash = word.find('-');
        dash != std::string::npos && !word.ends_with(':')) {
      const auto begin = std::stoull(word.substr(0, dash), nullptr, 16);
      const auto end = std::stoull(word.substr(dash + 1), nullptr, 16);
      inside = begin <= address && address < end;
    }
  }
  return 0;
}

void CheckPages(const RegionMemory& memory, const RegionHome& home, Findings* findings) {
  const std::uint64_t page = PageBytes(memory.memory.data());
  if (page > layout::kPage) {
    findings->Ok(home.subject, fmt::format("pages of {}", SizeText(page)));
  } else if (memory.memory.size() >= kHugePagesPay) {
    const std::uint64_t count = memory.memory.size() >> 21;
    findings->Note("small-pages", home.subject,
                   fmt::format("{} in pages of 4 KiB; huge pages make large regions faster",
                               SizeText(memory.memory.size())),
                   {fmt::format("sysctl vm.nr_hugepages={}", count),
                    home.served ? "ivmqd --hugepages 2M ...   # and --region memfd, the default"
                                : fmt::format("ivmq format /dev/hugepages/ivmq --size {}M",
                                              memory.memory.size() >> 20)});
  }
}

}  // namespace

void CheckRegion(const RegionMemory& memory, const RegionHome& home, Findings* findings) {
  const auto region = Region::Attach(memory.memory);
  if (!region.ok()) {
    CheckUnformatted(memory, home, region.status(), findings);
  } else {
    const Geometry& geometry = region->geometry();
    findings->Ok(home.subject,
                 fmt::format("a region of {}, format {}.{}, formatted {}",
                             SizeText(geometry.region_size), layout::kVersionMajor,
                             geometry.version_minor, TimeText(geometry.formatted_at)));
    CheckServer(region->header(), home, findings);
    CheckPeers(*region, memory, home, findings);
  }
  CheckMapping(memory, home, findings);
  if (home.on_host) CheckPages(memory, home, findings);
}

}  // namespace ivmq::tool
