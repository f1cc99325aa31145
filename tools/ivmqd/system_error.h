// errno as a Status.
#ifndef IVMQ_TOOLS_IVMQD_SYSTEM_ERROR_H_
#define IVMQ_TOOLS_IVMQD_SYSTEM_ERROR_H_

#include <cerrno>
#include <string>

#include "ivmq/status.h"

#include "src/text.h"

namespace ivmq::server {

// "`what`: No such file or directory" with the fitting code.
inline Status SystemError(int error, const std::string& what) {
  StatusCode code = StatusCode::kUnavailable;
  switch (error) {
    case EACCES:
    case EPERM:
    case EROFS:
      code = StatusCode::kPermissionDenied;
      break;
    case ENOENT:
    case ENOTDIR:
      code = StatusCode::kNotFound;
      break;
    case ENOMEM:
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case EFBIG:
      code = StatusCode::kResourceExhausted;
      break;
    case EINVAL:
    case ENAMETOOLONG:
      code = StatusCode::kInvalidArgument;
      break;
    default:
      break;
  }
  return {code, what + ": " + ErrnoText(error)};
}

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_SYSTEM_ERROR_H_
