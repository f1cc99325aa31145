// The content of a file.
#ifndef IVMQ_TOOLS_IVMQ_READ_FILE_H_
#define IVMQ_TOOLS_IVMQ_READ_FILE_H_

#include <string>

#include "ivmq/status.h"

namespace ivmq::tool {

// NOT_FOUND, or UNKNOWN with the system's reason.
Result<std::string> ReadFile(const std::string& path);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_READ_FILE_H_
