// A folder for one test, and what its programs left behind.
#ifndef IVMQ_TESTS_PROCESS_DEMO_SCRATCH_H_
#define IVMQ_TESTS_PROCESS_DEMO_SCRATCH_H_

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace ivmq::testing {

// The words of a process's command line, with NULs between them.
inline std::string CommandLine(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/cmdline");
  return {std::istreambuf_iterator<char>(file), {}};
}

class Scratch {
 public:
  Scratch() {
    path_ = ::testing::TempDir() + "ivmq-demo-test.XXXXXX";
    if (mkdtemp(path_.data()) == nullptr) std::abort();
  }
  ~Scratch() { std::filesystem::remove_all(path_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  [[nodiscard]] const std::string& path() const noexcept { return path_; }

  [[nodiscard]] std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }

  // Processes whose command lines name the folder: all that a program with it as its TMPDIR starts.
  [[nodiscard]] std::vector<int> Processes() const {
    std::vector<int> pids;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const std::string name = entry.path().filename().string();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      const int pid = std::stoi(name);
      if (CommandLine(pid).find(path_) != std::string::npos) pids.push_back(pid);
    }
    return pids;
  }

 private:
  std::string path_;
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_PROCESS_DEMO_SCRATCH_H_
