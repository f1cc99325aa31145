// The region as a process sees it in its memory.
#ifndef IVMQ_TESTS_QEMU_DRIVER_GUEST_MEMORY_H_
#define IVMQ_TESTS_QEMU_DRIVER_GUEST_MEMORY_H_

#include <cstddef>

#include "device.h"

namespace ivmq::testing {

// The signal that reading the byte raises; 0: none.
int Touch(const volatile char* byte);

// As a debugger reads and writes the word at the end of a page, and the page behind it.
void CheckDebugger(char* word);

// What was the region is the process's own memory now: zero at first, and each page another one.
void CheckOwnMemory(char* base, std::size_t size);

void CheckMappings(const char* device, const ivmq_info& info);

// Commands; see main.cc.
int Poke(const char* device, const char* offset, const char* value);
int Huge(const char* device);

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_QEMU_DRIVER_GUEST_MEMORY_H_
