// The topics of a region, as commands show them.
#ifndef IVMQ_TOOLS_IVMQ_TOPICS_H_
#define IVMQ_TOOLS_IVMQ_TOPICS_H_

#include <string>
#include <string_view>
#include <vector>

#include "ivmq/peer.h"

#include "output.h"

namespace ivmq::tool {

// "drop oldest" and so on.
std::string_view WhenSlowText(WhenSlow when_slow);

// Adds "topics", what the peer publishes, and "subscriptions".
void AddTopicsOf(const PeerInfo& peer, Json* json);

// The names of the topics of that pattern that peers publish, sorted, each once. REQUIRES: it is a
// pattern.
std::vector<std::string> PublishedTopics(const std::vector<PeerInfo>& peers,
                                         std::string_view pattern);

// Prints all topics with who publishes them and who subscribes to them. Returns the exit status.
int ListTopics(const std::string& address, bool json);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_TOPICS_H_
