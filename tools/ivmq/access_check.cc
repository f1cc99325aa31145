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
    findings->Problem(errno == EACCES ? Cause("not-permitted") : Cause("no-region-file"), subject,
                      fmt::format("{}: {}", path, std::generic_category().message(errno)));
    return false;
  }
  const std::string owner = UserName(file.st_uid);
  const std::string group = GroupName(file.st_gid);
  const std::string belongs =
      fmt::format("belongs to {}:{} with mode {:04o}", owner, group, file.st_mode & 07777U);
  if (faccessat(AT_FDCWD, path.c_str(), R_OK | W_OK, AT_EACCESS) == 0) return true;
  const std::string user = UserName(geteuid());
  const std::string text = fmt::format("{} {}; the user {} may not use it", path, belongs, user);
  constexpr mode_t kGroupMay = S_IRGRP | S_IWGRP;
  const bool group_may = file.st_gid != 0 && (file.st_mode & kGroupMay) == kGroupMay;
  if (group_may && group == fmt::to_string(file.st_gid)) {
    findings->Problem(
        "missing-group", subject,
        fmt::format("{}, and its group is {}, which is no group of this machine", text,
                    file.st_gid),
        {fmt::format("groupadd -g {} ivmq && usermod -aG ivmq {}   # as root; then log "
                     "in again",
                     file.st_gid, ShellWord(user))});
    return false;
  }
  if (group_may && IsMember(geteuid(), file.st_gid)) {
    findings->Problem("login-again", subject,
                      fmt::format("{}: it is a member of {}, but this process is older than the "
                                  "membership",
                                  text, group),
                      {fmt::format("newgrp {}   # or log in again", ShellWord(group))});
    return false;
  }
  Findings::Remedies remedies = std::move(no_group);
  if (group_may) {
    remedies = {fmt::format("usermod -aG {} {}   # as root; then log in again", ShellWord(group),
                            ShellWord(user))};
  } else if (remedies.empty()) {
    remedies = {fmt::format("chgrp {1} {0} && chmod 0660 {0}   # as {2}", ShellWord(path),
                            ShellWord(GroupName(getegid())),
                            owner == "root" ? "root" : "root, or as " + owner)};
  }
  findings->Problem("not-permitted", subject, text, std::move(remedies));
  return false;
}

void CheckPublic(const std::string& subject, const std::string& path, Findings* findings) {
  struct stat file {};
  if (stat(path.c_str(), &file) != 0 || (file.st_mode & S_IWOTH) == 0) return;
  findings->Note(
      "everybody-may-write", subject,
      fmt::format("{} has mode {:04o}: everybody on this machine may write to the region", path,
                  file.st_mode & 07777U),
      {fmt::format("chmod o= {}", ShellWord(path))});
}

}  // namespace ivmq::tool
