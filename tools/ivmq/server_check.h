// What `ivmq doctor` says about regions of a host: a server's, or a file's.
#ifndef IVMQ_TOOLS_IVMQ_SERVER_CHECK_H_
#define IVMQ_TOOLS_IVMQ_SERVER_CHECK_H_

#include <string>
#include <vector>

#include "findings.h"

namespace ivmq::tool {

// The sockets, existing or not, of the servers that run here, and ivmqd's usual one if it exists.
std::vector<std::string> ListServerSockets();

// Checks the server at unix:PATH and its region. Takes no id of ivmqd.
void CheckServerAt(const std::string& address, Findings* findings);

// Checks whether processes of this machine are in regions that nobody can join any more, which is a
// problem, or a note if the caller asked for something else (`is_aside`).
void CheckLostRegions(bool is_aside, Findings* findings);

// Checks the region of file:PATH or shm:/NAME.
void CheckFileAt(const std::string& address, Findings* findings);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_SERVER_CHECK_H_
