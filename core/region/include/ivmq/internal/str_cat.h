// Builds error messages: StrCat("slot ", 3, " is ...").
#ifndef IVMQ_INTERNAL_STR_CAT_H_
#define IVMQ_INTERNAL_STR_CAT_H_

#include <cstdint>
#include <sstream>
#include <string>

namespace ivmq {

template <typename... Parts>
std::string StrCat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return std::move(out).str();
}

// "1 byte", "2 bytes".
inline std::string BytesText(std::uint64_t bytes) {
  return std::to_string(bytes) + (bytes == 1 ? " byte" : " bytes");
}

}  // namespace ivmq

#endif  // IVMQ_INTERNAL_STR_CAT_H_
