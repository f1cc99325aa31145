// This process as a client of an ivshmem server, with or without an ivmq region.
#ifndef IVMQ_TOOLS_IVMQ_SERVER_CLIENTS_H_
#define IVMQ_TOOLS_IVMQ_SERVER_CLIENTS_H_

#include <memory>
#include <string>

#include "ivmq/ivshmem_client.h"
#include "ivmq/status.h"

namespace ivmq::tool {

[[nodiscard]] bool IsServerAddress(const std::string& address);

// Connects to unix:PATH and takes all that the server has to tell a newcomer. Errors start with the
// address; FAILED_PRECONDITION for an address without a server.
Result<std::unique_ptr<IvshmemClient>> ConnectAndSettle(const std::string& address);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_SERVER_CLIENTS_H_
