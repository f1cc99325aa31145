// The start of a connection to an ivshmem server.
#ifndef IVMQ_TRANSPORTS_SRC_IVSHMEM_SOCKET_H_
#define IVMQ_TRANSPORTS_SRC_IVSHMEM_SOCKET_H_

#include <chrono>
#include <string>
#include <string_view>

#include "ivmq/status.h"

#include "src/ivshmem_protocol.h"
#include "src/unique_fd.h"

namespace ivmq::ivshmem {

using Clock = std::chrono::steady_clock;

// INVALID_ARGUMENT: no socket of ours can have that path, which is too long, empty or abstract.
Status CheckSocketPath(std::string_view path);

// Connects to the socket at `path`; errors as for IvshmemClient::Connect, without the path.
Result<UniqueFd> ConnectSocket(const std::string& path, bool observer, Clock::time_point deadline);

// The error that a failed read stands for. REQUIRES: neither kMessage nor kWouldBlock
Status ReadError(ReadResult result, int error);

// Waits for the next message. DEADLINE_EXCEEDED without a message text of its own, or a ReadError.
Status ReadMessage(MessageReader& reader, int socket, Clock::time_point deadline, Message* message);

// The error if `message` is not the start of a greeting in our protocol version.
Status CheckVersion(const Message& message);

// Takes the shared memory from the server at `path` as an observer, without an id where the server
// allows.
Result<UniqueFd> FetchSharedMemory(const std::string& path, Clock::time_point deadline);

// Milliseconds until `deadline` for poll(2), rounded up; 0 if it has passed.
int PollTimeout(Clock::time_point deadline);

}  // namespace ivmq::ivshmem

#endif  // IVMQ_TRANSPORTS_SRC_IVSHMEM_SOCKET_H_
