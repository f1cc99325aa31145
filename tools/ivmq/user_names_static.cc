// For a program without libraries: it reads the files alone. getpwuid() would load the name services
// of whatever C library is there.
#include <grp.h>
#include <pwd.h>

#include <charconv>
#include <cstdio>
#include <memory>
#include <system_error>

#include "user_names.h"

namespace ivmq::tool {
namespace {

struct Close {
  void operator()(std::FILE* file) const noexcept { (void)std::fclose(file); }
};

std::unique_ptr<std::FILE, Close> Open(const char* path) {
  return std::unique_ptr<std::FILE, Close>(std::fopen(path, "re"));
}

}  // namespace

std::string UserName(uid_t uid) {
  if (const auto file = Open("/etc/passwd")) {
    while (const passwd* const user = fgetpwent(file.get())) {
      if (user->pw_uid == uid) return user->pw_name;
    }
  }
  return std::to_string(uid);
}

std::string GroupName(gid_t gid) {
  if (const auto file = Open("/etc/group")) {
    while (const group* const found = fgetgrent(file.get())) {
      if (found->gr_gid == gid) return found->gr_name;
    }
  }
  return std::to_string(gid);
}

std::optional<gid_t> FindGroup(const std::string& name) {
  if (const auto file = Open("/etc/group")) {
    while (const group* const found = fgetgrent(file.get())) {
      if (name == found->gr_name) return found->gr_gid;
    }
  }
  gid_t gid = 0;
  const char* const end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data(), end, gid);
  if (name.empty() || error != std::errc() || stop != end) return std::nullopt;
  return gid;
}

bool IsMember(uid_t uid, gid_t gid) {
  const std::string user = UserName(uid);
  const auto file = Open("/etc/group");
  while (const group* const found = file == nullptr ? nullptr : fgetgrent(file.get())) {
    if (found->gr_gid != gid) continue;
    for (char** member = found->gr_mem; *member != nullptr; ++member) {
      if (user == *member) return true;
    }
  }
  return false;
}

}  // namespace ivmq::tool
