// Users and groups.
#ifndef IVMQ_TOOLS_IVMQ_USER_NAMES_H_
#define IVMQ_TOOLS_IVMQ_USER_NAMES_H_

#include <sys/types.h>

#include <optional>
#include <string>

namespace ivmq::tool {

// The number in digits where there is no name.
std::string UserName(uid_t uid);
std::string GroupName(gid_t gid);

// The group with that name or, whether it has a name or not, that number; nothing: it is neither.
std::optional<gid_t> FindGroup(const std::string& name);

// Whether the user is entered as a member of the group. A process has the groups of its login.
bool IsMember(uid_t uid, gid_t gid);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_USER_NAMES_H_
