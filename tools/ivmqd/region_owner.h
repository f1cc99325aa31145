// The region that a server looks after: makes it, or takes it over, and keeps other servers away.
//
// memfd      preallocated and sealed: nobody can truncate it under the others.
// shm, file  preallocated; but every process that may write it could truncate it, and all others
//            would end by SIGBUS. Locked while the server runs; survives the server, and is taken
//            over at a restart.
//
// Memory of many gigabytes takes seconds to allocate: the first part of it is there when Open()
// returns, and AllocateMore() does the rest.
#ifndef IVMQ_TOOLS_IVMQD_REGION_OWNER_H_
#define IVMQ_TOOLS_IVMQD_REGION_OWNER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <span>

#include "ivmq/internal/region.h"
#include "ivmq/status.h"

#include "id_pool.h"
#include "options.h"
#include "region_server.h"
#include "src/mapping.h"
#include "src/unique_fd.h"

namespace ivmq::server {

// Thread-compatible; movable.
class RegionOwner {
 public:
  // Errors: see RegionServer::Create(). Removes again what it made if it fails.
  static Result<RegionOwner> Open(const Options& options, const CheckedOptions& checked);
  // Goes on with the region of a server that ended, by its descriptors: doorbells between all its
  // clients go on as well, so the server's epoch stays as it is.
  static Result<RegionOwner> Adopt(const Options& options, UniqueFd fd, UniqueFd lock,
                                   std::uint64_t allocated);
  RegionOwner(RegionOwner&&) = default;
  RegionOwner& operator=(RegionOwner&&) = delete;
  // Says in the header that this process is the server now: once it has taken over.
  void SayHello() const;
  // Says in the header that the server left in order.
  void SayGoodbye() const;

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  [[nodiscard]] int lock_fd() const noexcept { return lock_.get(); }
  // What who only looks gets: it cannot be written or mapped writable. No lock hangs on it.
  [[nodiscard]] Result<UniqueFd> OpenForObserver() const;
  // What the client with this id gets: a lock of its own hangs on it. The kernel drops the lock
  // when the last descriptor and the last mapping that came of it are gone, however they went.
  [[nodiscard]] Result<UniqueFd> OpenForClient(std::uint16_t id) const;
  // Whether anybody can still write the region by what OpenForClient(id) gave, now or under a
  // former server. False is final, and the only proof that the client is dead.
  [[nodiscard]] bool IsHeld(std::uint16_t id) const;
  [[nodiscard]] std::span<std::byte> memory() const noexcept { return mapping_.bytes(); }
  [[nodiscard]] const Region& region() const noexcept { return region_; }

  [[nodiscard]] bool taken_over() const noexcept { return taken_over_; }
  // Allocates the next part. An error if there is no space left.
  Status AllocateMore();
  [[nodiscard]] std::uint64_t allocated() const noexcept { return allocated_; }
  [[nodiscard]] bool is_allocated() const noexcept { return allocated_ == mapping_.bytes().size(); }

  // The former server if it did not leave in order, else 0. For people.
  [[nodiscard]] std::uint32_t crashed_pid() const noexcept { return crashed_pid_; }

  // The ids that living peers say they have. kNoIvposition is no id, here and below, whatever is
  // locked: all peers without one would be taken for the same client.
  [[nodiscard]] IdSet HeldIds() const;
  // The ids that living peers or clients of former servers have.
  // REQUIRES: taken_over(), and nobody is a client yet
  [[nodiscard]] std::set<std::uint16_t> FormerIds() const;
  // The highest id that a peer of the table has or had, 0 if none.
  [[nodiscard]] std::uint16_t HighestId() const;

 private:
  RegionOwner(UniqueFd fd, UniqueFd lock, Mapping mapping, const Region& region,
              std::uint64_t allocated, std::optional<std::uint32_t> numa_node);

  UniqueFd fd_;
  // The file opened once more: a lock belongs to an open file description, and clients share the
  // first one.
  UniqueFd lock_;
  Mapping mapping_;
  Region region_;
  std::uint64_t allocated_;  // bytes, from the start
  std::optional<std::uint32_t> numa_node_;
  bool taken_over_ = false;
  std::uint32_t crashed_pid_ = 0;
};

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_REGION_OWNER_H_
