// Devices that go while processes use them.
#ifndef IVMQ_TESTS_QEMU_DRIVER_GUEST_END_H_
#define IVMQ_TESTS_QEMU_DRIVER_GUEST_END_H_

namespace ivmq::testing {

// Commands; see main.cc.
int Unplug(const char* device);
int Stress(const char* device, unsigned slot, unsigned count);

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_QEMU_DRIVER_GUEST_END_H_
