#include "src/fragmenter.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <utility>

#include "ivmq/internal/copy.h"
#include "ivmq/internal/crash_point.h"

#include "src/frame.h"
#include "src/ring_writer.h"
#include "src/send_call.h"
#include "src/wait_strategy.h"

namespace ivmq {
namespace {

// The largest record of a fragment: larger ones are no faster, and keep small messages waiting.
constexpr std::uint64_t kMostFragment = std::uint64_t{64} << 10;
constexpr std::uint64_t kFragmentOverhead = sizeof(layout::Frame) + sizeof(layout::FragmentHeader);

// What fragments carry pieces of: a frame with its type name and message, as one record would hold
// it.
class InnerFrame {
 public:
  InnerFrame(const MessageType& type, std::span<const std::byte> message)
      : head_size_(HeadBytes(type)), message_(message) {
    WriteHead(type, head_.data());
  }

  [[nodiscard]] std::uint64_t size() const noexcept { return head_size_ + message_.size(); }
  [[nodiscard]] std::uint64_t message_size() const noexcept { return message_.size(); }

  // Fills `out` with the bytes from `offset` on.
  void Copy(std::span<std::byte> out, std::uint64_t offset) const noexcept {
    if (offset < head_size_) {
      const std::uint64_t part = std::min<std::uint64_t>(out.size(), head_size_ - offset);
      std::memcpy(out.data(), head_.data() + offset, part);
      out = out.subspan(part);
      offset += part;
    }
    CopyBlock(out.data(), message_.data() + (offset - head_size_), out.size());
  }

 private:
  std::array<std::byte, sizeof(layout::Frame) + kMaxTypeName> head_;
  std::uint64_t head_size_;
  std::span<const std::byte> message_;
};

// `begun_before`: how many numbers before this one were the same message.
void WriteFragmentHead(std::span<std::byte> record, std::uint32_t number,
                       std::uint32_t begun_before, std::uint64_t total,
                       std::uint64_t offset) noexcept {
  const layout::Frame frame{
      .kind = layout::FrameKind::kFragment,
      .name_bytes = static_cast<std::uint16_t>(std::min(begun_before, 0xffffU)),
      .type = number};
  const layout::FragmentHeader fragment{.total = total, .offset = offset};
  std::memcpy(record.data(), &frame, sizeof(frame));
  std::memcpy(record.data() + sizeof(frame), &fragment, sizeof(fragment));
}

// What a message of `total` bytes takes in a ring at most, in records of `most` bytes, with the pad
// that may stand between two of them.
std::uint64_t BytesInRing(std::uint64_t total, std::uint64_t most) noexcept {
  const std::uint64_t piece = most - layout::kRecordHeader - kFragmentOverhead;
  const std::uint64_t fragments = (total + piece - 1) / piece;
  return total + fragments * layout::RecordSize(kFragmentOverhead + layout::kRecordAlign) + most;
}

}  // namespace

// How far a message is.
struct Fragmenter::Progress {
  explicit Progress(const InnerFrame& inner_in) : inner(inner_in), total(inner_in.size()) {}

