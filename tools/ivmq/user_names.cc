#include "user_names.h"

#include <grp.h>
#include <pwd.h>

#include <charconv>
#include <system_error>

namespace ivmq::tool {

std::string UserName(uid_t uid) {
  const passwd* const user = getpwuid(uid);
  return user == nullptr ? std::to_string(uid) : user->pw_name;
}

std::string GroupName(gid_t gid) {
  const group* const found = getgrgid(gid);
  return found == nullptr ? std::to_string(gid) : found->gr_name;
}

std::optional<gid_t> FindGroup(const std::string& name) {
  if (const group* const found = getgrnam(name.c_str())) return found->gr_gid;
  gid_t gid = 0;
  const char* const end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data(), end, gid);
  if (name.empty() || error != std::errc() || stop != end) return std::nullopt;
  return gid;
}

bool IsMember(uid_t uid, gid_t gid) {
  const std::string user = UserName(uid);
  const group* const found = getgrgid(gid);
  for (char** member = found == nullptr ? nullptr : found->gr_mem;
       member != nullptr && *member != nullptr; ++member) {
    if (user == *member) return true;
  }
  return false;
}

}  // namespace ivmq::tool
