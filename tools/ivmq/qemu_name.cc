#include "qemu_name.h"

#include <cstddef>
#include <fstream>
#include <string_view>

#include <fmt/format.h>

namespace ivmq::tool {
namespace {

constexpr std::size_t kMostArguments = 4096;

// The value of an option such as "guest=vm1,debug-threads=on", in which the key "guest" may be left
// out at the start, and a comma of a value stands twice.
std::string GuestIn(std::string_view option) {
  constexpr std::string_view kKey = "guest=";
  std::string word;
  bool is_first = true;
  for (std::size_t i = 0; i <= option.size(); ++i) {
    if (i < option.size() && option[i] == ',' && i + 1 < option.size() && option[i + 1] == ',') {
      word += ',';
      ++i;
      continue;
    }
    if (i < option.size() && option[i] != ',') {
      word += option[i];
      continue;
    }
    if (word.starts_with(kKey)) return word.substr(kKey.size());
    if (is_first && word.find('=') == std::string::npos) return word;
    is_first = false;
    word.clear();
  }
  return "";
}

}  // namespace

std::string QemuNameIn(const std::vector<std::string>& arguments) {
  std::string name;
  for (std::size_t i = 0; i + 1 < arguments.size(); ++i) {
    if (arguments[i] == "-name" || arguments[i] == "--name") name = GuestIn(arguments[++i]);
  }
  return name;
}

std::string QemuNameOf(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/cmdline", pid), std::ios::binary);
  std::vector<std::string> arguments;
  for (std::string word; arguments.size() < kMostArguments && std::getline(file, word, '\0');) {
    arguments.push_back(word);
  }
  return QemuNameIn(arguments);
}

}  // namespace ivmq::tool
