// What `ivmq doctor` says about the memory behind an address.
#ifndef IVMQ_TOOLS_IVMQ_REGION_CHECK_H_
#define IVMQ_TOOLS_IVMQ_REGION_CHECK_H_

#include <string>

#include "ivmq/address.h"

#include "findings.h"

namespace ivmq::tool {

struct RegionHome {
  std::string subject;            // of the findings, the address
  std::string format;             // the command that formats it
  Findings::Remedies uncached{};  // what makes an uncached mapping cached
  bool on_host = true;            // the server, if any, is a process of this machine
  bool served = false;            // by an ivshmem server
};

// Checks the format, the server that keeps it, the peers, and how the memory is mapped. Only reads.
void CheckRegion(const RegionMemory& memory, const RegionHome& home, Findings* findings);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_REGION_CHECK_H_
