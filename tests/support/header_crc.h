// CRC32C of a region's immutable header bytes, written down a second time, independently of core.
#ifndef IVMQ_TESTS_SUPPORT_HEADER_CRC_H_
#define IVMQ_TESTS_SUPPORT_HEADER_CRC_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "ivmq/internal/layout.h"

namespace ivmq::testing {

// Reflected, polynomial 0x1EDC6F41, initial value and final XOR all ones. Of "123456789":
// 0xE3069283.
inline std::uint32_t Crc32c(std::span<const std::byte> bytes, std::uint32_t crc = 0) noexcept {
  crc = ~crc;
  for (const std::byte byte : bytes) {
    crc ^= std::to_integer<std::uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (0x82F63B78U & (0U - (crc & 1)));
  }
  return ~crc;
}

// Bytes 0-11 and 16-127. REQUIRES: at least kHeaderImmutableBytes.
inline std::uint32_t HeaderCrc(std::span<const std::byte> region) noexcept {
  const std::uint32_t head = Crc32c(region.first(offsetof(layout::Header, crc)));
  return Crc32c(region.subspan(16, layout::kHeaderImmutableBytes - 16), head);
}

// Makes the header's CRC that of its bytes, whatever they are.
inline void RepairHeaderCrc(std::span<std::byte> region) noexcept {
  const std::uint32_t crc = HeaderCrc(region);
  std::memcpy(region.data() + offsetof(layout::Header, crc), &crc, sizeof(crc));
}

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_SUPPORT_HEADER_CRC_H_
