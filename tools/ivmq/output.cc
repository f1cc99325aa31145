#include "output.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <system_error>

#include "text.h"

namespace ivmq::tool {
namespace {

std::string Scalar(const Json& json) {
  return json.is_string() ? Printable(json.get_ref<const std::string&>()) : json.dump();
}

bool IsNested(const Json& json) {
  return json.is_object() || (json.is_array() && !json.empty() && json.front().is_structured());
}

void AppendOutline(const Json& json, std::size_t indent, std::string* out) {
  std::size_t width = 0;
  for (const auto& [key, value] : json.items()) {
    if (!IsNested(value)) width = std::max(width, key.size());
  }
  const std::string margin(indent, ' ');
  for (const auto& [key, value] : json.items()) {
    if (value.is_object()) {
      *out += margin + key + "\n";
      AppendOutline(value, indent + 2, out);
    } else if (IsNested(value)) {
      // "slots" is a list of "slot".
      const std::string one = key.substr(0, key.size() - (key.ends_with('s') ? 1 : 0));
      for (const Json& element : value) {
        *out += margin + one + "\n";
        AppendOutline(element, indent + 2, out);
      }
    } else {
      std::string text;
      if (value.is_array()) {
        for (const Json& element : value) text += (text.empty() ? "" : ", ") + Scalar(element);
      } else {
        text = value.is_null() ? "-" : Scalar(value);
      }
      *out += margin + key + std::string(width - key.size() + 2, ' ') + text + "\n";
    }
  }
}

}  // namespace

bool TryPrint(std::string_view text) {
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() &&
         std::fflush(stdout) == 0;
}

void Print(std::string_view text) {
  if (TryPrint(text)) return;
  throw std::runtime_error("cannot write to standard output: " +
                           std::generic_category().message(errno));
}

std::string JsonText(const Json& json, JsonStyle style) {
  return json.dump(style == JsonStyle::kIndented ? 2 : -1, ' ', /*ensure_ascii=*/true,
                   Json::error_handler_t::replace) +
         "\n";
}

std::string Outline(const Json& json) {
  std::string out;
  AppendOutline(json, 0, &out);
  return out;
}

}  // namespace ivmq::tool
