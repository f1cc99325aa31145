#include "scratch.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <iterator>

namespace ivmq::testing {

ToolTest::ToolTest()
    : name_("/ivmq-tools-test-" + std::to_string(getpid())), address_("shm:" + name_) {}

ToolTest::~ToolTest() { shm_unlink(name_.c_str()); }

void ToolTest::MakeRegion() {
  const Outcome made =
      RunTool({"format", address_, "--size", "1M", "--max-peers", "8", "--ring-size", "16K"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
}

std::string ToolTest::WriteFile(const std::string& name, std::string_view content) const {
  std::string path = folder_.Path(name);
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

void ToolTest::Overwrite(std::uint64_t offset, std::string_view bytes) const {
  UniqueFd file(shm_open(name_.c_str(), O_RDWR | O_CLOEXEC, 0));
  ASSERT_TRUE(file.valid());
  ASSERT_EQ(pwrite(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)),
            static_cast<ssize_t>(bytes.size()));
}

std::string ReadWholeFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace ivmq::testing
