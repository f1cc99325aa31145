#include "ivmq/rpc/internal/metadata.h"

#include <algorithm>

#include "src/call_frame.h"

namespace ivmq::rpc {
namespace {

bool IsKeyByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

bool IsPrintable(char c) { return c >= ' ' && c <= '~'; }

}  // namespace

bool IsValidMetadata(std::string_view key, std::string_view value) {
  return !key.empty() && key.size() <= internal::kMaxKeyBytes &&
         std::all_of(key.begin(), key.end(), IsKeyByte) &&
         (key.ends_with("-bin") || std::all_of(value.begin(), value.end(), IsPrintable));
}

}  // namespace ivmq::rpc

namespace ivmq::rpc::internal {

bool MetadataBytes::Add(std::string_view key, std::string_view value) {
  if (!IsValidMetadata(key, value) ||
      bytes_.size() + sizeof(MetadataHeader) + key.size() + value.size() >
          kMaxApplicationMetadata) {
    return false;
  }
  AppendEntry(bytes_, {MetadataKind::kInitial, key, value});
  return true;
}

// Never destroyed: used by threads that outlive main().
const Metadata& ReceivedMetadata::kNone = *new Metadata();

void ReceivedMetadata::Set(std::string_view key, std::string_view value) {
  if (maps_ == nullptr) maps_ = std::make_unique<Maps>();
  const auto pair = maps_->pairs.emplace(key, value);
  maps_->views.emplace(pair->first, pair->second);
}

}  // namespace ivmq::rpc::internal
