#include "fixture.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "src/unique_fd.h"

namespace ivmq::testing {

ToolTest::ToolTest()
    : name_("/ivmq-tools-test-" + std::to_string(getpid())), address_("shm:" + name_) {}

ToolTest::~ToolTest() { shm_unlink(name_.c_str()); }

void ToolTest::MakeRegion() {
  const Outcome made =
      RunTool({"format", address_, "--size", "1M", "--max-peers", "8", "--ring-size", "16K"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
}

void ToolTest::Overwrite(std::uint64_t offset, std::string_view bytes) const {
  UniqueFd file(shm_open(name_.c_str(), O_RDWR | O_CLOEXEC, 0));
  ASSERT_TRUE(file.valid());
  ASSERT_EQ(pwrite(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)),
            static_cast<ssize_t>(bytes.size()));
}

}  // namespace ivmq::testing
