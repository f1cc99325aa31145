#include "src/end_frame.h"

#include <algorithm>

#include "src/call_access.h"

namespace ivmq::rpc::internal {

EndFrame::EndFrame(const Node& node, PeerId to, std::uint64_t id, const Status& status,
                   const ServerContext* context, bool with_initial)
    : to_(to),
      id_(id),
      header_{.sender = node.id().incarnation,
              .receiver = to.incarnation,
              .call_high = static_cast<std::uint32_t>(id >> 32),
              .argument = static_cast<std::uint64_t>(
                  KnownCode(static_cast<std::uint64_t>(status.error_code())))} {
  const bool has_text = !status.error_message().empty() || !status.error_details().empty();
  const bool has_pairs =
      context != nullptr && ((with_initial && !CallAccess::initial(*context).empty()) ||
                             !CallAccess::trailing(*context).empty());
  if (has_text || has_pairs) [[unlikely]]
    AddMetadata(node, status, context, with_initial);
}

void EndFrame::AddMetadata(const Node& node, const Status& status, const ServerContext* context,
                           bool with_initial) {
  const std::uint64_t sent = node.max_message_bytes();
  const std::size_t most =
      sent > sizeof(CallHeader)
          ? std::min<std::uint64_t>(kMaxMetadataBytes, sent - sizeof(CallHeader))
          : 0;
  std::string metadata;
  if (context != nullptr) {
    if (with_initial) metadata = CallAccess::initial(*context);
    MetadataReader trailing(CallAccess::trailing(*context));
    while (const std::optional<MetadataEntry> entry = trailing.Next()) {
      AppendEntry(metadata, {MetadataKind::kTrailing, entry->key, entry->value});
    }
  }
  // What does not fit is cut: a status must always arrive.
  const auto append = [&](MetadataKind kind, std::string_view text) {
    const std::size_t used = metadata.size() + sizeof(MetadataHeader);
    if (text.empty() || used >= most) return;
    AppendEntry(metadata, {kind, {}, text.substr(0, most - used)});
  };
  append(MetadataKind::kStatusMessage, status.error_message());
  append(MetadataKind::kStatusDetails, status.error_details());
  header_.metadata_bytes = static_cast<std::uint32_t>(metadata.size());
  longer_.assign(reinterpret_cast<const char*>(&header_), sizeof(header_));
  longer_ += metadata;
}

}  // namespace ivmq::rpc::internal
