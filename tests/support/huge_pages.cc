#include "support/huge_pages.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mount.h>
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

HugePageFolder::HugePageFolder() {
  const int context = fsopen("hugetlbfs", FSOPEN_CLOEXEC);
  if (context >= 0 && fsconfig(context, FSCONFIG_SET_STRING, "pagesize", "2M", 0) == 0 &&
      fsconfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0) {
    mount_ = fsmount(context, FSMOUNT_CLOEXEC, 0);
  }
  EXPECT_GE(mount_, 0) << "this test mounts a hugetlbfs: run it as root: " << std::strerror(errno);
  if (context >= 0) close(context);
}

HugePageFolder::~HugePageFolder() {
  if (mount_ >= 0) close(mount_);
}

std::string HugePageFolder::operator/(const std::string& name) const {
  return "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(mount_) + "/" + name;
}

}  // namespace ivmq::testing
