// What the server logs: lines to standard error, as text or as JSON.
#ifndef IVMQ_TOOLS_IVMQD_LOG_H_
#define IVMQ_TOOLS_IVMQD_LOG_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "region_server.h"

namespace ivmq::server {

enum class LogFormat : std::uint8_t {
  // 2026-01-31T12:00:00.250+01:00 ivmqd[812] info: [tenant] id 1 to pid 900 (qemu-system-x86), ...
  kText,
  // {"time":"2026-01-31T12:00:00.250+01:00","level":"info","pid":812,"region":"tenant",
  //  "message":"id 1 to pid 900 ..."} in one line of ASCII
  kJson,
};

class LogSink;

// Thread-compatible. Never blocks: while the reader of the log does not read, lines are dropped and
// counted. A line never exceeds PIPE_BUF bytes: what is too long is cut, and JSON stays well-formed.
class Log {
 public:
  using Writer = std::function<void(LogLevel, std::string_view)>;

  // `fd` stays the caller's.
  Log(int fd, LogLevel level, LogFormat format);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  void SetLevel(LogLevel level) noexcept { level_ = level; }
  void SetFormat(LogFormat format);

  // Writes lines about a region; an empty name: about the server as a whole, or its only region.
  // The writer must not outlive this object.
  Writer WriterFor(std::string region);

  // Lines that were dropped so far.
  [[nodiscard]] std::uint64_t dropped() const noexcept;

 private:
  LogLevel level_;
  std::shared_ptr<LogSink> sink_;
};

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_LOG_H_
