// Standard output: text for people, JSON for programs.
#ifndef IVMQ_TOOLS_IVMQ_OUTPUT_H_
#define IVMQ_TOOLS_IVMQ_OUTPUT_H_

#include <string_view>

#include <nlohmann/json.hpp>

namespace ivmq::tool {

using Json = nlohmann::ordered_json;

// Writes to standard output at once. False if that fails, e.g. because its reader has gone.
[[nodiscard]] bool TryPrint(std::string_view text);

// The same; throws std::runtime_error if it fails.
void Print(std::string_view text);

enum class JsonStyle : bool { kIndented, kOneLine };

// Pure ASCII, with a line end; what is no UTF-8 in a string becomes U+FFFD.
std::string JsonText(const Json& json, JsonStyle style = JsonStyle::kIndented);

// A document as lines "key  value", aligned, nested ones indented, each element of a list of
// objects under a heading of its own. Strings are made printable.
std::string Outline(const Json& json);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_OUTPUT_H_
