// The frame that ends a call, as the server makes it.
#ifndef IVMQ_RPC_END_FRAME_H_
#define IVMQ_RPC_END_FRAME_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "ivmq/node.h"
#include "ivmq/rpc/internal/status_names.h"
#include "ivmq/rpc/server.h"

#include "src/call_frame.h"

namespace ivmq::rpc::internal {

// What goes before the response. Does not allocate for a plain OK. Thread-compatible.
class EndFrame {
 public:
  // `context`: whose metadata goes with it, nullptr: none. `with_initial`: the initial metadata was
  // not sent before.
  EndFrame(const Node& node, PeerId to, std::uint64_t id, const Status& status,
           const ServerContext* context = nullptr, bool with_initial = true);

  [[nodiscard]] PeerId to() const noexcept { return to_; }
  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  [[nodiscard]] MessageType type() const noexcept {
    return {.kind = ToFrameKind(CallFrameKind::kEnd), .type = static_cast<std::uint32_t>(id_)};
  }
  // Whether it has neither metadata nor a text.
  [[nodiscard]] bool is_bare() const noexcept { return head().size() == sizeof(CallHeader); }
  [[nodiscard]] std::span<const std::byte> head() const noexcept {
    return longer_.empty() ? std::as_bytes(std::span(&header_, 1))
                           : std::as_bytes(std::span(longer_));
  }

 private:
  void AddMetadata(const Node& node, const Status& status, const ServerContext* context,
                   bool with_initial);

  PeerId to_;
  std::uint64_t id_;
  CallHeader header_;
  std::string longer_;  // header and metadata, if there is any
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_END_FRAME_H_
