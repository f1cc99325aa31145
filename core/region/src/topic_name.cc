#include "ivmq/internal/topic_name.h"

#include <charconv>
#include <system_error>

#include "ivmq/internal/str_cat.h"

#include "src/utf8.h"

namespace ivmq {
namespace {

constexpr std::string_view kOneLevel = "*";
constexpr std::string_view kAllLevels = "**";

// Takes what stands before the next `separator` off `text`, and the separator.
std::string_view TakeUntil(char separator, std::string_view& text) noexcept {
  const std::size_t end = text.find(separator);
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return part;
}

Status Invalid(std::string_view what, std::string_view name, std::string_view why) {
  return {StatusCode::kInvalidArgument, StrCat(what, " '", name, "' ", why)};
}

Status Check(std::string_view what, std::string_view name, bool is_pattern) {
  if (name.empty() || name.size() > kMaxTopicName) {
    return {StatusCode::kInvalidArgument,
            StrCat(what, " has 1 to ", kMaxTopicName, " bytes; this one has ", name.size())};
  }
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte == 0x7f) {
      return Invalid(what, name, "must not contain blanks or control characters");
    }
  }
  if (!IsUtf8(name)) return Invalid(what, name, "must be UTF-8");
  if (name.ends_with('/')) return Invalid(what, name, "ends with '/'");
  for (std::string_view rest = name; !rest.empty();) {
    const std::string_view level = TakeUntil('/', rest);
    if (level.empty()) return Invalid(what, name, "has an empty level");
    if (level.find('*') == std::string_view::npos) continue;
    if (!is_pattern) return Invalid(what, name, "must not contain '*': only subscriptions may");
    if (level == kOneLevel || (level == kAllLevels && rest.empty())) continue;
    return Invalid(what, name,
                   level == kAllLevels ? "has '**' before its last level"
                                       : "has a level with '*' and more; '*' stands for a level");
  }
  return {};
}

// Takes the number before the next blank off `text`.
std::optional<std::uint32_t> TakeNumber(std::string_view& text) noexcept {
  const std::string_view digits = TakeUntil(' ', text);
  const char* const end = digits.data() + digits.size();
  std::uint32_t value = 0;
  const auto [at, error] = std::from_chars(digits.data(), end, value);
  if (error != std::errc() || at != end) return std::nullopt;
  return value;
}

constexpr std::string_view kPolicies = "onw";  // by WhenSlow

}  // namespace

Status CheckTopicName(std::string_view name) { return Check("a topic's name", name, false); }

Status CheckTopicPattern(std::string_view pattern) {
  return Check("a subscription's pattern", pattern, true);
}

bool TopicMatches(std::string_view pattern, std::string_view name) noexcept {
  while (!pattern.empty()) {
    const std::string_view expected = TakeUntil('/', pattern);
    if (expected == kAllLevels) return true;
    if (name.empty()) return false;
    const std::string_view level = TakeUntil('/', name);
    if (expected != kOneLevel && expected != level) return false;
  }
  return name.empty();
}

std::string TopicText(const PeerTopic& topic) {
  if (!topic.is_subscription) return StrCat("p ", topic.id, ' ', topic.history, ' ', topic.name);
  return StrCat("s ", topic.id, ' ', kPolicies[static_cast<std::size_t>(topic.when_slow)], ' ',
                topic.depth, ' ', topic.history, ' ', topic.name);
}

std::optional<PeerTopic> ParseTopicText(std::string_view text) {
  const std::string_view kind = TakeUntil(' ', text);
  if (kind != "p" && kind != "s") return std::nullopt;
  PeerTopic topic;
  topic.is_subscription = kind == "s";
  const std::optional<std::uint32_t> id = TakeNumber(text);
  if (!id) return std::nullopt;
  topic.id = *id;
  if (topic.is_subscription) {
    const std::string_view policy = TakeUntil(' ', text);
    const std::size_t index = policy.size() == 1 ? kPolicies.find(policy) : std::string_view::npos;
    const std::optional<std::uint32_t> depth = TakeNumber(text);
    if (index == std::string_view::npos || !depth || *depth == 0 || *depth > kMaxTopicDepth) {
      return std::nullopt;
    }
    topic.when_slow = static_cast<WhenSlow>(index);
    topic.depth = *depth;
  }
  const std::optional<std::uint32_t> history = TakeNumber(text);
  if (!history || *history > kMaxTopicDepth) return std::nullopt;
  topic.history = *history;
  const Status name = topic.is_subscription ? CheckTopicPattern(text) : CheckTopicName(text);
  if (!name.ok()) return std::nullopt;
  topic.name = text;
  return topic;
}

}  // namespace ivmq
