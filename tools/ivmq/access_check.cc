#include "access_check.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "user_names.h"

namespace ivmq::tool {

bool Exists(const std::string& path) {
  struct stat file {};
  return stat(path.c_str(), &file) == 0;
}

bool CheckAccess(const std::string& subject, const std::string& path, Findings* findings,
                 Findings::Remedies no_group) {
  struct stat file {};
  if (stat(path.c_str(), &file) != 0) {
    findings->Problem(subject, fmt::format("{}: {}", path, std::generic_category().message(errno)));
    return false;
  }
  const std::string owner = UserName(file.st_uid);
  const std::string group = GroupName(file.st_gid);
  const std::string belongs =
      fmt::format("belongs to {}:{} with mode {:04o}", owner, group, file.st_mode & 07777U);
  if (faccessat(AT_FDCWD, path.c_str(), R_OK | W_OK, AT_EACCESS) == 0) return true;
  const std::string user = UserName(geteuid());
  Findings::Remedies remedies = std::move(no_group);
  constexpr mode_t kGroupMay = S_IRGRP | S_IWGRP;
  if (file.st_gid != 0 && (file.st_mode & kGroupMay) == kGroupMay) {
    remedies = {fmt::format("usermod -aG {} {}   # as root; then log in again", ShellWord(group),
                            ShellWord(user))};
  } else if (remedies.empty()) {
    remedies = {fmt::format("chgrp {1} {0} && chmod 0660 {0}   # as root, or as {2}",
                            ShellWord(path), ShellWord(GroupName(getegid())), owner)};
  }
  findings->Problem(subject, fmt::format("{} {}; the user {} may not use it", path, belongs, user),
                    std::move(remedies));
  return false;
}

void CheckPublic(const std::string& subject, const std::string& path, Findings* findings) {
  struct stat file {};
  if (stat(path.c_str(), &file) != 0 || (file.st_mode & S_IWOTH) == 0) return;
  findings->Note(
      subject,
      fmt::format("{} has mode {:04o}: everybody on this machine may write to the region", path,
                  file.st_mode & 07777U),
      {fmt::format("chmod o= {}", ShellWord(path))});
}

}  // namespace ivmq::tool
