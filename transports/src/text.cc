#include "src/text.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>

#include "ivmq/internal/str_cat.h"

namespace ivmq {

std::string ErrnoText(int error) {
  const char* const text = strerrordesc_np(error);
  return text != nullptr ? text : "error " + std::to_string(error);
}

std::string SizeText(std::uint64_t bytes) {
  constexpr std::array<const char*, 3> kUnits = {" KiB", " MiB", " GiB"};
  if (bytes == 0 || bytes % 1024 != 0) return BytesText(bytes);
  std::size_t unit = 0;
  bytes /= 1024;
  while (bytes % 1024 == 0 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  return std::to_string(bytes) + kUnits[unit];
}

std::string AccessText(const std::string& path) {
  struct stat file {};
  std::string text = "a folder above it may not be entered";
  if (stat(path.c_str(), &file) == 0) {
    std::array<char, 8> mode{};
    std::snprintf(mode.data(), mode.size(), "%04o", file.st_mode & 07777U);
    text = "it belongs to uid " + std::to_string(file.st_uid) + " and gid " +
           std::to_string(file.st_gid) + " with mode " + mode.data();
  }
  return text + "; this process has uid " + std::to_string(geteuid()) + " and gid " +
         std::to_string(getegid());
}

std::string BecauseText(std::string_view reason) {
  return reason.empty() ? std::string() : " (" + std::string(reason) + ")";
}

Status At(std::string_view where, const Status& status) {
  return {status.code(), std::string(where) + ": " + status.message()};
}

}  // namespace ivmq
