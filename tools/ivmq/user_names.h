// Names of users and groups.
#ifndef IVMQ_TOOLS_IVMQ_USER_NAMES_H_
#define IVMQ_TOOLS_IVMQ_USER_NAMES_H_

#include <sys/types.h>

#include <string>

namespace ivmq::tool {

// The number in digits where there is no name.
std::string UserName(uid_t uid);
std::string GroupName(gid_t gid);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_USER_NAMES_H_
