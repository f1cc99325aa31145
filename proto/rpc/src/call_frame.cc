#include "src/call_frame.h"

#include <cstring>

#include "ivmq/rpc/internal/metadata.h"

namespace ivmq::rpc::internal {

void AppendEntry(std::string& metadata, const MetadataEntry& entry) {
  const MetadataHeader header{.kind = entry.kind,
                              .key_bytes = static_cast<std::uint8_t>(entry.key.size()),
                              .value_bytes = static_cast<std::uint32_t>(entry.value.size())};
  metadata.append(reinterpret_cast<const char*>(&header), sizeof(header));
  metadata.append(entry.key);
  metadata.append(entry.value);
}

std::optional<MetadataEntry> MetadataReader::Next() {
  if (rest_.empty()) return std::nullopt;
  MetadataHeader header;
  if (rest_.size() < sizeof(header)) {
    malformed_ = true;
    return std::nullopt;
  }
  std::memcpy(&header, rest_.data(), sizeof(header));
  rest_.remove_prefix(sizeof(header));
  if (rest_.size() < header.key_bytes || rest_.size() - header.key_bytes < header.value_bytes ||
      header.kind > MetadataKind::kStatusDetails) {
    malformed_ = true;
    return std::nullopt;
  }
  const MetadataEntry entry{header.kind, rest_.substr(0, header.key_bytes),
                            rest_.substr(header.key_bytes, header.value_bytes)};
  // What an application could not have sent does not reach one.
  const bool is_pair = entry.kind <= MetadataKind::kTrailing;
  if (is_pair ? !IsValidMetadata(entry.key, entry.value) : !entry.key.empty()) {
    malformed_ = true;
    return std::nullopt;
  }
  rest_.remove_prefix(std::size_t{header.key_bytes} + header.value_bytes);
  return entry;
}

std::optional<CallFrame> Parse(std::span<const std::byte> payload) {
  CallFrame parsed;
  if (payload.size() < sizeof(parsed.header)) return std::nullopt;
  std::memcpy(&parsed.header, payload.data(), sizeof(parsed.header));
  const std::string_view rest(reinterpret_cast<const char*>(payload.data()) + sizeof(CallHeader),
                              payload.size() - sizeof(CallHeader));
  const std::size_t metadata = parsed.header.metadata_bytes;
  if (metadata > rest.size() || metadata > kMaxMetadataBytes) return std::nullopt;
  parsed.metadata = rest.substr(0, metadata);
  parsed.message = rest.substr(metadata);
  return parsed;
}

}  // namespace ivmq::rpc::internal
