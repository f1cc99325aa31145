// Protobuf messages as JSON.
#ifndef IVMQ_TOOLS_IVMQ_MESSAGE_JSON_H_
#define IVMQ_TOOLS_IVMQ_MESSAGE_JSON_H_

#include <string>

#include <google/protobuf/message.h>

#include "ivmq/status.h"

namespace ivmq::tool {

// INVALID_ARGUMENT: "no pkg.Name: " and why.
Status ParseJson(const std::string& json, google::protobuf::Message& message);

// One line of pure ASCII, since it may go to a terminal, without an end. DATA_LOSS: "a pkg.Name,
// has no form in JSON: " and why.
Result<std::string> JsonOfMessage(const google::protobuf::Message& message);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_MESSAGE_JSON_H_
