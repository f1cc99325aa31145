// Metadata: pairs of key and value that are sent with a call in addition to its messages.
#ifndef IVMQ_RPC_INTERNAL_METADATA_H_
#define IVMQ_RPC_INTERNAL_METADATA_H_

#include "ivmq/export.h"

#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace ivmq::rpc {

// What gRPC calls grpc::string_ref.
using string_ref = std::string_view;  // NOLINT(readability-identifier-naming): gRPC's name
using Metadata = std::multimap<string_ref, string_ref>;

// Whether gRPC accepts the pair: keys of a-z 0-9 - _ . and values of printable ASCII, or of any
// bytes if the key ends with "-bin".
IVMQ_EXPORT bool IsValidMetadata(std::string_view key, std::string_view value);

namespace internal {

// The application's metadata of one direction, in the form in which it is sent.
class IVMQ_EXPORT MetadataBytes {
 public:
  // False: the pair is not valid, or all together would be more than 64 KiB.
  bool Add(std::string_view key, std::string_view value);
  [[nodiscard]] const std::string& bytes() const noexcept { return bytes_; }
  void clear() noexcept { bytes_.clear(); }

 private:
  std::string bytes_;
};

// Received metadata, kept in one piece.
class IVMQ_EXPORT ReceivedMetadata {
 public:
  void Set(std::string_view key, std::string_view value);
  [[nodiscard]] const Metadata& map() const { return maps_ != nullptr ? maps_->views : kNone; }
  void clear() noexcept { maps_.reset(); }

 private:
  struct Maps {
    std::multimap<std::string, std::string> pairs;
    Metadata views;  // into the pairs
  };
  static const Metadata& kNone;

  std::unique_ptr<Maps> maps_;  // nullptr: there is none
};

}  // namespace internal
}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_INTERNAL_METADATA_H_
