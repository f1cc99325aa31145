// ivmq topic hz and bw: how often, and how many bytes, topics come.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "command.h"
#include "output.h"
#include "subscriber.h"
#include "text.h"
#include "topic_commands.h"

namespace ivmq::tool {
namespace {

using std::chrono::nanoseconds;
using Clock = std::chrono::steady_clock;

constexpr const char* kHzFooter =
    R"(Prints, once a second and at the end, how many messages of each topic come in a
second, and the shortest and the longest time between two of them. "ready" on standard
error means that publishers find the subscription. It delays no publisher: what comes
too fast for it is missed.

Example:
  ivmq topic hz shm:/demo 'camera/*'
  ivmq topic hz shm:/demo camera/front -n 600 --json)";

constexpr const char* kBwFooter =
    R"(Prints, once a second and at the end, how many bytes of each topic come in a second,
and the smallest and the largest message. "ready" on standard error means that
publishers find the subscription. It delays no publisher: what comes too fast for it
is missed.

Example:
  ivmq topic bw shm:/demo 'camera/*'
  ivmq topic bw shm:/demo camera/front -n 600 --json)";

struct RateFlags {
  SubscriberFlags subscriber;
  std::size_t window = 1000;
  std::optional<nanoseconds> interval;
};

struct Summary {
  double min = 0;
  double max = 0;
  double mean = 0;
  double deviation = 0;
};

Summary Summarize(const std::vector<double>& values) {
  Summary summary;
  if (values.empty()) return summary;
  const auto count = static_cast<double>(values.size());
  summary.min = *std::min_element(values.begin(), values.end());
  summary.max = *std::max_element(values.begin(), values.end());
  for (const double value : values) summary.mean += value / count;
  double squares = 0;
  for (const double value : values) squares += (value - summary.mean) * (value - summary.mean);
  summary.deviation = std::sqrt(squares / count);
  return summary;
}

// The last messages of a topic.
class Window {
 public:
  void Add(const TopicMessage& message, std::size_t most) {
    if (arrivals_.size() == most) arrivals_.pop_front();
    arrivals_.push_back({Clock::now(), message.message.payload.size()});
    ++received_;
    missed_ += message.missed;
    is_new_ = true;
  }

  [[nodiscard]] std::size_t size() const noexcept { return arrivals_.size(); }
  [[nodiscard]] std::uint64_t received() const noexcept { return received_; }
  [[nodiscard]] std::uint64_t missed() const noexcept { return missed_; }
  // Whether one has come since the last call.
  bool TakeNew() noexcept { return std::exchange(is_new_, false); }

  // Of the nanoseconds between two messages.
  [[nodiscard]] Summary Intervals() const {
    std::vector<double> intervals;
    for (std::size_t i = 1; i < arrivals_.size(); ++i) {
      intervals.push_back(
          static_cast<double>(nanoseconds(arrivals_[i].at - arrivals_[i - 1].at).count()));
    }
    return Summarize(intervals);
  }
  [[nodiscard]] Summary Sizes() const {
    std::vector<double> sizes;
    for (const Arrival& arrival : arrivals_) sizes.push_back(static_cast<double>(arrival.bytes));
    return Summarize(sizes);
  }
  // What came after the first one, by the time that it took. 0 if that is unknown.
  [[nodiscard]] double MessagesPerSecond() const {
    return PerSecond(static_cast<double>(arrivals_.size() - 1));
  }
  [[nodiscard]] double BytesPerSecond() const {
    double bytes = -static_cast<double>(arrivals_.front().bytes);
    for (const Arrival& arrival : arrivals_) bytes += static_cast<double>(arrival.bytes);
    return PerSecond(bytes);
  }

 private:
  struct Arrival {
    Clock::time_point at;
    std::uint64_t bytes;
  };

  [[nodiscard]] double PerSecond(double amount) const {
    const std::chrono::duration<double> took = arrivals_.back().at - arrivals_.front().at;
    return took.count() > 0 ? amount / took.count() : 0;
  }

  std::deque<Arrival> arrivals_;
  std::uint64_t received_ = 0;
  std::uint64_t missed_ = 0;
  bool is_new_ = false;
};

std::string NanosecondsText(double value) { return DurationText(nanoseconds(std::llround(value))); }
std::string BytesText(double value) {
  return SizeText(static_cast<std::uint64_t>(std::llround(value)));
}

// What hz and bw say about a window.
struct Measure {
  std::string (*text)(const Window& window);
  Json (*json)(const Window& window);
};

