// JSON values from the command line or from standard input.
#ifndef IVMQ_TOOLS_IVMQ_JSON_INPUT_H_
#define IVMQ_TOOLS_IVMQ_JSON_INPUT_H_

#include <optional>
#include <string>

#include "interrupt.h"
#include "json_values.h"
#include "lines.h"

namespace ivmq::tool {

// Thread-compatible.
class JsonInput {
 public:
  // `text`: nothing for standard input, whose end is also that `stop` is readable.
  JsonInput(std::optional<std::string> text, const Interrupt& interrupt, int stop = -1);

  // The next value, as soon as it is whole; nothing at the end of the input or after a signal.
  // Throws as Lines::Next().
  std::optional<std::string> Next();

 private:
  JsonValues values_;
  bool ends_;
  Lines lines_;
};

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_JSON_INPUT_H_
