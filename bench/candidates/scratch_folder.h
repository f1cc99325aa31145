// A folder for the sockets of a rival or a server.
#ifndef IVMQ_BENCH_CANDIDATES_SCRATCH_FOLDER_H_
#define IVMQ_BENCH_CANDIDATES_SCRATCH_FOLDER_H_

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include "process_pair.h"

namespace ivmq::bench {

// Gone, with what is in it, when the process that made it destroys it.
class ScratchFolder {
 public:
  ScratchFolder() : path_("/tmp/ivmq_bench-XXXXXX"), owner_(getpid()) {
    if (mkdtemp(path_.data()) == nullptr) Fail("cannot make a folder in /tmp");
  }
  ~ScratchFolder() {
    std::error_code ignored;
    if (getpid() == owner_) std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
  pid_t owner_;
};

}  // namespace ivmq::bench

#endif  // IVMQ_BENCH_CANDIDATES_SCRATCH_FOLDER_H_
