// Text that other processes read.
#ifndef IVMQ_UTF8_H_
#define IVMQ_UTF8_H_

#include <stdexcept>
#include <string_view>

#include <boost/regex/pending/unicode_iterator.hpp>

namespace ivmq {

[[nodiscard]] inline bool IsUtf8(std::string_view text) {
  try {
    using Decoder = boost::u8_to_u32_iterator<std::string_view::const_iterator>;
    for (Decoder at(text.begin(), text.begin(), text.end()),
         end(text.end(), text.begin(), text.end());
         at != end; ++at) {
      (void)*at;
    }
  } catch (const std::out_of_range&) {
    return false;
  }
  return true;
}

}  // namespace ivmq

#endif  // IVMQ_UTF8_H_
