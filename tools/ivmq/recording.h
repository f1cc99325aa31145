// Recordings: files of messages with their times. docs/recording.md describes them.
#ifndef IVMQ_TOOLS_IVMQ_RECORDING_H_
#define IVMQ_TOOLS_IVMQ_RECORDING_H_

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include <google/protobuf/io/zero_copy_stream_impl.h>

#include "ivmq/internal/region.h"
#include "ivmq/message.h"
#include "ivmq/status.h"

#include "recording.pb.h"

namespace ivmq::tool {

inline constexpr std::uint32_t kRecordingVersion = 1;

// A message of a recording: its kind, type, type name and payload. Refers to `message`.
[[nodiscard]] Message MessageOf(const recording::Message& message);
// Whether a node can send it.
[[nodiscard]] inline bool IsSendable(const recording::Message& message) {
  return message.kind() != recording::Message::RPC;
}
// The other way round.
void SetContent(FrameKind kind, std::uint32_t type, std::string_view type_name,
                std::string_view payload, recording::Message* message);

// Well-formed UTF-8, as it must be in a recording: what is not harmless text is escaped.
[[nodiscard]] std::string RecordedText(std::string_view text);

// Writes a recording. Thread-compatible.
class RecordingWriter {
 public:
  using Clock = std::chrono::steady_clock;

  // Creates the file and writes the header, whose other fields the caller has set. ALREADY_EXISTS:
  // there is one, and !replace; other errors as the system has them.
  static Result<std::unique_ptr<RecordingWriter>> Create(const std::string& path, bool replace,
                                                         const std::string& address,
                                                         const Geometry& geometry,
                                                         recording::Header header);
  ~RecordingWriter();
  RecordingWriter(const RecordingWriter&) = delete;
  RecordingWriter& operator=(const RecordingWriter&) = delete;

  // Sets the time, and writes it. The first error of all functions is that of Finish(), too.
  Status Write(recording::Message&& message);
  Status WriteMissed(recording::Missed&& missed);
  // Writes the end.
  Status Finish();
  // Has the system take what was written so far.
  Status Flush();

  [[nodiscard]] std::uint64_t messages() const noexcept { return end_.messages(); }
  [[nodiscard]] std::uint64_t missed_messages() const noexcept { return end_.missed_messages(); }
  [[nodiscard]] std::uint64_t missed_bytes() const noexcept { return end_.missed_bytes(); }
  [[nodiscard]] std::uint64_t payload_bytes() const noexcept { return payload_bytes_; }

 private:
  RecordingWriter(std::string path, int fd);
  Status Append(const recording::Entry& entry);
  [[nodiscard]] std::int64_t Now() const;

  std::string path_;
  google::protobuf::io::FileOutputStream file_;
  Clock::time_point start_;
  recording::End end_;
  std::uint64_t payload_bytes_ = 0;
  Status status_;
};

// Reads a recording. Thread-compatible.
class RecordingReader {
 public:
  // Opens the file and reads the header. NOT_FOUND; FAILED_PRECONDITION: another version;
  // DATA_LOSS: not a recording.
  static Result<std::unique_ptr<RecordingReader>> Open(const std::string& path);
  ~RecordingReader();
  RecordingReader(const RecordingReader&) = delete;
  RecordingReader& operator=(const RecordingReader&) = delete;

  [[nodiscard]] const recording::Header& header() const noexcept { return header_; }
  // The next message or gap, until the next call; nullptr at the end. DATA_LOSS: what follows is no
  // entry; what came before it is good.
  Result<const recording::Entry*> Next();
  // At the end: whether the recording was finished, rather than cut off.
  [[nodiscard]] bool is_complete() const noexcept { return is_complete_; }

 private:
  RecordingReader(std::string path, int fd);

  std::string path_;
  google::protobuf::io::FileInputStream file_;
  recording::Header header_;
  recording::Entry entry_;
  bool is_complete_ = false;
};

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_RECORDING_H_
