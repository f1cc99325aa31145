#include "slots.h"

#include <unistd.h>

#include <array>
#include <cstdint>

#include "ivmq/internal/layout.h"

namespace ivmq::testing {
namespace {

using layout::Header;
using layout::Life;
using layout::PeerSlot;
using layout::PeerState;

std::array<std::uint64_t, 2> BootId() {
  std::FILE* file = std::fopen("/proc/sys/kernel/random/boot_id", "r");
  std::array<char, 64> text{};
  if (file == nullptr || std::fgets(text.data(), text.size(), file) == nullptr) Die("boot_id");
  std::fclose(file);
  std::array<std::uint64_t, 2> id{};
  unsigned digits = 0;
  for (const char c : text) {
    const char* hex = "0123456789abcdef";
    const char* found = c != '\0' ? std::strchr(hex, c) : nullptr;
    if (found == nullptr || digits == 32) continue;
    id[digits / 16] = id[digits / 16] << 4 | static_cast<std::uint64_t>(found - hex);
    ++digits;
  }
  return id;
}

PeerSlot& SlotAt(char* base, unsigned slot) {
  const auto* header = reinterpret_cast<const Header*>(base);
  return reinterpret_cast<PeerSlot*>(base + header->peer_table_offset)[slot];
}

}  // namespace

ivmq_slot SlotArgs(const ivmq_info& info, unsigned slot, unsigned incarnation) {
  const auto id = BootId();
  ivmq_slot args{};
  args.live_word = Life{incarnation, static_cast<std::uint16_t>(info.ivposition),
                        layout::kPeerCanRing | layout::kPeerWakeable, PeerState::kLive}
                       .ToWord();
  args.boot_id[0] = id[0];
  args.boot_id[1] = id[1];
  args.slot = slot;
  return args;
}

void CheckRegistration(const char* device, const ivmq_info& info) {
  const int fd = Open(device);
  ivmq_slot args = SlotArgs(info, 0, 1);
  CHECK_FAILS(EPERM, ioctl(fd, IVMQ_IOC_REGISTER_SLOT, &args));  // not mapped
  char* base = Map(fd, info.region_size);
  CHECK(base != nullptr);
  if (base == nullptr) return;
  auto* header = reinterpret_cast<Header*>(base);
  const auto refused = [&](const ivmq_slot& slot) {
    return ioctl(fd, IVMQ_IOC_REGISTER_SLOT, &slot);
  };
  args.slot = header->max_peers;
  CHECK_FAILS(EINVAL, refused(args));
  args.slot = 0xffffffff;
  CHECK_FAILS(EINVAL, refused(args));
  args.slot = 0;
  args.reserved = 1;
  CHECK_FAILS(EINVAL, refused(args));
  args.reserved = 0;
  for (const std::uint64_t flip : {1ULL, 0x1000ULL, 0x10000ULL}) {  // state, flags, ivposition
    ivmq_slot wrong = args;
    wrong.live_word ^= flip;
    CHECK_FAILS(EINVAL, refused(wrong));
  }
  std::uint32_t none = 0;
  CHECK_FAILS(EINVAL, ioctl(fd, IVMQ_IOC_UNREGISTER_SLOT, &none));
  // Whatever the header says.
  const auto with = [&](auto& field, auto value, int error) {
    const auto before = field;
    field = value;
    CHECK_FAILS(error, refused(args));
    field = before;
  };
  const std::uint64_t magic = header->magic;
  header->magic = 0;
  CHECK_FAILS(ENODATA, refused(args));
  header->magic = magic;
  const std::uint32_t version = header->version;
  header->version = 1U << 16;
  CHECK_FAILS(EPROTONOSUPPORT, refused(args));
  header->version = version;
  for (const std::uint64_t offset :
       {std::uint64_t{0}, std::uint64_t{4095}, std::uint64_t{4097}, std::uint64_t{info.region_size},
        std::uint64_t{info.region_size - 4096}, ~std::uint64_t{0} - 4095, ~std::uint64_t{7},
        std::uint64_t{1} << 63}) {
    with(header->peer_table_offset, offset, ENODATA);
  }
  for (const std::uint32_t peers : {0U, 1025U, 0xffffffffU, 1024U}) {
    // 1024 slots do not fit into the region of the test.
    with(header->max_peers, peers, ENODATA);
  }
  with(header->peer_stride, 2048U, ENODATA);
  // Good again.
  CHECK(refused(args) == 0 && refused(args) == 0);
  const int other = Open(device);
  CHECK(Map(other, info.region_size) != nullptr);
  CHECK_FAILS(EBUSY, ioctl(other, IVMQ_IOC_REGISTER_SLOT, &args));
  ivmq_slot next = SlotArgs(info, 0, 2);
  CHECK(ioctl(other, IVMQ_IOC_REGISTER_SLOT, &next) == 0);
  CHECK(ioctl(fd, IVMQ_IOC_UNREGISTER_SLOT, &none) == 0);
  CHECK(ioctl(other, IVMQ_IOC_REGISTER_SLOT, &args) == 0);
  std::uint32_t slots = 0;
  while (slots < header->max_peers && slots < IVMQ_SLOT_LIMIT) {
    args = SlotArgs(info, slots++, 7);
    CHECK(refused(args) == 0);
  }
  if (slots < header->max_peers) {
    args.slot = slots;
    CHECK_FAILS(ENOSPC, refused(args));
  }
  // The geometry changes after the registration: the end of this process must not follow it.
  header->peer_table_offset = ~std::uint64_t{0} - 4095;
  header->max_peers = 0xffffffff;
  header->peer_stride = 1U << 31;
  for (std::uint32_t i = 0; i < 8; ++i) {
    PeerSlot& slot = reinterpret_cast<PeerSlot*>(base + 4096)[i];
    slot.life = Life{9, 0xfffe, 7, PeerState::kLive}.ToWord();
    slot.vector = 0xffffffff;
    slot.armed = 1;
  }
  reinterpret_cast<PeerSlot*>(base + 4096)[1].life = SlotArgs(info, 1, 7).live_word;
  close(other);
  munmap(base, info.region_size);
  base = Map(fd, info.region_size);
  CHECK(base != nullptr);
  if (base == nullptr) return;
  header = reinterpret_cast<Header*>(base);
  if ((info.flags & IVMQ_INFO_DOORBELL) != 0) {
    CHECK(Life::FromWord(reinterpret_cast<PeerSlot*>(base + 4096)[1].life).state ==
          PeerState::kDead);
  }
  munmap(base, info.region_size);
  close(fd);
}

int LiveIn(const char* device, unsigned slot, unsigned incarnation, bool claiming,
           bool with_child) {
  const int fd = Open(device);
  const ivmq_info info = Info(fd);
  char* base = Map(fd, info.region_size);
  if (base == nullptr) Die("mmap");
  const ivmq_slot args = SlotArgs(info, slot, incarnation);
  if (ioctl(fd, IVMQ_IOC_REGISTER_SLOT, &args) != 0) Die("IVMQ_IOC_REGISTER_SLOT");
  PeerSlot& own = SlotAt(base, slot);
  Life life = Life::FromWord(args.live_word);
  life.state = PeerState::kClaiming;
  own.life.store(life.ToWord());
  own.boot_id[0].store(args.boot_id[0]);
  own.boot_id[1].store(args.boot_id[1]);
  if ((info.flags & IVMQ_INFO_DOORBELL) != 0) own.vector.store(TakeVector(fd, "any", -1));
  own.name_incarnation.store(incarnation);
  if (!claiming) own.life.store(args.live_word);
  own.armed.store(1);
  if (with_child && fork() == 0) {
    // It has the file but not the memory.
    std::array<unsigned char, 1> resident{};
    CHECK_FAILS(ENOMEM, mincore(base, 4096, resident.data()));
    CHECK_FAILS(EPERM, (errno = 0, Map(fd, 4096) == nullptr ? -1 : 0));
    CHECK_FAILS(EPERM, ioctl(fd, IVMQ_IOC_REGISTER_SLOT, &args));
    CHECK_FAILS(EPERM, ioctl(fd, IVMQ_IOC_UNREGISTER_SLOT, &args.slot));
    setsid();
    std::printf(failures == 0 ? "child ready\n" : "child wrong\n");
    for (;;) pause();
  }
  std::printf("live\n");
  if ((info.flags & IVMQ_INFO_DOORBELL) == 0) {
    for (;;) pause();
  }
  for (;;) {
    std::uint64_t rings = 0;
    if (read(fd, &rings, sizeof rings) != sizeof rings) Die("read");
    std::printf("rung\n");
  }
}

int Register(const char* device, unsigned slot, unsigned incarnation) {
  const int fd = Open(device);
  const ivmq_info info = Info(fd);
  if (Map(fd, info.region_size) == nullptr) Die("mmap");
  const ivmq_slot args = SlotArgs(info, slot, incarnation);
  if (ioctl(fd, IVMQ_IOC_REGISTER_SLOT, &args) != 0) Die("IVMQ_IOC_REGISTER_SLOT");
  std::printf("registered\n");
  for (;;) pause();
}

}  // namespace ivmq::testing
