#include "message_json.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include "output.h"

namespace ivmq::tool {

namespace {

namespace pb = google::protobuf;

}  // namespace

Status ParseJson(const std::string& json, pb::Message& message) {
  message.Clear();
  const auto parsed = pb::util::JsonStringToMessage(json, &message);
  if (parsed.ok() && message.IsInitialized()) return {};
  return {StatusCode::kInvalidArgument,
          fmt::format("no {}: {}", message.GetTypeName(),
                      parsed.ok() ? "it lacks " + message.InitializationErrorString()
                                  : std::string(parsed.message()))};
}

Result<std::string> JsonOfMessage(const pb::Message& message) {
  std::string json;
  const auto made = pb::util::MessageToJsonString(message, &json);
  if (!made.ok()) {
    return Status(StatusCode::kDataLoss,
                  fmt::format("a {}, has no form in JSON: {}", message.GetTypeName(),
                              std::string(made.message())));
  }
  json = JsonText(Json::parse(json), JsonStyle::kOneLine);
  json.pop_back();
  return json;
}

}  // namespace ivmq::tool
