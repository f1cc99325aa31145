#include "metrics.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <set>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

namespace ivmq::server {
namespace {

using inspect::CounterName;
using inspect::CounterOf;
using layout::Counter;
using layout::PeerState;
using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr std::chrono::milliseconds kFresh{500};

struct CounterHelp {
  Counter counter;
  const char* help;
};

constexpr std::array kCounterHelp = {
    CounterHelp{Counter::kMessagesSent, "Messages sent"},
    CounterHelp{Counter::kBytesSent, "Bytes of messages sent"},
    CounterHelp{Counter::kMessagesReceived, "Messages received"},
    CounterHelp{Counter::kBytesReceived, "Bytes of messages received"},
    CounterHelp{Counter::kDoorbellsRung, "Doorbells that peers rang"},
    CounterHelp{Counter::kSleeps, "Times that peers slept"},
    CounterHelp{Counter::kWakeups, "Sleeps that an event ended"},
    CounterHelp{Counter::kNetFinds,
                "Messages found by the periodic look that no doorbell announced"},
    CounterHelp{Counter::kRingsFull, "Sends that found too little room"},
    CounterHelp{Counter::kDropped, "Messages dropped by choice or as too large"},
    CounterHelp{Counter::kRedelivered, "Messages handed out again"},
    CounterHelp{Counter::kRingsPoisoned,
                "Rings given up because of bytes that no correct peer writes"},
    CounterHelp{Counter::kFragmentsReceived, "Fragments of large messages received"},
    CounterHelp{Counter::kAssembliesLost, "Large messages that did not arrive as a whole"},
    CounterHelp{Counter::kUnhandled, "Messages without a handler for their type"},
    CounterHelp{Counter::kUnparsable, "Messages that do not parse"},
    CounterHelp{Counter::kKept, "Messages kept beyond their handlers"},
    CounterHelp{Counter::kKeepsRefused, "Messages not kept, since the limit was reached"},
    CounterHelp{Counter::kTopicsDropped, "Messages of topics dropped for slow subscriptions"},
    CounterHelp{Counter::kTopicsMissed, "Messages of topics that subscriptions did not get"},
};
static_assert(kCounterHelp.size() == static_cast<std::size_t>(Counter::kCount) - 1,
              "all but kKeptNow, which goes up and down");

constexpr std::array kPeerCounters = {Counter::kMessagesSent,     Counter::kBytesSent,
                                      Counter::kMessagesReceived, Counter::kBytesReceived,
                                      Counter::kDoorbellsRung,    Counter::kNetFinds};

std::string_view StateName(PeerState state) {
  switch (state) {
    case PeerState::kClaiming:
      return "claiming";
    case PeerState::kLive:
      return "live";
    case PeerState::kDead:
    case PeerState::kFree:
      break;
  }
  return "dead";
}

using Labels = std::vector<ClientMetric::Label>;

// The families in the order in which they come.
class Families {
 public:
  void Gauge(std::string name, std::string help, Labels labels, double value) {
    Add(std::move(name), std::move(help), MetricType::Gauge, std::move(labels)).gauge.value = value;
  }
  void Counter(std::string name, std::string help, Labels labels, std::uint64_t value) {
    Add(std::move(name), std::move(help), MetricType::Counter, std::move(labels)).counter.value =
        static_cast<double>(value);
  }
  [[nodiscard]] std::string Text() const { return prometheus::TextSerializer().Serialize(all_); }

 private:
  ClientMetric& Add(std::string name, std::string help, MetricType type, Labels labels) {
    const auto [at, is_new] = by_name_.try_emplace(name, all_.size());
    if (is_new) all_.push_back({std::move(name), std::move(help), type, {}});
    ClientMetric& metric = all_[at->second].metric.emplace_back();
    metric.label = std::move(labels);
    return metric;
  }

  std::vector<MetricFamily> all_;
  std::map<std::string, std::size_t> by_name_;
};

std::string Harmless(std::string name) {
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return name;
}

// One region.
class Writer {
 public:
  Writer(const RegionFigures& figures, Families* families)
      : figures_(figures),
        families_(*families),
        region_{"region", figures.name.empty() ? "default" : figures.name} {}

