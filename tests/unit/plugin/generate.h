// What the plugin makes of .proto files that a test has as text.
#ifndef IVMQ_TESTS_UNIT_PLUGIN_GENERATE_H_
#define IVMQ_TESTS_UNIT_PLUGIN_GENERATE_H_

#include <map>
#include <string>

namespace ivmq::plugin {

using Files = std::map<std::string, std::string>;  // by name

struct Generated {
  bool ok = false;
  std::string error;
  Files files;
};

// Of `protos`, generates for the one called `name` as protoc would. A syntax error is a failure of
// the test.
Generated Generate(const Files& protos, const std::string& name, const std::string& parameter = "");
// Of a file x.proto with `text` below `syntax = "proto3";`, on line 2 and further ones.
Generated GenerateProto3(const std::string& text, const std::string& parameter = "");
// The messages of the file as well.
Generated GenerateAll(const Files& protos, const std::string& name, const std::string& parameter);

}  // namespace ivmq::plugin

#endif  // IVMQ_TESTS_UNIT_PLUGIN_GENERATE_H_
