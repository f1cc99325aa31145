// ivmq ls: the peers of a region, or the clients of an ivshmem server.
#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ivmq/internal/peer_table.h"

#include "command.h"
#include "commands.h"
#include "exit_code.h"
#include "opened_region.h"
#include "output.h"
#include "peers.h"
#include "server_clients.h"
#include "table.h"
#include "text.h"
#include "topics.h"

namespace ivmq::tool {
namespace {

using layout::Counter;

constexpr const char* kLsFooter =
    R"(Only reads: takes no id and no slot. States: live; claiming (its name is being
checked); away (durable, expected back); dead (being reclaimed). A live peer's
heartbeat and counters change four times a second; the command waits two seconds
to see that.

With --vectors: the clients of the ivshmem server at unix:PATH, whatever its
memory contains. That needs a connection, and so an id, for a moment.

With --services: the services that live peers offer, and the peers that offer
them; see `ivmq call --help`. With --topics: what `ivmq topic list` shows.

Example:
  ivmq ls shm:/demo
  ivmq ls shm:/demo --services
  ivmq ls unix:/run/ivmq/ivmq.sock --vectors)";

const char* HeartbeatText(const PeerInfo& peer, const StillPeers& still) {
  if (peer.state != layout::PeerState::kLive) return "-";
  return still.Contains(peer) ? "still" : "moving";
}

std::string Notes(const PeerInfo& peer) {
  constexpr std::pair<Counter, const char*> kNotes[] = {
      {Counter::kRingsFull, "full"},
      {Counter::kDropped, "dropped"},
      {Counter::kRedelivered, "redelivered"},
      {Counter::kUnhandled, "unhandled"},
      {Counter::kUnparsable, "unparsable"},
      {Counter::kAssembliesLost, "lost midway"},
      {Counter::kRingsPoisoned, "rings damaged"},
      {Counter::kNetFinds, "missed wake-ups"},
  };
  std::string notes = peer.durable ? "durable" : "";
  if (peer.disconnected)
    notes += notes.empty() ? "no connection to ivmqd" : ", no connection to ivmqd";
  for (const auto& [counter, text] : kNotes) {
    const std::uint64_t count = CounterOf(peer, counter);
    if (count != 0) notes += fmt::format("{}{} {}", notes.empty() ? "" : ", ", count, text);
  }
  return notes;
}

int ListPeers(const std::string& address, bool json) {
  const auto opened = OpenFormatted(address);
  if (!opened.ok()) return Fail(opened.status());
  const PeerTable table(opened->region);
  const StillPeers still(table, table.Snapshot().peers);
  const std::vector<PeerInfo> peers = table.Snapshot().peers;

  if (json) {
    Json document;
    document["address"] = opened->memory.address;
    document["peers"] = Json::array();
    for (const PeerInfo& peer : peers) {
      Json entry = PeerJson(peer);
      entry["heartbeat"] = HeartbeatText(peer, still);
      entry["sent"] = CounterOf(peer, Counter::kMessagesSent);
      entry["received"] = CounterOf(peer, Counter::kMessagesReceived);
      entry["notes"] = Notes(peer);
      document["peers"].push_back(std::move(entry));
    }
    Print(JsonText(document));
    return kExitOk;
  }
  if (peers.empty()) {
    Complain("no peers at " + opened->memory.address);
    return kExitOk;
  }
  constexpr auto kRight = Table::Align::kRight;
  Table lines({{"SLOT", kRight},
               {"NAME"},
               {"STATE"},
               {"HEARTBEAT", Table::Align::kLeft, 2},
               {"IVPOSITION", kRight, 4},
               {"VECTOR", kRight, 5},
               {"PID", kRight, 3},
               {"INCARNATION", kRight, 6},
               {"SENT", kRight, 1},
               {"RECEIVED", kRight, 1},
               {"NOTES"}});
  for (const PeerInfo& peer : peers) {
    const bool has_id = peer.ivposition != layout::kNoIvposition;
    lines.AddRow({fmt::to_string(peer.id.slot), PrintableName(peer.name),
                  std::string(StateText(peer)), HeartbeatText(peer, still),
                  has_id ? fmt::to_string(peer.ivposition) : "-",
                  has_id ? fmt::to_string(peer.vector) : "-", fmt::to_string(peer.pid),
                  fmt::to_string(peer.id.incarnation),
                  fmt::to_string(CounterOf(peer, Counter::kMessagesSent)),
                  fmt::to_string(CounterOf(peer, Counter::kMessagesReceived)), Notes(peer)});
  }
  Print(lines.Render());
  return kExitOk;
}

