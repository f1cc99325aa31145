// What `ivmq doctor` says about the ivshmem devices of a guest.
#ifndef IVMQ_TOOLS_IVMQ_DEVICE_CHECK_H_
#define IVMQ_TOOLS_IVMQ_DEVICE_CHECK_H_

#include <cstddef>
#include <string>

#include "findings.h"

namespace ivmq::tool {

// pci:, ivmq: and vfio:.
bool IsDeviceAddress(const std::string& address);

// Checks all devices under `devices`; returns how many there are. Of those that are clearly others'
// it says so, and checks them only if ivmq has none.
std::size_t CheckDevices(const std::string& devices, Findings* findings);

// Checks the device of an address that IsDeviceAddress(), and that it is to be reached so.
// pci:auto: as CheckDevices(), and none is a problem.
void CheckDeviceAt(const std::string& devices, const std::string& address, Findings* findings);

// What a machine without a device needs to become a guest of ivmq.
Findings::Remedies NoDeviceRemedies();

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_DEVICE_CHECK_H_
