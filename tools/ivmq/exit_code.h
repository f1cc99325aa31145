// What the tool's exit status means, and how a command ends with an error.
#ifndef IVMQ_TOOLS_IVMQ_EXIT_CODE_H_
#define IVMQ_TOOLS_IVMQ_EXIT_CODE_H_

#include <string_view>

#include "ivmq/status.h"

namespace ivmq::tool {

enum ExitCode : int {
  kExitOk = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitNotFound = 3,
  kExitTimedOut = 4,
  kExitDropped = 5,
  kExitDamaged = 6,
  kExitCallStatus = 64,
  kExitInterrupted = 130,
};

// The same for `ivmq --help`.
inline constexpr const char* kExitCodeHelp =
    R"(Exit status:
  0     done
  1     failed: no permission, no ivmq region, the peer went away, ...
  2     wrong usage
  3     not there: no such region, server or peer
  4     timed out: no answer, no message, no subscriber, no ring, no room in time
  5     send --drop dropped messages
  6     dump, fsck: the region is damaged
  65..  call: the call ended with the status 1.. of google.rpc.Code, 69 is NOT_FOUND
  130   SIGINT or SIGTERM came before the requested COUNT was reached
`ivmq explain` says more: of a status, of a message, of the [id] behind it.)";

// The exit status that fits an error.
ExitCode ExitCodeOf(const Status& status);

// Prints "ivmq: TEXT" to standard error. What the region may have put into it is made harmless.
void Complain(std::string_view text);

// The same of an error, with the id of its entry of the catalogue if there is one.
void Complain(const Status& status);

// Complains and returns the exit status. REQUIRES: !status.ok()
ExitCode Fail(const Status& status);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_EXIT_CODE_H_
