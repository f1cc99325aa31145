// Asks a server at its control socket (docs/operations.md).
#ifndef IVMQ_TOOLS_IVMQ_CONTROL_CLIENT_H_
#define IVMQ_TOOLS_IVMQ_CONTROL_CLIENT_H_

#include <string>

#include "ivmq/status.h"

#include "output.h"

namespace ivmq::tool {

// Where the server at unix:PATH has its control socket, if it was not told otherwise.
// FAILED_PRECONDITION: the address is not that of a server.
Result<std::string> ControlPathOf(const std::string& address);

// The answer of the server behind the control socket at `path`: an object. Waits for it for a few
// seconds. Errors start with the path.
//   NOT_FOUND, UNAVAILABLE, PERMISSION_DENIED  there is no such socket, no server, no permission
//   DEADLINE_EXCEEDED  no answer
//   DATA_LOSS          the answer is none
//   others             what the server says
Result<Json> AskServer(const std::string& path, const Json& request);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_CONTROL_CLIENT_H_