  const InnerFrame& inner;
  std::uint64_t total;
  std::uint64_t offset = 0;
  std::uint64_t cell_word = 0;  // of the ring that it began in
  std::uint32_t number = 0;
  std::uint32_t begun = 0;         // how often
  std::uint64_t record_bytes = 0;  // of the fragment that had no room
};

class Fragmenter::Turn {
 public:
  explicit Turn(Fragmenter& fragmenter) noexcept : fragmenter_(fragmenter) {}
  ~Turn() { fragmenter_.EndTurn(); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  Fragmenter& fragmenter_;
};

SendResult Fragmenter::TakeTurn(SendCall& call) {
  WaitStrategy wait(*writer_.context().sleeper, call.limits());
  for (;;) {
    wait.BeginLook();
    {
      const std::lock_guard lock(writer_.ring_lock());
      if (!is_under_way_) {
        is_under_way_ = true;
        return SendResult::kOk;
      }
      if (!call.waits()) return call.Refuse();
      is_awaited_ = true;
    }
    // Whoever has it says when it ends.
    if (const SendResult result = ToSendResult(wait.Pause(kNet)); result != SendResult::kOk) {
      return result;
    }
  }
}

void Fragmenter::EndTurn() noexcept {
  bool awaited = false;
  {
    const std::lock_guard lock(writer_.ring_lock());
    is_under_way_ = false;
    awaited = std::exchange(is_awaited_, false);
  }
  if (awaited) writer_.context().sleeper->Notify();
}

SendResult Fragmenter::Send(SendCall& call, const MessageType& type,
                            std::span<const std::byte> message) {
  // Begun while another large message is under way it would only wait for that one.
  if (const SendResult result = TakeTurn(call); result != SendResult::kOk) return result;
  const Turn turn(*this);
  const InnerFrame inner(type, message);
  Progress progress(inner);
  while (progress.offset < progress.total) {
    if (call.limits().IsStopped()) return GiveUp(call, progress, SendResult::kStopped);
    SendResult result = SendNext(call, progress);
    if (result == SendResult::kFull) {
      const bool has_begun = progress.offset != 0 || progress.begun > 1;
      result = call.OnFull(progress.record_bytes, has_begun);
      // There is a smaller ring now, for which the fragment is cut anew.
      if (result == SendResult::kTooLarge) result = SendResult::kOk;
    }
    if (result != SendResult::kOk) return GiveUp(call, progress, result);
  }
  return SendResult::kOk;
}

void Fragmenter::Begin(Progress& progress) noexcept {
  if (++last_ == 0) ++last_;
  progress.number = last_;
  progress.offset = 0;
  progress.cell_word = writer_.cell_word();
  ++progress.begun;
  must_abandon_ = false;  // the receiver drops the last one when it sees a new one
}

SendResult Fragmenter::SendNext(SendCall& call, Progress& progress) {
  SendResult result = writer_.Lock(call.limits(), call.me());
  if (result != SendResult::kOk) return result;
  const std::lock_guard lock(writer_.ring_lock(), std::adopt_lock);
  result = writer_.EnsureOpen(call.to());
  if (result != SendResult::kOk) return result;
  const Producer& producer = writer_.producer();
  // Records of an eighth of the ring: the consumer takes one out while the next is written.
  const std::uint64_t eighth = (producer.max_payload() + layout::kRecordHeader) / 4;
  const std::uint64_t most = std::min(eighth, kMostFragment);
  if (progress.begun == 0 && call.never_waits() &&
      !writer_.HasRoomFor(BytesInRing(progress.total, most))) {
    return SendResult::kFull;
  }
  // At first, when the ring was given up midway, and when its receiver dropped what it had.
  if (progress.number == 0 || progress.cell_word != writer_.cell_word() ||
      producer.dropped_large() == progress.number) {
    if (progress.begun != 0 && call.limits().IsOver()) return SendResult::kTimedOut;
    Begin(progress);
  }
  const std::uint64_t piece =
      std::min(progress.total - progress.offset, most - layout::kRecordHeader - kFragmentOverhead);
  progress.record_bytes = kFragmentOverhead + piece;
  std::span<std::byte> record;
  result = writer_.ClaimRecord(call.to(), progress.record_bytes, &record, Hold::kLocked);
  if (progress.cell_word != writer_.cell_word() &&
      (result == SendResult::kOk || result == SendResult::kTooLarge)) {
    writer_.Abort();  // a new ring, perhaps a smaller one: begin again
    return SendResult::kOk;
  }
  if (result != SendResult::kOk) return result;
  WriteFragmentHead(record, progress.number, progress.begun - 1, progress.total, progress.offset);
  progress.inner.Copy(record.subspan(kFragmentOverhead), progress.offset);
  progress.offset += piece;
  writer_.Publish(0, 0);
  IVMQ_CRASH_POINT("fragment.sent");
  if (progress.offset < progress.total) return SendResult::kOk;
  // Its receiver may have dropped the first pieces, and the last one came too late to keep it from
  // that. With the fence here and in RingReader::DropAssembly() one of the two sees the other.
  FullFence();
  if (producer.dropped_large() == progress.number) {
    progress.offset = 0;
  } else {
    writer_.CountSent(1, progress.inner.message_size());
  }
  return SendResult::kOk;
}

SendResult Fragmenter::GiveUp(const SendCall& call, const Progress& progress, SendResult result) {
  if (progress.offset != 0) {
    const std::lock_guard lock(writer_.ring_lock());
    must_abandon_ =
        writer_.state() == WriterState::kLive && progress.cell_word == writer_.cell_word();
    if (writer_.ring_lock().IsFreeFor(call.me())) TryAbandon();
  }
  return result;
}

void Fragmenter::TryAbandon() {
  if (!must_abandon_ || writer_.state() != WriterState::kLive || !writer_.context().IsMyLife()) {
    return;
  }
  std::span<std::byte> record;
  if (!writer_.TryClaimHere(kFragmentOverhead, &record)) return;
  WriteFragmentHead(record, last_, 0, 0, 0);
  must_abandon_ = false;
  writer_.Publish(0, 0);
}

}  // namespace ivmq
