#include "id_pool.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#include <cerrno>
#include <utility>

#include "system_error.h"

namespace ivmq::server {
namespace {

// Takes what was rung. Never blocks, whatever the descriptor's flags have become.
void Drain(int doorbell) {
  std::uint64_t value = 0;
  iovec part{&value, sizeof(value)};
  [[maybe_unused]] const ssize_t read = preadv2(doorbell, &part, 1, -1, RWF_NOWAIT);
}

}  // namespace

std::optional<std::uint16_t> IdPool::Lendable(const IdSet& held) const {
  for (const auto& [id, entry] : ids_) {
    if (entry.state == State::kLendable && !held[id]) return id;
  }
  return std::nullopt;
}

std::optional<std::uint16_t> IdPool::Unused(const IdSet& held) const {
  for (std::uint32_t id = first_; id <= kLastId; ++id) {
    if (!ever_used_[id] && !held[id]) return static_cast<std::uint16_t>(id);
  }
  if (policy_ == IdPolicy::kLend) {
    for (std::uint32_t id = lowest_; id < first_; ++id) {
      if (!ever_used_[id] && !held[id]) return static_cast<std::uint16_t>(id);
    }
  }
  return std::nullopt;
}

Result<std::uint16_t> IdPool::Take(const IdSet& held) {
  if (const std::optional<std::uint16_t> id = Lendable(held)) {
    Entry& entry = ids_.at(*id);
    for (const KeptFd& doorbell : entry.eventfds) {
      // A QEMU that was killed while it received the doorbell left it blocking.
      (void)fcntl(doorbell.get(), F_SETFL, O_RDWR | O_NONBLOCK);
      // What rang for the last holder is not for the next one.
      Drain(doorbell.get());
    }
    entry.state = State::kInUse;
    return *id;
  }
  const std::optional<std::uint16_t> id = Unused(held);
  if (!id) {
    return Status(
        StatusCode::kResourceExhausted,
        policy_ == IdPolicy::kUnique
            ? "all ids have been used, and --id-policy unique reuses none; start with a "
              "new region"
            : "all ids are in use: by clients, or by processes that still have the region of "
              "former "
              "connections");
  }
  Entry entry;
  for (std::uint32_t i = 0; i < vectors_; ++i) {
    UniqueFd doorbell(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!doorbell.valid()) return SystemError(errno, "no eventfd for its doorbells");
    entry.eventfds.push_back(keep_(std::move(doorbell)));
  }
  ids_.emplace(*id, std::move(entry));
  ever_used_.set(*id);
  return *id;
}

void IdPool::Restore(std::uint16_t id, bool is_in_use, std::vector<KeptFd> eventfds) {
  ever_used_.set(id);
  if (eventfds.size() != vectors_) return;
  ids_.emplace(id, Entry{is_in_use ? State::kInUse : State::kLendable, std::move(eventfds)});
}

void IdPool::Lend(std::uint16_t id) { ids_.at(id).state = State::kLendable; }

void IdPool::Retire(std::uint16_t id) { ids_.erase(id); }

int IdPool::eventfd(std::uint16_t id, std::uint32_t vector) const {
  const auto entry = ids_.find(id);
  if (entry == ids_.end() || vector >= entry->second.eventfds.size()) return -1;
  return entry->second.eventfds[vector].get();
}

void IdPool::Ring(std::uint16_t id, std::uint32_t vector) noexcept {
  if (const int doorbell = eventfd(id, vector); doorbell >= 0) signal_.Send(doorbell);
}

}  // namespace ivmq::server
