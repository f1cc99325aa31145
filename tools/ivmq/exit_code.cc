#include "exit_code.h"

#include <cstdio>
#include <string>

#include "catalogue.h"
#include "text.h"

namespace ivmq::tool {

ExitCode ExitCodeOf(const Status& status) {
  switch (status.code()) {
    case StatusCode::kOk:
      return kExitOk;
    case StatusCode::kInvalidArgument:
      return kExitUsage;
    case StatusCode::kNotFound:
      return kExitNotFound;
    case StatusCode::kDeadlineExceeded:
      return kExitTimedOut;
    default:
      return kExitFailed;
  }
}

void Complain(std::string_view text) {
  // One write, so that the lines of several threads and processes do not mix.
  const std::string line = "ivmq: " + Printable(text) + "\n";
  (void)std::fwrite(line.data(), 1, line.size(), stderr);
}

void Complain(const Status& status) {
  const Entry* const entry = EntryOfMessage(status.message());
  Complain(entry == nullptr ? status.message()
                            : status.message() + " [" + std::string(entry->id) + "]");
}

ExitCode Fail(const Status& status) {
  Complain(status);
  return ExitCodeOf(status);
}

}  // namespace ivmq::tool
