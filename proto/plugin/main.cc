// protoc-gen-ivmq, a plugin of protoc: see generator.h.
#include <google/protobuf/compiler/plugin.h>

#include "generator.h"

int main(int argc, char** argv) {
  const ivmq::plugin::Generator generator;
  return google::protobuf::compiler::PluginMain(argc, argv, &generator);
}
