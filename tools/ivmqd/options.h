// Checks what the operator asked for, before anything is touched.
#ifndef IVMQ_TOOLS_IVMQD_OPTIONS_H_
#define IVMQ_TOOLS_IVMQD_OPTIONS_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "ivmq/internal/region.h"
#include "ivmq/status.h"

#include "region_server.h"

namespace ivmq::server {

// The options in the form in which the server uses them.
struct CheckedOptions {
  std::string region_path;  // of a file or shm; empty: a memfd
  FormatOptions format;
  std::optional<gid_t> group;
};

// The sizes of huge pages, and what --hugepages calls them; 0: none.
inline constexpr std::uint64_t kHugePages[] = {0, std::uint64_t{2} << 20, std::uint64_t{1} << 30};
std::string HugePageText(std::uint64_t bytes);

// INVALID_ARGUMENT names the option, its value and what it may be; NOT_FOUND an unknown group.
Result<CheckedOptions> CheckOptions(const Options& options);

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_OPTIONS_H_
