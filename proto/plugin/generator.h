// What protoc-gen-ivmq writes: stubs and services for the services of a .proto file.
#ifndef IVMQ_PLUGIN_GENERATOR_H_
#define IVMQ_PLUGIN_GENERATOR_H_

#include <cstdint>
#include <string>

#include <google/protobuf/compiler/code_generator.h>
#include <google/protobuf/descriptor.h>

namespace ivmq::plugin {

// C++ names are those of the file, but for a `_` behind keywords, macros of C's and C++'s headers
// and what the classes need themselves: `rpc delete` becomes delete_(), `service Stub` the class
// Stub_. What has no C++ all the same (two names that became one; a package `acme.class`; a message
// called like code of the library) is refused with the line, the name and what to do, and so are
// messages that were made for less than google::protobuf::Message (LITE_RUNTIME).
class Generator final : public google::protobuf::compiler::CodeGenerator {
 public:
  // Options, separated by commas:
  //   services_namespace=NAME   the services go to this namespace within that of the messages
  //   generate_mock_code=true   x_mock.ivmq.pb.h as well, for GoogleMock
  bool Generate(const google::protobuf::FileDescriptor* descriptor, const std::string& parameter,
                google::protobuf::compiler::GeneratorContext* context,
                std::string* error) const override;
  [[nodiscard]] std::uint64_t GetSupportedFeatures() const override {
    return FEATURE_PROTO3_OPTIONAL;
  }
};

}  // namespace ivmq::plugin

#endif  // IVMQ_PLUGIN_GENERATOR_H_
