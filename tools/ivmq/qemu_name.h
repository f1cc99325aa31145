// What the user of a QEMU calls it.
#ifndef IVMQ_TOOLS_IVMQ_QEMU_NAME_H_
#define IVMQ_TOOLS_IVMQ_QEMU_NAME_H_

#include <sys/types.h>

#include <string>
#include <vector>

namespace ivmq::tool {

// The guest's name in QEMU's -name option, "" if there is none.
std::string QemuNameIn(const std::vector<std::string>& arguments);

// That of a process. A process can make whoever reads its command line wait: so the server does not
// do that.
std::string QemuNameOf(pid_t pid);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_QEMU_NAME_H_
