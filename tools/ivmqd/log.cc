#include "log.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstddef>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>

namespace ivmq::server {
namespace {

constexpr const char* kTime = "%Y-%m-%dT%H:%M:%S.%e%z";  // RFC 3339

spdlog::level::level_enum SpdlogLevel(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      break;
  }
  return spdlog::level::err;
}

std::string_view View(spdlog::string_view_t text) { return {text.data(), text.size()}; }

void Append(std::string_view text, spdlog::memory_buf_t* line) {
  line->append(text.data(), text.data() + text.size());
}

// One line, whatever the message holds, and no longer than a pipe takes as a whole.
class TextFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& line) override {
    head_.format(message, line);
    if (message.logger_name.size() != 0) {
      Append(fmt::format("[{}] ", View(message.logger_name)), &line);
    }
    Append(View(message.payload), &line);
    std::replace_if(
        line.begin(), line.end(), [](char c) { return (c >= '\0' && c < ' ') || c == '\x7f'; },
        '?');
    if (line.size() >= PIPE_BUF) line.resize(PIPE_BUF - 1);
    line.push_back('\n');
  }
  [[nodiscard]] std::unique_ptr<formatter> clone() const override {
    return std::make_unique<TextFormatter>();
  }

 private:
  spdlog::pattern_formatter head_{fmt::format("{} ivmqd[%P] %l: ", kTime),
                                  spdlog::pattern_time_type::local, ""};
};

class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& line) override {
    spdlog::memory_buf_t time;
    time_.format(message, time);
    nlohmann::ordered_json json;
    json["time"] = std::string(time.data(), time.size());
    json["level"] = std::string(View(spdlog::level::to_string_view(message.level)));
    json["pid"] = getpid();
    if (message.logger_name.size() != 0) json["region"] = std::string(View(message.logger_name));
    std::string_view text = View(message.payload).substr(0, PIPE_BUF);
    std::string written = Write(text, &json);
    for (; written.size() >= PIPE_BUF; written = Write(text, &json)) {
      text.remove_suffix(text.size() / 4 + 1);
    }
    Append(written, &line);
    line.push_back('\n');
  }
  [[nodiscard]] std::unique_ptr<formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }

 private:
  static std::string Write(std::string_view text, nlohmann::ordered_json* json) {
    (*json)["message"] = std::string(text);
    return json->dump(/*indent=*/-1, ' ', /*ensure_ascii=*/true,
                      nlohmann::ordered_json::error_handler_t::replace);
  }

  spdlog::pattern_formatter time_{kTime, spdlog::pattern_time_type::local, ""};
};

std::unique_ptr<spdlog::formatter> MakeFormatter(LogFormat format) {
  if (format == LogFormat::kJson) return std::make_unique<JsonFormatter>();
  return std::make_unique<TextFormatter>();
}

}  // namespace

class LogSink final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 public:
  explicit LogSink(int fd) : fd_(fd) {}

  [[nodiscard]] std::uint64_t dropped() const noexcept { return dropped_; }

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    if (!IsWritable()) {
      ++dropped_;
      return;
    }
    if (const std::uint64_t missing = dropped_ - reported_; missing != 0) {
      const std::string text =
          fmt::format("{} lines of this log were dropped, since its reader was too slow", missing);
      Write(spdlog::details::log_msg("", spdlog::level::warn, text));
      reported_ = dropped_;
      // The line may have taken the space that there was.
      if (!IsWritable()) {
        ++dropped_;
        return;
      }
    }
    Write(message);
  }
  void flush_() override {}

  // A pipe that is writable takes PIPE_BUF bytes without blocking.
  [[nodiscard]] bool IsWritable() const {
    pollfd writable{fd_, POLLOUT, 0};
    return poll(&writable, 1, 0) == 1;
  }
  void Write(const spdlog::details::log_msg& message) {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    // Nobody is left to be told of a failure.
    (void)!write(fd_, line.data(), line.size());
  }

  int fd_;
  std::uint64_t dropped_ = 0;
  std::uint64_t reported_ = 0;
};

Log::Log(int fd, LogLevel level, LogFormat format)
    : level_(level), sink_(std::make_shared<LogSink>(fd)) {
  SetFormat(format);
}

Log::~Log() = default;

void Log::SetFormat(LogFormat format) { sink_->set_formatter(MakeFormatter(format)); }

Log::Writer Log::WriterFor(std::string region) {
  auto logger = std::make_shared<spdlog::logger>(std::move(region), sink_);
  logger->set_level(spdlog::level::trace);
  return [this, logger](LogLevel level, std::string_view line) {
    if (level < level_) return;
    logger->log(SpdlogLevel(level), "{}", line);
  };
}

std::uint64_t Log::dropped() const noexcept { return sink_->dropped(); }

}  // namespace ivmq::server
