// What protoc-gen-ivmq writes: stubs and services for the services of a .proto file.
#ifndef IVMQ_PLUGIN_GENERATOR_H_
#define IVMQ_PLUGIN_GENERATOR_H_

#include <cstdint>
#include <string>

#include <google/protobuf/compiler/code_generator.h>
#include <google/protobuf/descriptor.h>

namespace ivmq::plugin {

class Generator final : public google::protobuf::compiler::CodeGenerator {
 public:
  // Options, separated by commas:
  //   services_namespace=NAME   the services go to this namespace within that of the messages
  //   generate_mock_code=true   x_mock.ivmq.pb.h as well, for GoogleMock
  bool Generate(const google::protobuf::FileDescriptor* file, const std::string& parameter,
                google::protobuf::compiler::GeneratorContext* context,
                std::string* error) const override;
  [[nodiscard]] std::uint64_t GetSupportedFeatures() const override {
    return FEATURE_PROTO3_OPTIONAL;
  }
};

}  // namespace ivmq::plugin

#endif  // IVMQ_PLUGIN_GENERATOR_H_
