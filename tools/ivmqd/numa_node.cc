#include "numa_node.h"

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <fstream>
#include <sstream>
#include <string>

#include <fmt/format.h>

#include "src/text.h"
#include "system_error.h"

namespace ivmq::server {
namespace {

constexpr const char* kNodes = "/sys/devices/system/node";
constexpr std::size_t kWordBits = sizeof(unsigned long) * CHAR_BIT;
// As many as a kernel can be built for. It takes one bit less than it is told.
constexpr std::size_t kMostNodes = 1024;
constexpr std::size_t kMaskBits = kMostNodes + 1;

// Where the calling thread's memory comes from.
struct Policy {
  int mode = MPOL_DEFAULT;
  std::array<unsigned long, kMostNodes / kWordBits> nodes{};
};

bool GetPolicy(Policy& policy) {
  return syscall(SYS_get_mempolicy, &policy.mode, policy.nodes.data(), kMostNodes, nullptr, 0) == 0;
}

bool SetPolicy(const Policy& policy) {
  const bool is_default = policy.mode == MPOL_DEFAULT;
  return syscall(SYS_set_mempolicy, policy.mode, is_default ? nullptr : policy.nodes.data(),
                 is_default ? 0 : kMaskBits) == 0;
}

std::string NodesWithMemory() {
  std::string nodes;
  std::ifstream(fmt::format("{}/has_memory", kNodes)) >> nodes;
  return nodes.empty() ? "none" : nodes;
}

Status NoNode(std::uint32_t node) {
  return {StatusCode::kInvalidArgument,
          fmt::format("--numa-node {}: no node of this number has memory here; those that have: {}",
                      node, NodesWithMemory())};
}

// What ordinary pages of a node can be allocated, as far as nobody else is quicker.
std::uint64_t AvailableOn(std::uint32_t node) {
  std::ifstream file(fmt::format("{}/node{}/meminfo", kNodes, node));
  std::uint64_t bytes = 0;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string word;
    std::string name;
    std::uint64_t kilobytes = 0;
    if (words >> word >> word >> name >> kilobytes &&
        (name == "MemFree:" || name == "Active(file):" || name == "Inactive(file):" ||
         name == "SReclaimable:")) {
      bytes += kilobytes << 10;
    }
  }
  return bytes;
}

}  // namespace

Status AllocateOnNode(std::optional<std::uint32_t> node, std::uint64_t bytes,
                      const std::function<Status()>& allocate) {
  if (!node) return allocate();
  if (*node >= kMostNodes) return NoNode(*node);
  Policy before;
  Policy wanted{.mode = MPOL_BIND};
  wanted.nodes[*node / kWordBits] = 1UL << (*node % kWordBits);
  if (!GetPolicy(before) || !SetPolicy(wanted)) {
    if (errno == EINVAL) return NoNode(*node);
    return SystemError(errno, fmt::format("--numa-node {}", *node));
  }
  Status status;
  if (const std::uint64_t available = AvailableOn(*node); bytes > available) {
    status = {StatusCode::kResourceExhausted,
              fmt::format("--numa-node {}: the node has {} of memory left, and {} are wanted",
                          *node, SizeText(available), SizeText(bytes))};
  } else {
    status = allocate();
    if (status.code() == StatusCode::kResourceExhausted) {
      status = {status.code(), fmt::format("{}. Of --numa-node {} only: see {}/node{}/hugepages",
                                           status.message(), *node, kNodes, *node)};
    }
  }
  (void)SetPolicy(before);
  return status;
}

}  // namespace ivmq::server
