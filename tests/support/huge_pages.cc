#include "support/huge_pages.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include <gtest/gtest.h>

namespace ivmq::testing {
namespace {

constexpr const char* kReserved = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

}  // namespace

HugePages::HugePages(int count) : fd_(open(kReserved, O_RDWR | O_CLOEXEC)) {
  if (fd_ < 0) {
    ADD_FAILURE() << "this test reserves huge pages: run it as root, on a kernel that has them: "
                  << kReserved << ": " << std::strerror(errno);
    return;
  }
  while (flock(fd_, LOCK_EX) != 0 && errno == EINTR) {
  }
  before_ = Read();
  Write(before_ + count);
  EXPECT_GE(Read(), before_ + count)
      << "this machine has no memory in one piece for " << count << " huge pages of 2 MiB";
}

HugePages::~HugePages() {
  if (fd_ < 0) return;
  Write(before_);
  close(fd_);
}

int HugePages::Read() const {
  std::array<char, 16> text{};
  return pread(fd_, text.data(), text.size() - 1, 0) > 0 ? std::atoi(text.data()) : -1;
}

void HugePages::Write(int pages) const {
  const std::string text = std::to_string(pages);
  EXPECT_EQ(pwrite(fd_, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()))
      << kReserved << ": " << std::strerror(errno);
}

}  // namespace ivmq::testing
