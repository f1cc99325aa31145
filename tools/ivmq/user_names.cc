#include "user_names.h"

#include <grp.h>
#include <pwd.h>

namespace ivmq::tool {

std::string UserName(uid_t uid) {
  const passwd* const user = getpwuid(uid);
  return user == nullptr ? std::to_string(uid) : user->pw_name;
}

std::string GroupName(gid_t gid) {
  const group* const found = getgrgid(gid);
  return found == nullptr ? std::to_string(gid) : found->gr_name;
}

}  // namespace ivmq::tool
