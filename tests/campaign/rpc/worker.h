// One life of a member: a client and a server of all the others.
#ifndef IVMQ_TESTS_CAMPAIGN_RPC_WORKER_H_
#define IVMQ_TESTS_CAMPAIGN_RPC_WORKER_H_

#include <cstdint>
#include <string>

#include "rpc/book.h"

namespace ivmq::campaign {

// Calls the others until it is killed, asked to leave, or the campaign ends. The exit status.
int RunWorker(Book& book, const std::string& address, std::uint32_t self, std::uint64_t seed);

}  // namespace ivmq::campaign

#endif  // IVMQ_TESTS_CAMPAIGN_RPC_WORKER_H_
