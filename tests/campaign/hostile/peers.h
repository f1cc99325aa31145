// The peers of a round, each a process.
#ifndef IVMQ_TESTS_CAMPAIGN_HOSTILE_PEERS_H_
#define IVMQ_TESTS_CAMPAIGN_HOSTILE_PEERS_H_

#include <cstdint>
#include <string>

#include "hostile/stage.h"

namespace ivmq::campaign {

// Exchanges messages and calls with the other spared peers, and sees to it that none is lost; also
// sends to the exposed ones. The exit status of its process.
int RunSpared(Stage& stage, const std::string& address, std::uint32_t self, std::uint64_t seed);

// Uses all that a node and an endpoint offer, on whatever the region says now.
int RunExposed(Stage& stage, const std::string& address, std::uint32_t self, std::uint64_t seed);

}  // namespace ivmq::campaign

#endif  // IVMQ_TESTS_CAMPAIGN_HOSTILE_PEERS_H_
