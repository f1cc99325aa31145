// Pieces of error messages.
#ifndef IVMQ_TRANSPORTS_SRC_TEXT_H_
#define IVMQ_TRANSPORTS_SRC_TEXT_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "ivmq/status.h"

namespace ivmq {

// "No such file or directory".
std::string ErrnoText(int error);

// "64 MiB", or "1000 bytes" if it is no whole number of KiB.
std::string SizeText(std::uint64_t bytes);

// Who may open `path` and who tries: "it belongs to uid 0 and gid 0 with mode 0600; this process
// has uid 1000 and gid 1000".
std::string AccessText(const std::string& path);

// " (REASON)", or "" for "".
std::string BecauseText(std::string_view reason);

// `status` with "WHERE: " before its message. REQUIRES: !status.ok()
Status At(std::string_view where, const Status& status);

}  // namespace ivmq

#endif  // IVMQ_TRANSPORTS_SRC_TEXT_H_
