// Standard input, line by line, ended by a signal.
#ifndef IVMQ_TOOLS_IVMQ_LINES_H_
#define IVMQ_TOOLS_IVMQ_LINES_H_

#include <cstddef>
#include <optional>
#include <string>

#include "interrupt.h"

namespace ivmq::tool {

// Thread-compatible.
class Lines {
 public:
  // A line that exceeds `limit` bytes comes in pieces of at least that size. Once the descriptor
  // `stop` is readable, that is the end of the input.
  Lines(const Interrupt& interrupt, std::size_t limit, int stop = -1)
      : interrupt_(interrupt), limit_(limit), stop_(stop) {}

  // The next line without its end; nothing at the end of the input or after a signal. Throws
  // std::system_error if the input cannot be read.
  std::optional<std::string> Next();

 private:
  // False at the end of the input.
  bool Fill();

  const Interrupt& interrupt_;
  std::size_t limit_;
  int stop_;
  std::string buffer_;
  std::size_t scanned_ = 0;  // bytes of it without a line end
  bool ended_ = false;
};

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_LINES_H_
