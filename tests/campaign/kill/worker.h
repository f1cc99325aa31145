// One life of a process of the mesh: sends to all others and receives from them, until it is
// killed, asked to leave, or the campaign ends.
#ifndef IVMQ_TESTS_CAMPAIGN_KILL_WORKER_H_
#define IVMQ_TESTS_CAMPAIGN_KILL_WORKER_H_

#include <chrono>
#include <cstdint>
#include <string>

#include "kill/ledger.h"

namespace ivmq::campaign {

// The longest that a send may wait; what takes longer has not ended.
inline constexpr std::chrono::seconds kSendTimeout{2};
// The longest that a name may stay taken by a former life of the same process.
inline constexpr std::chrono::seconds kOpenTimeout{20};

// Returns the exit status of the process. `log`: a file that on_report appends to.
int RunWorker(const Ledger& ledger, const std::string& address, std::uint32_t self,
              std::uint64_t seed, const std::string& log);

}  // namespace ivmq::campaign

#endif  // IVMQ_TESTS_CAMPAIGN_KILL_WORKER_H_
