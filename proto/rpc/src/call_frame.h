// The frames of RPC, as docs/rpc-format.md describes them byte by byte.
//
// A frame is a node's message of one of the kinds below; Frame::type is the lower half of the
// call's id, which its client chose. Its payload is a CallHeader, the metadata, and the serialized
// protobuf message.
#ifndef IVMQ_RPC_CALL_FRAME_H_
#define IVMQ_RPC_CALL_FRAME_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "ivmq/internal/layout.h"
#include "ivmq/rpc/internal/status_names.h"

namespace ivmq::rpc::internal {

// From the client: 16..23. From the server: 24..31.
enum class CallFrameKind : std::uint8_t {
  kRequest = 16,        // begins a call; with the message, if the client sends exactly one
  kClientMessage = 17,  // one of a client's stream
  kCancel = 18,         // the client does not want the answer any more
  kHalfClose = 19,      // the end of a client's stream
  kClientCredit = 20,   // how far the server may send
  kEnd = 24,  // ends a call: its status and, if the server sends exactly one, the response
  kServerMessage = 25,  // one of a server's stream
  kServerInitial = 26,  // initial metadata that goes before the first message
  kServerCredit = 27,   // how far the client may send
};

constexpr layout::FrameKind ToFrameKind(CallFrameKind kind) noexcept {
  return static_cast<layout::FrameKind>(kind);
}

struct CallHeader {
  std::uint32_t sender = 0;          //  0  incarnation of who sends the frame
  std::uint32_t receiver = 0;        //  4  incarnation that it is meant for: others discard it
  std::uint32_t call_high = 0;       //  8  upper half of the call's id
  std::uint32_t metadata_bytes = 0;  // 12  between the header and the message
  std::uint64_t method = 0;          // 16  kRequest: MethodId of its path; else 0
  // 24  kRequest: ns until the deadline, 0: none; kEnd: the status; credits: bytes of the stream,
  // since its start, that may be sent
  std::uint64_t argument = 0;
};
static_assert(sizeof(CallHeader) == 32 && std::is_trivially_copyable_v<CallHeader>);

// The status that a kEnd frame's argument stands for, and the one that is sent: what
// google.rpc.Code does not have is UNKNOWN.
constexpr StatusCode KnownCode(std::uint64_t code) noexcept {
  return code <= StatusCode::UNAUTHENTICATED ? static_cast<StatusCode>(code) : StatusCode::UNKNOWN;
}

// What an entry of the metadata is.
enum class MetadataKind : std::uint8_t {
  kInitial = 0,        // metadata of the application, from the client or before the response
  kTrailing = 1,       // metadata of the application, with the status
  kStatusMessage = 2,  // no key
  kStatusDetails = 3,  // no key
};

struct MetadataHeader {
  MetadataKind kind = MetadataKind::kInitial;  // 0
  std::uint8_t key_bytes = 0;                  // 1
  std::uint16_t reserved = 0;                  // 2  0
  std::uint32_t value_bytes = 0;               // 4
};
static_assert(sizeof(MetadataHeader) == 8);

struct MetadataEntry {
  MetadataKind kind;
  std::string_view key;
  std::string_view value;
};

// Keys longer than this cannot be sent.
inline constexpr std::size_t kMaxKeyBytes = 255;
// All metadata of one frame: the application's two kinds, and the status.
inline constexpr std::size_t kMaxMetadataBytes = 256 << 10;
// One kind of the application's.
inline constexpr std::size_t kMaxApplicationMetadata = 64 << 10;

// Appends an entry. REQUIRES: the key has at most kMaxKeyBytes.
void AppendEntry(std::string& metadata, const MetadataEntry& entry);

// Walks the entries of received metadata. Thread-compatible.
class MetadataReader {
 public:
  explicit MetadataReader(std::string_view metadata) : rest_(metadata) {}
  // nullopt at the end, and at bytes that are no entry: then malformed() is true.
  std::optional<MetadataEntry> Next();
  [[nodiscard]] bool malformed() const noexcept { return malformed_; }

 private:
  std::string_view rest_;
  bool malformed_ = false;
};

// A received frame, taken apart. The views are into the payload.
struct CallFrame {
  CallHeader header;
  std::string_view metadata;
  std::string_view message;
};
// nullopt: no correct peer sends this.
std::optional<CallFrame> Parse(std::span<const std::byte> payload);

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_CALL_FRAME_H_
