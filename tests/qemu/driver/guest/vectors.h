// Vectors, and the rings that arrive at them.
#ifndef IVMQ_TESTS_QEMU_DRIVER_GUEST_VECTORS_H_
#define IVMQ_TESTS_QEMU_DRIVER_GUEST_VECTORS_H_

#include <string>

#include "device.h"

namespace ivmq::testing {

void CheckVectors(const char* device, const ivmq_info& info);
void CheckReadWithoutVectors(const char* device);

// Commands; see main.cc.
int Hear(const char* device, const std::string& how, const std::string& which, unsigned count);
int PingPong(const char* device, unsigned peer, unsigned vector, const std::string& own,
             unsigned count, bool first);

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_QEMU_DRIVER_GUEST_VECTORS_H_