  void Server() {
    const ServerState& server = figures_.server;
    std::map<std::string_view, std::size_t> states;
    for (const ClientState state :
         {ClientState::kGreeting, ClientState::kConnected, ClientState::kSlow,
          ClientState::kHeldBack, ClientState::kLingering}) {
      states[ClientStateName(state)] = 0;
    }
    for (const ClientInfo& client : figures_.clients) ++states[ClientStateName(client.state)];
    for (const auto& [state, count] : states) {
      Gauge("ivmqd_clients", "Clients of the server by state, see ivmq server clients",
            static_cast<double>(count), {"state", std::string(state)});
    }
    Gauge("ivmqd_observers", "Processes that only look and have not read the region yet",
          static_cast<double>(server.observers));
    Counter("ivmqd_admitted_total", "Clients let in", server.admitted);
    Counter("ivmqd_ended_total", "Clients that are proved to be gone", server.ended);
    for (std::size_t i = 0; i < server.refused.size(); ++i) {
      Counter("ivmqd_refused_total", "Newcomers refused, by reason", server.refused[i],
              {"reason", std::string(RefusalName(static_cast<Refusal>(i)))});
    }
    Gauge("ivmqd_draining", "1: newcomers are refused by the operator", server.is_draining ? 1 : 0);
    Counter("ivmqd_log_lines_omitted_total",
            "Lines about clients left out of the log, see --log-limit", server.log_lines_omitted);
    Gauge("ivmqd_epoch", "Generation of the doorbells of this region",
          static_cast<double>(figures_.sample.server_epoch));
  }

  void Memory() {
    const ArenaStats& arena = figures_.sample.arena;
    Gauge("ivmq_region_bytes", "Size of the region", static_cast<double>(figures_.size));
    Gauge("ivmq_region_allocated_bytes", "Memory that the system has given for it",
          static_cast<double>(figures_.server.allocated));
    Gauge("ivmq_arena_units", "Units of the part of the region for rings and heaps", arena.units);
    Gauge("ivmq_arena_units_free", "Those that are free", arena.units_free);
    std::uint64_t heaps = 0;
    for (const inspect::HeapSample& heap : figures_.sample.heaps) heaps += heap.bytes;
    Gauge("ivmq_heap_bytes", "Bytes in heaps of senders of large loans",
          static_cast<double>(heaps));
  }

  void Rings() {
    std::uint64_t capacity = 0;
    std::uint64_t bytes = 0;
    std::uint64_t messages = 0;
    std::uint64_t damaged = 0;
    double fullest = 0;
    for (const inspect::RingSample& ring : figures_.sample.rings) {
      capacity += ring.capacity;
      bytes += ring.unread.bytes;
      messages += ring.unread.messages;
      if (!ring.unread.problem.empty()) ++damaged;
      fullest = std::max(fullest, ring.fill());
    }
    Gauge("ivmq_rings", "Rings in use", static_cast<double>(figures_.sample.rings.size()));
    Gauge("ivmq_rings_damaged", "Rings that contain what no correct peer writes",
          static_cast<double>(damaged));
    Gauge("ivmq_rings_capacity_bytes", "Capacity of all rings", static_cast<double>(capacity));
    Gauge("ivmq_rings_unread_bytes", "Bytes in all rings that were not handled yet",
          static_cast<double>(bytes));
    Gauge("ivmq_rings_unread_messages", "Messages in all rings that were not handled yet",
          static_cast<double>(messages));
    Gauge("ivmq_fullest_ring_ratio", "Part of the fullest ring that is taken, 0 to 1", fullest);
  }

  void Peers() {
    std::map<std::string_view, std::size_t> states;
    for (const PeerState state : {PeerState::kClaiming, PeerState::kLive, PeerState::kDead}) {
      states[StateName(state)] = 0;
    }
    std::uint64_t kept = 0;
    for (const PeerInfo& peer : figures_.sample.peers) {
      ++states[StateName(peer.state)];
      kept += CounterOf(peer, layout::Counter::kKeptNow);
    }
    for (const auto& [state, count] : states) {
      Gauge("ivmq_peers", "Peers by state; dead: slots of which something is kept",
            static_cast<double>(count), {"state", std::string(state)});
    }
    Gauge("ivmq_kept_messages", "Messages that are kept beyond their handlers",
          static_cast<double>(kept));
    for (const auto& [counter, help] : kCounterHelp) {
      Counter(fmt::format("ivmq_{}_total", CounterName(counter)),
              fmt::format("{}, by all peers of the region", help),
              figures_.totals[static_cast<std::size_t>(counter)]);
    }
    std::set<std::string> named;
    for (const PeerInfo& peer : figures_.sample.peers) {
      if (peer.state != PeerState::kLive) continue;
      if (named.size() == kMostPeersWithMetrics) break;
      const std::string name = Harmless(peer.name);
      // Two of one name would make the whole text void.
      if (named.insert(name).second) OnePeer(peer, {"peer", name});
    }
  }

