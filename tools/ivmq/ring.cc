// ivmq ring: rings doorbells.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ivmq/address.h"
#include "ivmq/internal/peer_table.h"
#include "ivmq/transport.h"

#include "command.h"
#include "commands.h"
#include "exit_code.h"
#include "opened_region.h"
#include "output.h"
#include "peers.h"
#include "server_clients.h"

namespace ivmq::tool {
namespace {

constexpr const char* kRingFooter =
    R"(PEER is the id that an ivshmem server assigned to a client or a guest's device,
or the name of a live peer if the memory is an ivmq region; `all`: all others.
VECTOR is a number or `all`; default: 0, or, for a name, the vector by which that
peer is woken. Works with any ivshmem server (unix:PATH), and in a guest with a
doorbell device (pci:), where it is unknown whether an id exists.

Example:
  ivmq ring unix:/run/ivmq/ivmq.sock 3
  ivmq ring unix:/run/ivmq/ivmq.sock all all)";

constexpr const char* kAll = "all";
constexpr std::uint64_t kMaxId = 0xffff;

struct Doorbell {
  std::uint16_t id = 0;
  std::uint32_t vector = 0;
};

struct Target {
  std::string peer;
  std::string vector;  // empty: left out
};

// A vector's number. REQUIRES: not "all".
std::uint32_t VectorOf(const std::string& text) {
  const auto vector = ParseNumber(text, kMaxId);
  if (!vector) WrongUsage(fmt::format("VECTOR is a number or 'all', not '{}'", text));
  return static_cast<std::uint32_t>(*vector);
}

// Where the live peer `name` sleeps.
Result<Doorbell> DoorbellOf(const std::string& address, const Region& region,
                            const std::string& name) {
  const auto peer = PeerTable(region).Find(name);
  if (!peer || peer->state != layout::PeerState::kLive) {
    return Status(StatusCode::kNotFound,
                  fmt::format("{}: no live peer is named '{}'; see `ivmq ls`", address, name));
  }
  if (peer->ivposition == layout::kNoIvposition) {
    return Status(StatusCode::kFailedPrecondition,
                  fmt::format("{}: {} has no doorbell: it polls", address, name));
  }
  return Doorbell{peer->ivposition, peer->vector};
}

Status NoSuchPeer(const std::string& address, const std::string& peer) {
  return {StatusCode::kNotFound,
          fmt::format("{}: there is no client {}; `ivmq ls --vectors` lists them", address, peer)};
}

// The doorbells that `target` means, as the server announced them.
Result<std::vector<Doorbell>> Select(const std::string& address, const IvshmemClient& client,
                                     const Target& target) {
  std::vector<IvshmemClient::Peer> peers = client.peers();
  std::uint32_t default_vector = 0;
  if (target.peer != kAll) {
    std::optional<std::uint64_t> id = ParseNumber(target.peer, kMaxId);
    if (!id) {
      const auto opened = OpenFormatted(address);
      if (!opened.ok()) {
        return Status(opened.status().code(),
                      fmt::format("'{}' is not an id, and looking up a name needs a region: {}",
                                  target.peer, opened.status().message()));
      }
      const auto doorbell = DoorbellOf(address, opened->region, target.peer);
      if (!doorbell.ok()) return doorbell.status();
      id = doorbell->id;
      default_vector = doorbell->vector;
    }
    std::erase_if(peers, [&](const auto& peer) { return peer.id != *id; });
    if (peers.empty()) return NoSuchPeer(address, target.peer);
  }
  std::vector<Doorbell> doorbells;
  for (const auto& peer : peers) {
    if (target.vector == kAll) {
      for (std::uint32_t v = 0; v < peer.vectors; ++v) doorbells.push_back({peer.id, v});
    } else {
      doorbells.push_back(
          {peer.id, target.vector.empty() ? default_vector : VectorOf(target.vector)});
    }
  }
  return doorbells;
}

int RingThroughServer(const std::string& address, const Target& target,
                      std::vector<Doorbell>* rung) {
  const auto client = ConnectAndSettle(address);
  if (!client.ok()) return Fail(client.status());
  const auto doorbells = Select(address, **client, target);
  if (!doorbells.ok()) return Fail(doorbells.status());
  int exit_code = kExitOk;
  for (const Doorbell& doorbell : *doorbells) {
    switch ((*client)->Ring(doorbell.id, doorbell.vector)) {
      case IvshmemClient::RingResult::kRung:
        rung->push_back(doorbell);
        break;
      case IvshmemClient::RingResult::kNoSuchPeer:
        exit_code = Fail(NoSuchPeer(address, fmt::to_string(doorbell.id)));
        break;
      case IvshmemClient::RingResult::kNoSuchVector:
        exit_code =
            Fail({StatusCode::kNotFound,
                  fmt::format("{}: client {} has no vector {}; `ivmq ls --vectors` lists them",
                              address, doorbell.id, doorbell.vector)});
        break;
    }
  }
  return exit_code;
}

// Through a guest's device.
int RingThroughDevice(const std::string& address, const Target& target,
                      std::vector<Doorbell>* rung) {
  const auto transport = OpenTransport(address);
  if (!transport.ok()) return Fail(transport.status());
  if (!(*transport)->info().can_ring) {
    return Fail(
        {StatusCode::kFailedPrecondition, fmt::format("{}: no peer can be rung from here ({})",
                                                      address, (*transport)->info().description)});
  }
  const auto region = Region::Attach((*transport)->memory());
  if (!region.ok()) return Fail(region.status());
  if (target.vector == kAll) {
    WrongUsage("a device does not know how many vectors other peers have: give VECTOR as a number");
  }
  if (target.peer == kAll) {
    for (const PeerInfo& peer : PeerTable(*region).Snapshot().peers) {
      const bool elsewhere = peer.ivposition != (*transport)->info().ivposition;
      if (peer.state == layout::PeerState::kLive && elsewhere &&
          peer.ivposition != layout::kNoIvposition) {
        rung->push_back({peer.ivposition, peer.vector});
      }
    }
  } else if (const auto id = ParseNumber(target.peer, kMaxId)) {
    rung->push_back({static_cast<std::uint16_t>(*id), 0});
  } else {
    const auto doorbell = DoorbellOf(address, *region, target.peer);
    if (!doorbell.ok()) return Fail(doorbell.status());
    rung->push_back(*doorbell);
  }
  for (Doorbell& doorbell : *rung) {
    if (!target.vector.empty()) doorbell.vector = VectorOf(target.vector);
    (*transport)->Ring(doorbell.id, doorbell.vector);
  }
  return kExitOk;
}

int RunRing(const std::string& address, const Target& target, bool json) {
  if (!target.vector.empty() && target.vector != kAll) (void)VectorOf(target.vector);
  std::vector<Doorbell> rung;
  const int exit_code = IsServerAddress(address) ? RingThroughServer(address, target, &rung)
                                                 : RingThroughDevice(address, target, &rung);
  if (json) {
    Json document;
    document["rung"] = Json::array();
    for (const Doorbell& doorbell : rung) {
      document["rung"].push_back({{"id", doorbell.id}, {"vector", doorbell.vector}});
    }
    Print(JsonText(document));
    return exit_code;
  }
  for (const Doorbell& doorbell : rung) {
    Print(fmt::format("rang vector {} of client {}\n", doorbell.vector, doorbell.id));
  }
  if (rung.empty() && exit_code == kExitOk) Complain("there are no other clients at " + address);
  return exit_code;
}

}  // namespace

void AddRing(CLI::App& app, int* exit_code) {
  const auto json = std::make_shared<bool>(false);
  CLI::App* const command =
      AddCommand(app, exit_code,
                 {.name = "ring",
                  .summary = "Ring doorbells, with any ivshmem server",
                  .words = "PEER|all [VECTOR|all]",
                  .min_words = 1,
                  .max_words = 2,
                  .footer = kRingFooter},
                 [json](const std::string& address, const std::vector<std::string>& words) {
                   return RunRing(address, {words[0], words.size() > 1 ? words[1] : ""}, *json);
                 });
  command->add_flag("--json", *json, "Print JSON");
}

}  // namespace ivmq::tool
