// Does what users of the demonstration driver "ivpci" know from its program `ioctl`, with the same
// ioctl numbers and the same output. Written anew; it uses nothing of ivmq, as a program that knows
// only ivpci would.
//
//   ivpci_ioctl DEVICE ivposition | wait | ring PEER VECTOR
#include <fcntl.h>
#include <sys/ioctl.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace {

constexpr unsigned long kRing = _IOW('f', 1, std::uint32_t);
constexpr unsigned long kWait = _IO('f', 2);
constexpr unsigned long kIvposition = _IOR('f', 3, std::uint32_t);

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 1;
  const std::string_view command = argv[2];
  const int fd = open(argv[1], O_RDWR);
  std::uint32_t word = 0;
  if (fd < 0 || ioctl(fd, kIvposition, &word) != 0) {
    std::perror(argv[1]);
    return 1;
  }
  std::printf("IVPOSITION: %u\n", word);
  if (command == "ivposition") return 0;
  int result = -1;
  if (command == "wait" && argc == 3) {
    std::printf("wait:\n");
    result = ioctl(fd, kWait, &word);
  } else if (command == "ring" && argc == 5) {
    std::printf("ring:\n");
    word = (static_cast<std::uint32_t>(std::atoi(argv[3])) & 0xffff) << 16 |
           (static_cast<std::uint32_t>(std::atoi(argv[4])) & 0xffff);
    std::printf("arg: 0x%x\n", word);
    result = ioctl(fd, kRing, &word);
  } else {
    return 1;
  }
  std::printf("ioctl finished, returned value: %d\n", result);
  return 0;
}
