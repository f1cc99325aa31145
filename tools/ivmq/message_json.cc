#include "message_json.h"

#include <memory>
#include <vector>

#include <fmt/format.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/util/json_util.h>

#include "output.h"

namespace ivmq::tool {

namespace {

namespace pb = google::protobuf;

constexpr int kMostNested = 100;  // as protobuf's own parser

// "pkg.Name" of "type.googleapis.com/pkg.Name".
std::string TypeIn(const std::string& url) { return url.substr(url.rfind('/') + 1); }

// All values of "@type" in JSON.
void FindTypesIn(const Json& json, const FindType& find) {
  for (const auto& [key, value] : json.items()) {
    if (value.is_structured()) FindTypesIn(value, find);
    if (json.is_object() && key == "@type" && value.is_string()) find(TypeIn(value));
  }
}

// The types of all Any in `message`, in those that they hold too.
void FindTypesIn(const pb::Message& message, const FindType& find, int depth = 0) {
  if (depth == kMostNested) return;
  const pb::Reflection& reflection = *message.GetReflection();
  if (message.GetDescriptor()->full_name() == "google.protobuf.Any") {
    const std::string url =
        reflection.GetString(message, message.GetDescriptor()->FindFieldByNumber(1));
    if (url.empty()) return;
    const std::string name = TypeIn(url);
    find(name);
    const auto* const type = message.GetDescriptor()->file()->pool()->FindMessageTypeByName(name);
    if (type == nullptr) return;
    pb::DynamicMessageFactory factory;
    const std::unique_ptr<pb::Message> held(factory.GetPrototype(type)->New());
    const std::string bytes =
        reflection.GetString(message, message.GetDescriptor()->FindFieldByNumber(2));
    if (held->ParsePartialFromString(bytes)) FindTypesIn(*held, find, depth + 1);
    return;
  }
  std::vector<const pb::FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const pb::FieldDescriptor* const field : fields) {
    if (field->cpp_type() != pb::FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      FindTypesIn(reflection.GetMessage(message, field), find, depth + 1);
      continue;
    }
    for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
      FindTypesIn(reflection.GetRepeatedMessage(message, field, i), find, depth + 1);
    }
  }
}

}  // namespace

Status ParseJson(const std::string& json, pb::Message& message, const FindType& find) {
  message.Clear();
  if (find) {
    if (const Json parsed = Json::parse(json, nullptr, /*allow_exceptions=*/false);
        parsed.is_structured()) {
      FindTypesIn(parsed, find);
    }
  }
  const auto parsed = pb::util::JsonStringToMessage(json, &message);
  if (parsed.ok() && message.IsInitialized()) return {};
  return {StatusCode::kInvalidArgument,
          fmt::format("no {}: {}", message.GetTypeName(),
                      parsed.ok() ? "it lacks " + message.InitializationErrorString()
                                  : std::string(parsed.message()))};
}

Result<std::string> JsonOfMessage(const pb::Message& message, const JsonOptions& options) {
  if (options.find) FindTypesIn(message, options.find);
  pb::util::JsonPrintOptions print;
  print.always_print_primitive_fields = options.emit_defaults;
  std::string json;
  const auto made = pb::util::MessageToJsonString(message, &json, print);
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
