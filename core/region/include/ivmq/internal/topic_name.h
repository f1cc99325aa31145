// The names of topics, the patterns of subscriptions, and how both stand in a peer's slot.
#ifndef IVMQ_INTERNAL_TOPIC_NAME_H_
#define IVMQ_INTERNAL_TOPIC_NAME_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "ivmq/peer.h"
#include "ivmq/status.h"

namespace ivmq {

inline constexpr std::size_t kMaxTopicName = 63;
// What a name of so many bytes takes in a kTopic frame, with the NULs after it.
[[nodiscard]] constexpr std::size_t PaddedTopicName(std::size_t bytes) noexcept {
  return (bytes + 7) / 8 * 8;
}

// A name is one or more levels with '/' between them: 1..63 bytes of UTF-8 without blanks, control
// characters and '*'. INVALID_ARGUMENT says what is wrong.
Status CheckTopicName(std::string_view name);

// A pattern is a name in which a level may be "*", and the last one "**".
Status CheckTopicPattern(std::string_view pattern);

// Whether the topic's name is one of the pattern: "*" is any one level, "**" any number of further
// ones, also none. REQUIRES: both are checked. Does not allocate.
[[nodiscard]] bool TopicMatches(std::string_view pattern, std::string_view name) noexcept;

// One entry of a slot's text:
//   p <id> <history> <name>                               a topic that the peer publishes
//   s <id> <policy> <depth> <history> <pattern>           a subscription; policy: o, n or w
// Numbers are decimal.
[[nodiscard]] std::string TopicText(const PeerTopic& topic);
// nullopt: no correct peer writes that.
[[nodiscard]] std::optional<PeerTopic> ParseTopicText(std::string_view text);

}  // namespace ivmq

#endif  // IVMQ_INTERNAL_TOPIC_NAME_H_
