#include "descriptor_store.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string_view>

#include <fmt/format.h>
#include <systemd/sd-daemon.h>

namespace ivmq::server {

std::vector<PassedFd> TakePassedFds() {
  std::vector<PassedFd> passed;
  char** names = nullptr;
  const int count = sd_listen_fds_with_names(/*unset_environment=*/1, &names);
  for (int i = 0; i < count; ++i) {
    UniqueFd fd(SD_LISTEN_FDS_START + i);
    (void)fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
    passed.push_back({names[i], std::move(fd)});
    free(names[i]);  // NOLINT(cppcoreguidelines-no-malloc): sd_listen_fds_with_names() says so
  }
  free(static_cast<void*>(names));  // NOLINT(cppcoreguidelines-no-malloc)
  const auto next = static_cast<unsigned>(SD_LISTEN_FDS_START + std::max(count, 0));
  (void)syscall(SYS_close_range, next, ~0U, 0U);
  return passed;
}

std::size_t StoreCapacity() {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): at start, before anything else runs
  const char* const text = std::getenv("FDSTORE");
  // NOLINTNEXTLINE(concurrency-mt-unsafe)
  if (text == nullptr || std::getenv("NOTIFY_SOCKET") == nullptr) return 0;
  const std::string_view number = text;
  std::size_t capacity = 0;
  (void)std::from_chars(number.begin(), number.end(), capacity);
  return capacity;
}

void DescriptorStore::Keep(int fd, std::uint32_t key) const {
  if (!is_on()) return;
  // Without FDPOLL=0 systemd would drop a connection whose client has ended.
  const std::string state = fmt::format("FDSTORE=1\nFDPOLL=0\nFDNAME={}{}", kPrefix, key);
  (void)sd_pid_notify_with_fds(0, 0, state.c_str(), &fd, 1);
}

void DescriptorStore::Drop(std::uint32_t key) const {
  if (!is_on() || !drops_ || key == 0) return;
  (void)sd_notify(0, fmt::format("FDSTOREREMOVE=1\nFDNAME={}{}", kPrefix, key).c_str());
}

void DescriptorStore::Flush() const {
  constexpr std::uint64_t kPatienceMicroseconds = 5'000'000;
  if (is_on()) (void)sd_notify_barrier(0, kPatienceMicroseconds);
}

std::uint32_t KeyOf(const std::string& name) {
  const std::string_view prefix = DescriptorStore::kPrefix;
  std::uint32_t key = 0;
  if (!std::string_view(name).starts_with(prefix)) return 0;
  const char* const start = name.data() + prefix.size();
  (void)std::from_chars(start, name.data() + name.size(), key);
  return key;
}

}  // namespace ivmq::server