 private:
  void OnePeer(const PeerInfo& peer, const ClientMetric::Label& label) {
    for (const layout::Counter counter : kPeerCounters) {
      Counter(fmt::format("ivmq_peer_{}_total", CounterName(counter)),
              fmt::format("{} of a peer, since it came", CounterName(counter)),
              CounterOf(peer, counter), label);
    }
    std::uint64_t bytes = 0;
    double fullest = 0;
    for (const inspect::RingSample& ring : figures_.sample.rings) {
      if (ring.consumer != peer.id.slot) continue;
      bytes += ring.unread.bytes;
      fullest = std::max(fullest, ring.fill());
    }
    Gauge("ivmq_peer_unread_bytes", "Bytes in rings to a peer that it has not handled yet",
          static_cast<double>(bytes), label);
    Gauge("ivmq_peer_fullest_ring_ratio", "Part of the fullest ring to a peer that is taken",
          fullest, label);
  }

  void Gauge(std::string name, std::string help, double value) {
    families_.Gauge(std::move(name), std::move(help), {region_}, value);
  }
  void Gauge(std::string name, std::string help, double value, ClientMetric::Label label) {
    families_.Gauge(std::move(name), std::move(help), {region_, std::move(label)}, value);
  }
  void Counter(std::string name, std::string help, std::uint64_t value) {
    families_.Counter(std::move(name), std::move(help), {region_}, value);
  }
  void Counter(std::string name, std::string help, std::uint64_t value, ClientMetric::Label label) {
    families_.Counter(std::move(name), std::move(help), {region_, std::move(label)}, value);
  }

  const RegionFigures& figures_;
  Families& families_;
  ClientMetric::Label region_;
};

}  // namespace

void CounterTotals::Look(const inspect::RegionSample& sample) {
  std::map<std::uint32_t, Life> lives;
  for (const PeerInfo& peer : sample.peers) {
    Life life{.incarnation = peer.id.incarnation};
    std::copy_n(peer.counters.begin(), life.seen.size(), life.seen.begin());
    const auto before = lives_.find(peer.id.slot);
    const bool is_known = before != lives_.end() && before->second.incarnation == life.incarnation;
    for (std::size_t i = 0; i < totals_.size(); ++i) {
      const std::uint64_t counted = is_known ? before->second.seen[i] : 0;
      // One that goes back is no counter: it counts on from where it was.
      life.seen[i] = std::max(life.seen[i], counted);
      const std::uint64_t more = life.seen[i] - counted;
      totals_[i] += std::min(more, std::numeric_limits<std::uint64_t>::max() - totals_[i]);
    }
    lives.emplace(peer.id.slot, life);
  }
  lives_ = std::move(lives);
}

std::string MetricsText(const std::vector<RegionFigures>& regions, const ServerFigures& server) {
  Families families;
  families.Gauge("ivmqd_info", "The version of the server", {{"version", IVMQ_VERSION}}, 1);
  families.Counter("ivmqd_log_lines_dropped_total",
                   "Lines of the log dropped since its reader was too slow", {},
                   server.log_lines_dropped);
  families.Counter("ivmqd_takeovers_total", "Servers before this one whose clients it serves on",
                   {}, server.takeovers);
  for (const RegionFigures& figures : regions) {
    Writer writer(figures, &families);
    writer.Server();
    writer.Memory();
    writer.Rings();
    writer.Peers();
  }
  return families.Text();
}

RegionFigures RegionMetrics::Look() {
  if (std::chrono::steady_clock::now() - sample_.taken >= kFresh) {
    sample_ = inspect::Sample(server_.region());
    totals_.Look(sample_);
  }
  return {name_, size_, server_.state(), server_.Clients(), sample_, totals_.values()};
}

}  // namespace ivmq::server
