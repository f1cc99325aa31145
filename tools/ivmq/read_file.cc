#include "read_file.h"

#include <cerrno>
#include <fstream>
#include <iterator>
#include <system_error>

#include <fmt/format.h>

namespace ivmq::tool {

Result<std::string> ReadFile(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string content;
  if (file) content.assign(std::istreambuf_iterator<char>(file), {});
  if (file && !file.bad()) return content;
  return Status(errno == ENOENT ? StatusCode::kNotFound : StatusCode::kUnknown,
                fmt::format("{}: {}", path, std::generic_category().message(errno)));
}

}  // namespace ivmq::tool
