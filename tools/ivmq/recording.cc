#include "recording.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <span>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <google/protobuf/util/delimited_message_util.h>

#include "text.h"

namespace ivmq::tool {
namespace {

namespace pb = google::protobuf;
using std::chrono::nanoseconds;

Status FileError(const std::string& path, int error) {
  const StatusCode code = error == ENOENT   ? StatusCode::kNotFound
                          : error == EEXIST ? StatusCode::kAlreadyExists
                          : error == EACCES ? StatusCode::kPermissionDenied
                          : error == ENOSPC ? StatusCode::kResourceExhausted
                                            : StatusCode::kUnknown;
  return {code, fmt::format("{}: {}", path, std::generic_category().message(error))};
}

}  // namespace

Message MessageOf(const recording::Message& message) {
  Message result;
  result.kind = message.kind() == recording::Message::TYPED_BY_ID     ? FrameKind::kTypedById
                : message.kind() == recording::Message::TYPED_BY_NAME ? FrameKind::kTypedByName
                : message.kind() == recording::Message::RPC           ? FrameKind::kFirstRpc
                                                                      : FrameKind::kBytes;
  result.type = message.type();
  result.type_name = message.type_name();
  result.payload = std::as_bytes(std::span(message.payload()));
  return result;
}

void SetContent(FrameKind kind, std::uint32_t type, std::string_view type_name,
                std::string_view payload, recording::Message* message) {
  switch (kind) {
    case FrameKind::kBytes:
      message->set_kind(recording::Message::BYTES);
      break;
    case FrameKind::kTypedById:
      message->set_kind(recording::Message::TYPED_BY_ID);
      break;
    case FrameKind::kTypedByName:
      message->set_kind(recording::Message::TYPED_BY_NAME);
      message->set_type_name(RecordedText(type_name));
      break;
    default:
      message->set_kind(recording::Message::RPC);
      type = static_cast<std::uint32_t>(kind);
      break;
  }
  message->set_type(type);
  message->set_payload(payload.data(), payload.size());
}

std::string RecordedText(std::string_view text) {
  return IsText(text) ? std::string(text) : Printable(text);
}

// ---- Writing ----

RecordingWriter::RecordingWriter(std::string path, int fd)
    : path_(std::move(path)), file_(fd, 1 << 18), start_(Clock::now()) {
  file_.SetCloseOnDelete(true);
}

RecordingWriter::~RecordingWriter() = default;

Result<std::unique_ptr<RecordingWriter>> RecordingWriter::Create(const std::string& path,
                                                                 bool replace,
                                                                 const std::string& address,
                                                                 const Geometry& geometry,
                                                                 recording::Header header) {
  const int fd =
      open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | (replace ? O_TRUNC : O_EXCL), 0666);
  if (fd < 0) return FileError(path, errno);
  std::unique_ptr<RecordingWriter> writer(new RecordingWriter(path, fd));
  header.set_version(kRecordingVersion);
  header.set_written_by("ivmq " IVMQ_VERSION);
  header.set_address(RecordedText(address));
  header.set_region_id(geometry.region_id.data(), geometry.region_id.size());
  header.set_started_at(nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count());
  recording::Entry entry;
  *entry.mutable_header() = std::move(header);
  (void)writer->Append(entry);
  if (Status status = writer->Flush(); !status.ok()) return status;
  return writer;
}

std::int64_t RecordingWriter::Now() const { return nanoseconds(Clock::now() - start_).count(); }

Status RecordingWriter::Append(const recording::Entry& entry) {
  if (!status_.ok()) return status_;
  if (!pb::util::SerializeDelimitedToZeroCopyStream(entry, &file_)) {
    status_ = FileError(path_, file_.GetErrno() == 0 ? EIO : file_.GetErrno());
  }
  return status_;
}

Status RecordingWriter::Write(recording::Message&& message) {
  message.set_at(Now());
  end_.set_messages(end_.messages() + 1);
  payload_bytes_ += message.payload().size();
  recording::Entry entry;
  *entry.mutable_message() = std::move(message);
  return Append(entry);
}

Status RecordingWriter::WriteMissed(recording::Missed&& missed) {
  missed.set_at(Now());
  end_.set_missed_messages(end_.missed_messages() + missed.messages());
  end_.set_missed_bytes(end_.missed_bytes() + missed.bytes());
  recording::Entry entry;
  *entry.mutable_missed() = std::move(missed);
  return Append(entry);
}

Status RecordingWriter::Flush() {
  if (status_.ok() && !file_.Flush()) status_ = FileError(path_, file_.GetErrno());
  return status_;
}

Status RecordingWriter::Finish() {
  end_.set_at(Now());
  recording::Entry entry;
  *entry.mutable_end() = end_;
  (void)Append(entry);
  return Flush();
}

// ---- Reading ----

RecordingReader::RecordingReader(std::string path, int fd)
    : path_(std::move(path)), file_(fd, 1 << 18) {
  file_.SetCloseOnDelete(true);
}

RecordingReader::~RecordingReader() = default;

Result<std::unique_ptr<RecordingReader>> RecordingReader::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FileError(path, errno);
  std::unique_ptr<RecordingReader> reader(new RecordingReader(path, fd));
  recording::Entry entry;
  bool at_end = false;
  if (!pb::util::ParseDelimitedFromZeroCopyStream(&entry, &reader->file_, &at_end) ||
      !entry.has_header()) {
    return Status(
        StatusCode::kDataLoss,
        path + ": this is no recording of `ivmq record`: it does not begin with a header");
  }
  reader->header_ = std::move(*entry.mutable_header());
  if (reader->header_.version() != kRecordingVersion) {
    return Status(
        StatusCode::kFailedPrecondition,
        fmt::format("{}: the recording has version {}, and this program knows {}; replay it with "
                    "the release that wrote it, '{}'",
                    path, reader->header_.version(), kRecordingVersion,
                    Printable(reader->header_.written_by())));
  }
  return reader;
}

Result<const recording::Entry*> RecordingReader::Next() {
  for (;;) {
    const std::int64_t at = file_.ByteCount();
    entry_.Clear();
    bool at_end = false;
    if (!pb::util::ParseDelimitedFromZeroCopyStream(&entry_, &file_, &at_end)) {
      if (at_end) return nullptr;
      return Status(StatusCode::kDataLoss,
                    fmt::format("{}: damaged, or cut off, at byte {}", path_, at));
    }
    if (entry_.has_message() || entry_.has_missed()) return &entry_;
    if (entry_.has_end()) {
      is_complete_ = true;
      return nullptr;
    }
    // What a later release has added.
  }
}

}  // namespace ivmq::tool
