// Definitions of services and messages: from .proto files, or from a peer that offers reflection.
#ifndef IVMQ_TOOLS_IVMQ_DEFINITIONS_H_
#define IVMQ_TOOLS_IVMQ_DEFINITIONS_H_

#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <google/protobuf/compiler/importer.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/descriptor_database.h>

#include "ivmq/status.h"

namespace ivmq::tool {

class Definitions {
 public:
  virtual ~Definitions() = default;
  // The full names of all services. Empty, or why there are none.
  virtual Result<std::vector<std::string>> Services() = 0;
  // Has the pool know the symbol: NOT_FOUND, or what hinders it.
  virtual Status Find(const std::string& symbol) = 0;
  [[nodiscard]] virtual const google::protobuf::DescriptorPool& pool() const = 0;
};

// --proto FILE and -I DIR, each any number of times.
struct ProtoFlags {
  std::vector<std::string> files;
  std::vector<std::string> folders;
};
// `help`: what --proto is for.
void AddProtoFlags(CLI::App* command, ProtoFlags* flags, const std::string& help);
// Whether there is a --proto. -I without it is wrong usage.
bool HasProtos(const ProtoFlags& flags);

// Of the files, paths on this machine, whose imports begin in the folders or, if there are none,
// where the files are. INVALID_ARGUMENT with the places of all errors.
Result<std::unique_ptr<Definitions>> ReadProtoFiles(const ProtoFlags& flags);

// Those of `set` are added to the pool, unless they are in it. INVALID_ARGUMENT if they are not
// correct.
Status AddFiles(const google::protobuf::FileDescriptorSet& set,
                google::protobuf::DescriptorPool& pool);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_DEFINITIONS_H_