std::string HzText(const Window& window) {
  const Summary intervals = window.Intervals();
  return fmt::format("{:.4g} Hz  every {} to {}, std dev {}", window.MessagesPerSecond(),
                     NanosecondsText(intervals.min), NanosecondsText(intervals.max),
                     NanosecondsText(intervals.deviation));
}
Json HzJson(const Window& window) {
  const Summary intervals = window.Intervals();
  return {{"messages_per_second", window.MessagesPerSecond()},
          {"interval_min_ns", intervals.min},
          {"interval_mean_ns", intervals.mean},
          {"interval_max_ns", intervals.max},
          {"interval_std_dev_ns", intervals.deviation}};
}

std::string BwText(const Window& window) {
  const Summary sizes = window.Sizes();
  return fmt::format("{}/s  messages of {} to {}, mean {}", BytesText(window.BytesPerSecond()),
                     BytesText(sizes.min), BytesText(sizes.max), BytesText(sizes.mean));
}
Json BwJson(const Window& window) {
  const Summary sizes = window.Sizes();
  return {{"bytes_per_second", window.BytesPerSecond()},
          {"size_min", sizes.min},
          {"size_mean", sizes.mean},
          {"size_max", sizes.max}};
}

class Meter {
 public:
  Meter(const Measure& measure, const RateFlags& flags) : measure_(measure), flags_(flags) {}

  void Take(const TopicMessage& message) {
    windows_[std::string(message.topic)].Add(message, flags_.window);
  }

  // Prints the topics of which messages have come since the last time, or all.
  void Report(bool all) {
    for (auto& [topic, window] : windows_) {
      if (!window.TakeNew() && !all) continue;
      Print(flags_.subscriber.json ? JsonLine(topic, window) : TextLine(topic, window));
    }
  }

 private:
  [[nodiscard]] std::string TextLine(const std::string& topic, const Window& window) const {
    return fmt::format("{}  {}  ({} messages, {} missed)\n", PrintableName(topic),
                       window.size() < 2 ? "one message" : measure_.text(window), window.received(),
                       window.missed());
  }
  [[nodiscard]] std::string JsonLine(const std::string& topic, const Window& window) const {
    Json json{{"topic", topic}};
    json.update(measure_.json(window));
    json["window"] = window.size();
    json["received"] = window.received();
    json["missed"] = window.missed();
    return JsonText(json, JsonStyle::kOneLine);
  }

  const Measure measure_;
  const RateFlags& flags_;
  std::map<std::string, Window> windows_;
};

int RunRates(const Measure& measure, const RateFlags& flags, const std::string& address,
             const std::string& pattern) {
  if (flags.window < 2) WrongUsage("--window: 2 or more messages");
  Meter meter(measure, flags);
  const int exit_code = RunSubscriber(
      address,
      {.pattern = pattern,
       // The publisher keeps nothing for it.
       .options = {.when_slow = WhenSlow::kDropNewest, .depth = kMaxTopicDepth, .history = 0},
       .take = [&](const Node& /*node*/, const TopicMessage& message) { meter.Take(message); },
       .interval = flags.interval.value_or(std::chrono::seconds(1)),
       .at_interval = [&] { meter.Report(/*all=*/false); }},
      flags.subscriber);
  meter.Report(/*all=*/true);
  return exit_code;
}

void AddRates(CLI::App& topic, int* exit_code, const CommandText& text, const Measure& measure) {
  const auto flags = std::make_shared<RateFlags>();
  CLI::App* const command = AddCommand(
      topic, exit_code, text,
      [flags, measure](const std::string& address, const std::vector<std::string>& words) {
        return RunRates(measure, *flags, address, words[0]);
      });
  AddSubscriberFlags(command, &flags->subscriber);
  command->add_option("--window", flags->window, "How many of the last messages are counted (1000)")
      ->type_name("N");
  AddDuration(command, "--interval", &flags->interval, "How often it prints (1s)");
}

}  // namespace

void AddTopicHz(CLI::App& topic, int* exit_code) {
  AddRates(topic, exit_code,
           {.name = "hz",
            .summary = "Measure how often messages of topics come",
            .words = "PATTERN",
            .min_words = 1,
            .max_words = 1,
            .footer = kHzFooter},
           {.text = HzText, .json = HzJson});
}

void AddTopicBw(CLI::App& topic, int* exit_code) {
  AddRates(topic, exit_code,
           {.name = "bw",
            .summary = "Measure how many bytes of topics come",
            .words = "PATTERN",
            .min_words = 1,
            .max_words = 1,
            .footer = kBwFooter},
           {.text = BwText, .json = BwJson});
}

}  // namespace ivmq::tool
