// JSON values that follow each other, as requests of a stream do.
#ifndef IVMQ_TOOLS_IVMQ_JSON_VALUES_H_
#define IVMQ_TOOLS_IVMQ_JSON_VALUES_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace ivmq::tool {

// Finds where a value ends; whether it is correct JSON its parser says. Thread-compatible.
class JsonValues {
 public:
  void Append(std::string_view text) { text_ += text; }
  // The next value that is there as a whole. `at_end`: nothing follows, so that a rest is one too.
  std::optional<std::string> Next(bool at_end);

 private:
  std::string text_;
  // How far the value at the beginning of the text has been looked at.
  std::size_t scanned_ = 0;
  std::size_t depth_ = 0;  // of brackets
  bool in_string_ = false;
  bool escaped_ = false;
};

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_JSON_VALUES_H_
