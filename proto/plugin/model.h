// What a .proto file has to generate, with all names decided.
#ifndef IVMQ_PLUGIN_MODEL_H_
#define IVMQ_PLUGIN_MODEL_H_

#include <cstdint>
#include <string>
#include <vector>

#include <google/protobuf/descriptor.h>

namespace ivmq::plugin {

struct Options {
  std::string services_namespace;
  bool mocks = false;
};

enum class Kind : std::uint8_t { kUnary, kClientStream, kServerStream, kBidiStream };

struct Method {
  const google::protobuf::MethodDescriptor* descriptor = nullptr;
  Kind kind = Kind::kUnary;
  std::string name;
  std::string raw;       // of the function that gives a stream as a bare pointer
  std::string constant;  // what a request carries in place of the path
  std::string path;      // "/package.Service/Method"
  std::string request;   // the class, from "::" on
  std::string response;
};

struct Service {
  const google::protobuf::ServiceDescriptor* descriptor = nullptr;
  std::string name;
  std::vector<Method> methods;
};

struct File {
  std::string source;  // "dir/x.proto"
  std::string stem;    // "dir/x"
  std::string space;   // "a::b", or empty
  std::vector<Service> services;
};

// Of `descriptor`. False: there is no C++ for it; `*error` says for each reason the line, the name
// and what to do.
bool MakeModel(const google::protobuf::FileDescriptor& descriptor, const Options& options,
               File* file, std::string* error);

}  // namespace ivmq::plugin

#endif  // IVMQ_PLUGIN_MODEL_H_
