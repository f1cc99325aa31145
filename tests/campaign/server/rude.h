// Clients of the server that do not behave.
#ifndef IVMQ_TESTS_CAMPAIGN_SERVER_RUDE_H_
#define IVMQ_TESTS_CAMPAIGN_SERVER_RUDE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "server/stage.h"

namespace ivmq::campaign {

enum class Manner : std::uint8_t {
  kHasty,    // connects and goes away, thousands of times
  kSilent,   // reads nothing
  kSlow,     // reads a byte now and then
  kGarbage,  // writes, and sends descriptors; the protocol has nothing that a client says
  kGreedy,   // reads all, and keeps as many connections as it can get
  kCount,
};
inline constexpr std::array<std::string_view, static_cast<std::size_t>(Manner::kCount)> kManners{
    "hasty", "silent", "slow", "garbage", "greedy"};

// Until the stage settles. `most_connections`: that it keeps at once.
int RunRude(Stage& stage, const std::string& socket, Manner manner, std::size_t most_connections,
            std::uint64_t seed);

}  // namespace ivmq::campaign

#endif  // IVMQ_TESTS_CAMPAIGN_SERVER_RUDE_H_
