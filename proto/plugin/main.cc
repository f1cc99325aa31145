// protoc-gen-ivmq, a plugin of protoc: see generator.h.
#include <unistd.h>

#include <iostream>
#include <string>

#include <google/protobuf/compiler/plugin.h>
#include <google/protobuf/compiler/plugin.pb.h>

#include "generator.h"

namespace {

using google::protobuf::compiler::CodeGeneratorRequest;
using google::protobuf::compiler::CodeGeneratorResponse;

// What a newer protoc passes on without saying so itself. Empty: nothing.
std::string Unknown(const CodeGeneratorRequest& request) {
  for (const auto& file : request.proto_file()) {
    if (file.syntax().empty() || file.syntax() == "proto2" || file.syntax() == "proto3") continue;
    return file.name() + ": syntax " + file.syntax() +
           ": protoc-gen-ivmq knows proto2 and proto3; say syntax = \"proto3\" there";
  }
  return "";
}

}  // namespace

int main(int argc, char** /*argv*/) {
  if (argc > 1) {
    std::cerr << "protoc-gen-ivmq: takes no arguments; protoc runs it for --ivmq_out\n";
    return 1;
  }
  CodeGeneratorRequest request;
  if (!request.ParseFromFileDescriptor(STDIN_FILENO)) {
    std::cerr << "protoc-gen-ivmq: stdin is no request of protoc's, which runs it for --ivmq_out\n";
    return 1;
  }
  CodeGeneratorResponse response;
  std::string error = Unknown(request);
  if (!error.empty()) {
    response.set_error(error);
  } else if (!google::protobuf::compiler::GenerateCode(request, ivmq::plugin::Generator(),
                                                       &response, &error)) {
    std::cerr << "protoc-gen-ivmq: " << error << '\n';
    return 1;
  }
  if (!response.SerializeToFileDescriptor(STDOUT_FILENO)) {
    std::cerr << "protoc-gen-ivmq: cannot write to stdout\n";
    return 1;
  }
  return 0;
}
