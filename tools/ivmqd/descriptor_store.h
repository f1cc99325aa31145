// Descriptors that systemd keeps for this service while no process of it runs.
#ifndef IVMQ_TOOLS_IVMQD_DESCRIPTOR_STORE_H_
#define IVMQ_TOOLS_IVMQD_DESCRIPTOR_STORE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "src/unique_fd.h"

namespace ivmq::server {

// A descriptor that this process was started with, and the name that it came with.
struct PassedFd {
  std::string name;
  UniqueFd fd;
};

// All that came by LISTEN_FDS; they are close-on-exec from now on. What else this process was
// started with above standard error is closed: a keeper would keep it. Call it once, at the start.
std::vector<PassedFd> TakePassedFds();

// How many descriptors systemd keeps for this service; 0: none, or this is no such service.
std::size_t StoreCapacity();

// Keeps descriptors, or does not, if it is off. Thread-compatible.
class DescriptorStore {
 public:
  // How the names of kept descriptors begin. The key follows.
  static constexpr const char* kPrefix = "ivmqd-";

  DescriptorStore() = default;
  explicit DescriptorStore(std::size_t capacity) : capacity_(capacity) {}

  [[nodiscard]] bool is_on() const noexcept { return capacity_ != 0; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

  void Keep(int fd, std::uint32_t key) const;
  // Before the descriptor is closed.
  void Drop(std::uint32_t key) const;
  // Waits until systemd has taken what it was sent.
  void Flush() const;
  // Whether Drop() does anything: what is there stays for the next process otherwise.
  void SetDrops(bool drops) noexcept { drops_ = drops; }

 private:
  std::size_t capacity_ = 0;
  bool drops_ = true;
};

// A descriptor that a store may have as well: until its owner lets go. Movable.
class KeptFd {
 public:
  KeptFd() = default;
  // `key` 0: not in the store.
  KeptFd(UniqueFd fd, std::uint32_t key, const DescriptorStore* store) noexcept
      : fd_(std::move(fd)), key_(key), store_(store) {}
  // One that is in no store.
  static KeptFd Only(UniqueFd fd) noexcept { return {std::move(fd), 0, nullptr}; }
  KeptFd(KeptFd&& other) noexcept = default;
  KeptFd& operator=(KeptFd&& other) noexcept {
    reset();
    fd_ = std::move(other.fd_);
    key_ = other.key_;
    store_ = other.store_;
    return *this;
  }
  ~KeptFd() { reset(); }

  [[nodiscard]] int get() const noexcept { return fd_.get(); }
  [[nodiscard]] bool valid() const noexcept { return fd_.valid(); }
  [[nodiscard]] const UniqueFd& fd() const noexcept { return fd_; }
  [[nodiscard]] std::uint32_t key() const noexcept { return key_; }
  [[nodiscard]] UniqueFd Release() noexcept { return std::move(fd_); }
  void reset() {
    if (!fd_.valid()) return;
    if (key_ != 0) store_->Drop(key_);
    fd_.reset();
  }

 private:
  UniqueFd fd_;
  std::uint32_t key_ = 0;
  const DescriptorStore* store_ = nullptr;
};

// The key in the name of a passed descriptor; 0: it is none of a store.
std::uint32_t KeyOf(const std::string& name);

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_DESCRIPTOR_STORE_H_
