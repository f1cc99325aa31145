// Slots of the peer table, as a process registers and claims them.
#ifndef IVMQ_TESTS_QEMU_DRIVER_GUEST_SLOTS_H_
#define IVMQ_TESTS_QEMU_DRIVER_GUEST_SLOTS_H_

#include "device.h"

namespace ivmq::testing {

// To register a slot that this process is about to claim.
ivmq_slot SlotArgs(const ivmq_info& info, unsigned slot, unsigned incarnation);

void CheckRegistration(const char* device, const ivmq_info& info);

// Commands; see main.cc.
int LiveIn(const char* device, unsigned slot, unsigned incarnation, bool claiming, bool with_child);
int Register(const char* device, unsigned slot, unsigned incarnation);

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_QEMU_DRIVER_GUEST_SLOTS_H_
