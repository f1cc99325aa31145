// Protobuf messages as JSON.
#ifndef IVMQ_TOOLS_IVMQ_MESSAGE_JSON_H_
#define IVMQ_TOOLS_IVMQ_MESSAGE_JSON_H_

#include <functional>
#include <string>

#include <google/protobuf/message.h>

#include "ivmq/status.h"

namespace ivmq::tool {

// Has the pool of a message know the type with this full name, which a google.protobuf.Any holds.
using FindType = std::function<void(const std::string& name)>;

// INVALID_ARGUMENT: "no pkg.Name: " and why.
Status ParseJson(const std::string& json, google::protobuf::Message& message,
                 const FindType& find = {});

struct JsonOptions {
  bool emit_defaults = false;  // fields that are not set, too, unless they are messages
  FindType find{};
};

// One line of pure ASCII, since it may go to a terminal, without an end. DATA_LOSS: "a pkg.Name,
// has no form in JSON: " and why.
Result<std::string> JsonOfMessage(const google::protobuf::Message& message,
                                  const JsonOptions& options = {});

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_MESSAGE_JSON_H_
