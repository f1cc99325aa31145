// Clients of the server that behave, each a process.
#ifndef IVMQ_TESTS_CAMPAIGN_SERVER_PEERS_H_
#define IVMQ_TESTS_CAMPAIGN_SERVER_PEERS_H_

#include <cstdint>
#include <string>

#include "server/stage.h"

namespace ivmq::campaign {

// Exchanges messages with the other honest peers, and answers newcomers.
int RunHonest(Stage& stage, const std::string& address, std::uint32_t self, std::uint64_t seed);

// Joins again and again under a new name, and has a peer answer it.
int RunNewcomer(Stage& stage, const std::string& address, std::uint64_t seed);

}  // namespace ivmq::campaign

#endif  // IVMQ_TESTS_CAMPAIGN_SERVER_PEERS_H_
