#include "src/reflection.h"

#include <memory>
#include <set>
#include <utility>

#include <google/protobuf/compiler/parser.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include "src/builtin_protos.h"

namespace ivmq::rpc::internal {
namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::FileDescriptor;
using google::protobuf::FileDescriptorProto;
using google::protobuf::FileDescriptorSet;

// Clients choose what they ask for.
constexpr std::size_t kMostNameBytes = 1024;

// Appends the file behind what it imports, each once.
void Append(const FileDescriptor& file, std::set<const FileDescriptor*>& seen,
            FileDescriptorSet& files) {
  if (!seen.insert(&file).second) return;
  for (int i = 0; i < file.dependency_count(); ++i) Append(*file.dependency(i), seen, files);
  file.CopyTo(files.add_file());
}

FileDescriptorProto Parse(const char* name, const std::string& text) {
  google::protobuf::io::ArrayInputStream stream(text.data(), static_cast<int>(text.size()));
  google::protobuf::io::Tokenizer tokenizer(&stream, nullptr);
  google::protobuf::compiler::Parser parser;
  FileDescriptorProto file;
  (void)parser.Parse(&tokenizer, &file);
  file.set_name(name);
  return file;
}

}  // namespace

Reflection::Reflection(std::vector<std::string> services) : services_(std::move(services)) {
  using google::protobuf::Empty;
  using google::protobuf::FieldMask;
  using google::protobuf::StringValue;
  AddMethod("/ivmq.reflection.Reflection/ListServices", MethodType::kUnary,
            MakeHandler<Empty, FieldMask>(this, &Reflection::ListServices));
  AddMethod("/ivmq.reflection.Reflection/FindSymbol", MethodType::kUnary,
            MakeHandler<StringValue, FileDescriptorSet>(this, &Reflection::FindSymbol));
}

void Reflection::Build() {
  FileDescriptorSet files;
  std::set<const FileDescriptor*> seen;
  // What reflection.proto imports.
  Append(*FileDescriptorSet::descriptor()->file(), seen, files);
  for (const std::string& service : services_) {
    const auto* const found = DescriptorPool::generated_pool()->FindServiceByName(service);
    if (found != nullptr) Append(*found->file(), seen, files);
  }
  for (const FileDescriptorProto& file : files.file()) (void)pool_.BuildFile(file);
  // The program may have generated code from these, and offer it.
  if (pool_.FindServiceByName(kHealthName) == nullptr) {
    (void)pool_.BuildFile(Parse("grpc/health/v1/health.proto", kHealthProto));
  }
  if (pool_.FindServiceByName(kReflectionName) == nullptr) {
    (void)pool_.BuildFile(Parse("ivmq/rpc/reflection.proto", kReflectionProto));
  }
}

Status Reflection::ListServices(ServerContext* /*context*/,
                                const google::protobuf::Empty* /*request*/,
                                google::protobuf::FieldMask* response) {
  for (const std::string& service : services_) response->add_paths(service);
  return Status::OK;
}

Status Reflection::FindSymbol(ServerContext* /*context*/,
                              const google::protobuf::StringValue* request,
                              google::protobuf::FileDescriptorSet* response) {
  if (request->value().size() > kMostNameBytes) {
    return {StatusCode::INVALID_ARGUMENT, "no symbol has so long a name"};
  }
  std::call_once(built_, [this] { Build(); });
  const FileDescriptor* file = pool_.FindFileContainingSymbol(request->value());
  if (file == nullptr) {
    // Such as what a google.protobuf.Any holds.
    file = DescriptorPool::generated_pool()->FindFileContainingSymbol(request->value());
  }
  if (file == nullptr) {
    return {StatusCode::NOT_FOUND,
            "no descriptor of '" + request->value() + "' here: this program has no code for it"};
  }
  std::set<const FileDescriptor*> seen;
  Append(*file, seen, *response);
  return Status::OK;
}

}  // namespace ivmq::rpc::internal
