#include "topics.h"

#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "ivmq/internal/peer_table.h"
#include "ivmq/internal/topic_name.h"

#include "exit_code.h"
#include "opened_region.h"
#include "table.h"
#include "text.h"

namespace ivmq::tool {
namespace {

// A peer that publishes or subscribes.
struct Party {
  const PeerInfo* peer;
  const PeerTopic* topic;
};

struct ListedTopic {
  std::vector<Party> publishers;
  std::vector<Party> subscribers;
};

// By name. A subscription that no published topic fits stands under its pattern.
using ListedTopics = std::map<std::string, ListedTopic>;

template <typename Use>
void ForEachParty(const std::vector<PeerInfo>& peers, bool subscribes, Use use) {
  for (const PeerInfo& peer : peers) {
    for (const PeerTopic& topic : peer.topics) {
      if (topic.is_subscription == subscribes) use(Party{&peer, &topic});
    }
  }
}

ListedTopics Collect(const std::vector<PeerInfo>& peers) {
  ListedTopics published;
  ForEachParty(peers, /*subscribes=*/false, [&](const Party& party) {
    published[party.topic->name].publishers.push_back(party);
  });
  ListedTopics unpublished;
  ForEachParty(peers, /*subscribes=*/true, [&](const Party& party) {
    bool fits = false;
    for (auto& [name, topic] : published) {
      if (!TopicMatches(party.topic->name, name)) continue;
      topic.subscribers.push_back(party);
      fits = true;
    }
    if (!fits) unpublished[party.topic->name].subscribers.push_back(party);
  });
  published.merge(unpublished);
  return published;
}

Json PublisherJson(const PeerTopic& topic) { return {{"history", topic.history}}; }

Json SubscriberJson(const PeerTopic& topic) {
  return {{"pattern", topic.name},
          {"when_slow", WhenSlowText(topic.when_slow)},
          {"depth", topic.depth},
          {"history", topic.history}};
}

Json ListJson(const ListedTopics& topics) {
  Json list = Json::array();
  for (const auto& [name, topic] : topics) {
    Json entry{{"topic", name}, {"publishers", Json::array()}, {"subscribers", Json::array()}};
    for (const Party& party : topic.publishers) {
      Json publisher{{"peer", party.peer->name}, {"role", "publisher"}};
      publisher.update(PublisherJson(*party.topic));
      entry["publishers"].push_back(std::move(publisher));
    }
    for (const Party& party : topic.subscribers) {
      Json subscriber{{"peer", party.peer->name}, {"role", "subscriber"}};
      subscriber.update(SubscriberJson(*party.topic));
      entry["subscribers"].push_back(std::move(subscriber));
    }
    list.push_back(std::move(entry));
  }
  return list;
}

// How many of the last messages a new subscriber gets.
std::string HistoryText(std::uint32_t history) {
  return history == kMaxTopicDepth ? "all" : fmt::to_string(history);
}

std::string ListText(const ListedTopics& topics) {
  constexpr auto kRight = Table::Align::kRight;
  Table lines({{"TOPIC"},
               {"PEER"},
               {"ROLE"},
               {"HISTORY", kRight, 3},
               {"DEPTH", kRight, 2},
               {"WHEN SLOW"},
               {"PATTERN", Table::Align::kLeft, 1}});
  for (const auto& [name, topic] : topics) {
    for (const Party& party : topic.publishers) {
      lines.AddRow({PrintableName(name), PrintableName(party.peer->name), "publisher",
                    fmt::to_string(party.topic->history), "-", "-", "-"});
    }
    for (const Party& party : topic.subscribers) {
      lines.AddRow(
          {topic.publishers.empty() ? "-" : PrintableName(name), PrintableName(party.peer->name),
           "subscriber", HistoryText(party.topic->history), fmt::to_string(party.topic->depth),
           std::string(WhenSlowText(party.topic->when_slow)), PrintableName(party.topic->name)});
    }
  }
  return lines.Render();
}

}  // namespace

std::string_view WhenSlowText(WhenSlow when_slow) {
  switch (when_slow) {
    case WhenSlow::kDropOldest:
      return "drop oldest";
    case WhenSlow::kDropNewest:
      return "drop newest";
    case WhenSlow::kWait:
      return "wait";
  }
  return "unknown";
}

void AddTopicsOf(const PeerInfo& peer, Json* json) {
  (*json)["topics"] = Json::array();
  (*json)["subscriptions"] = Json::array();
  for (const PeerTopic& topic : peer.topics) {
    if (topic.is_subscription) {
      (*json)["subscriptions"].push_back(SubscriberJson(topic));
    } else {
      Json published{{"topic", topic.name}};
      published.update(PublisherJson(topic));
      (*json)["topics"].push_back(std::move(published));
    }
  }
}

std::vector<std::string> PublishedTopics(const std::vector<PeerInfo>& peers,
                                         std::string_view pattern) {
  std::set<std::string> names;
  ForEachParty(peers, /*subscribes=*/false, [&](const Party& party) {
    if (TopicMatches(pattern, party.topic->name)) names.insert(party.topic->name);
  });
  return {names.begin(), names.end()};
}

int ListTopics(const std::string& address, bool json) {
  const auto opened = OpenFormatted(address);
  if (!opened.ok()) return Fail(opened.status());
  const std::vector<PeerInfo> peers = PeerTable(opened->region).Snapshot().peers;
  const ListedTopics topics = Collect(peers);
  if (json) {
    Print(JsonText({{"address", opened->memory.address}, {"topics", ListJson(topics)}}));
  } else if (topics.empty()) {
    Complain("no topics at " + opened->memory.address);
  } else {
    Print(ListText(topics));
  }
  return kExitOk;
}

}  // namespace ivmq::tool
