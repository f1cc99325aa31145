#include "options.h"

#include <grp.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <iterator>
#include <optional>
#include <string>

#include <fmt/format.h>

#include "id_pool.h"
#include "src/ivshmem_protocol.h"
#include "src/ivshmem_socket.h"
#include "src/region_file.h"
#include "src/text.h"

namespace ivmq::server {
namespace {

Status Invalid(std::string message) { return {StatusCode::kInvalidArgument, std::move(message)}; }

Result<gid_t> GroupId(const std::string& group) {
  gid_t id = 0;
  const char* const end = group.data() + group.size();
  if (const auto [stop, error] = std::from_chars(group.data(), end, id);
      error == std::errc{} && stop == end) {
    return id;
  }
  // NOLINTNEXTLINE(concurrency-mt-unsafe): at start, before anything else runs
  const struct group* const entry = getgrnam(group.c_str());
  if (entry == nullptr) {
    return Status(
        StatusCode::kNotFound,
        fmt::format("--group {}: there is no such group; create it with `groupadd {}`, or "
                    "give a number",
                    group, group));
  }
  return entry->gr_gid;
}

}  // namespace

std::string HugePageText(std::uint64_t bytes) {
  if (bytes == 0) return "none";
  return bytes >> 30 != 0 ? fmt::format("{}G", bytes >> 30) : fmt::format("{}M", bytes >> 20);
}

Result<CheckedOptions> CheckOptions(const Options& options) {
  CheckedOptions checked;
  if (options.socket.empty()) return Invalid("--socket: a path is required");
  if (const Status path = ivshmem::CheckSocketPath(options.socket); !path.ok()) {
    return At(fmt::format("--socket {}", options.socket), path);
  }
  if (options.vectors == 0 || options.vectors > ivshmem::kMaxVectors) {
    return Invalid(fmt::format("--vectors {}: a client has 1 to {} doorbells", options.vectors,
                               ivshmem::kMaxVectors));
  }
  if (options.first_id > kLastId) {
    return Invalid(fmt::format("--first-id {}: ids are 0 to {}", options.first_id, kLastId));
  }
  if (options.handshake_timeout < std::chrono::milliseconds(0)) {
    return Invalid("--handshake-timeout: seconds, or 0 for no limit");
  }
  if (options.mode > 0777) {
    return Invalid(fmt::format("--mode {:o}: permissions are 0 to 0777, e.g. 0660", options.mode));
  }

  if (options.region != "memfd") {
    std::string address = options.region;
    if (address.starts_with("shm:") && !address.starts_with("shm:/")) {
      address = fmt::format("shm:/{}", address.substr(4));
    }
    const std::optional<Result<std::string>> path = RegionFilePath(address);
    if (!path) {
      return Invalid(fmt::format("--region {}: use memfd, shm:NAME or file:PATH", options.region));
    }
    if (!path->ok()) return At(fmt::format("--region {}", options.region), path->status());
    checked.region_path = **path;
  }

  if (std::find(std::begin(kHugePages), std::end(kHugePages), options.huge_page) ==
      std::end(kHugePages)) {
    return Invalid(
        fmt::format("--hugepages: a huge page has 2M or 1G, not {} bytes", options.huge_page));
  }
  if (options.huge_page != 0) {
    const std::string what = fmt::format("--hugepages {}", HugePageText(options.huge_page));
    if (options.region.starts_with("shm:")) {
      return Invalid(fmt::format(
          "{}: --region {} is in /dev/shm, which has none; use memfd, or file:PATH in a hugetlbfs",
          what, options.region));
    }
    if (options.size % options.huge_page != 0) {
      return Invalid(
          fmt::format("{}: --size {} is less than one page", what, SizeText(options.size)));
    }
  }

  checked.format.max_peers = options.max_peers;
  checked.format.ring_capacity = options.ring_size;
  // The size, --max-peers and --ring-size depend on each other: the layout manager knows how.
  if (const Result<Geometry> plan = PlanGeometry(options.size, checked.format); !plan.ok()) {
    return plan.status();
  }
  if (!options.group.empty()) {
    const Result<gid_t> group = GroupId(options.group);
    if (!group.ok()) return group.status();
    checked.group = *group;
  }
  return checked;
}

}  // namespace ivmq::server