int ListServices(const std::string& address, bool json) {
  const auto opened = OpenFormatted(address);
  if (!opened.ok()) return Fail(opened.status());
  std::map<std::string, std::vector<std::string>> peers;  // by service
  for (const PeerInfo& peer : PeerTable(opened->region).Snapshot().peers) {
    for (const std::string& service : peer.services) peers[service].push_back(peer.name);
  }
  if (json) {
    Json document;
    document["address"] = opened->memory.address;
    document["services"] = Json::array();
    for (const auto& [service, names] : peers) {
      document["services"].push_back({{"service", service}, {"peers", names}});
    }
    Print(JsonText(document));
    return kExitOk;
  }
  if (peers.empty()) {
    Complain("no services at " + opened->memory.address);
    return kExitOk;
  }
  Table lines({{"SERVICE"}, {"PEERS"}});
  for (const auto& [service, names] : peers) {
    std::string text;
    for (const std::string& name : names) {
      text += (text.empty() ? "" : ", ") + PrintableName(name);
    }
    lines.AddRow({service, text});
  }
  Print(lines.Render());
  return kExitOk;
}

// "vm1, vm2": the live peers behind an ivposition.
std::string PeersAt(const std::vector<PeerInfo>& peers, std::uint16_t ivposition) {
  std::string names;
  for (const PeerInfo& peer : peers) {
    if (peer.ivposition != ivposition || peer.state != layout::PeerState::kLive) continue;
    names += (names.empty() ? "" : ", ") + PrintableName(peer.name);
  }
  return names.empty() ? "-" : names;
}

int ListVectors(const std::string& address, bool json) {
  const auto client = ConnectAndSettle(address);
  if (!client.ok()) return Fail(client.status());
  // Names need a region of ours; the server may serve anything.
  std::vector<PeerInfo> named;
  if (const auto opened = OpenFormatted(address); opened.ok()) {
    named = PeerTable(opened->region).Snapshot().peers;
  }
  const std::uint16_t own_id = (*client)->id();
  std::vector<IvshmemClient::Peer> clients = (*client)->peers();
  clients.push_back({own_id, (*client)->vectors()});
  std::sort(clients.begin(), clients.end(),
            [](const auto& a, const auto& b) { return a.id < b.id; });

  if (json) {
    Json document;
    document["address"] = address;
    document["own_id"] = own_id;
    document["clients"] = Json::array();
    for (const auto& entry : clients) {
      Json names = Json::array();
      for (const PeerInfo& peer : named) {
        const bool live = peer.state == layout::PeerState::kLive;
        if (live && peer.ivposition == entry.id) names.push_back(peer.name);
      }
      document["clients"].push_back(
          {{"id", entry.id}, {"vectors", entry.vectors}, {"peers", std::move(names)}});
    }
    Print(JsonText(document));
    return kExitOk;
  }
  Table lines({{"ID", Table::Align::kRight}, {"VECTORS"}, {"PEERS"}});
  for (const auto& entry : clients) {
    lines.AddRow({fmt::to_string(entry.id),
                  entry.vectors == 1 ? "0" : fmt::format("0-{}", entry.vectors - 1),
                  entry.id == own_id ? "(this look)" : PeersAt(named, entry.id)});
  }
  Print(lines.Render());
  return kExitOk;
}

}  // namespace

void AddLs(CLI::App& app, int* exit_code) {
  struct Options {
    bool services = false;
    bool topics = false;
    bool vectors = false;
    bool json = false;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* const command = AddCommand(
      app, exit_code,
      {.name = "ls", .summary = "List the peers of a region", .words = "", .footer = kLsFooter},
      [options](const std::string& address, const std::vector<std::string>& /*words*/) {
        if (options->services + options->topics + options->vectors > 1) {
          WrongUsage("only one of --services, --topics and --vectors may be given");
        }
        if (options->services) return ListServices(address, options->json);
        if (options->topics) return ListTopics(address, options->json);
        return options->vectors ? ListVectors(address, options->json)
                                : ListPeers(address, options->json);
      });
  command->add_flag("--services", options->services, "List the services that peers offer");
  command->add_flag("--topics", options->topics, "List topics, as `ivmq topic list` does");
  command->add_flag("--vectors", options->vectors,
                    "List the clients of an ivshmem server and their vectors");
  command->add_flag("--json", options->json, "Print JSON");
}

}  // namespace ivmq::tool
