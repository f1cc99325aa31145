// The region of a campaign, in a folder of its own.
#ifndef IVMQ_TESTS_CAMPAIGN_COMMON_PLACE_H_
#define IVMQ_TESTS_CAMPAIGN_COMMON_PLACE_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "ivmq/status.h"

namespace ivmq::campaign {

struct PlaceOptions {
  bool over_unix = false;  // served by an ivmqd, otherwise a file
  std::uint64_t region_bytes = std::uint64_t{64} << 20;
  std::uint32_t max_peers = 64;
  std::uint32_t ring_bytes = 0;                 // 0: as by default
  bool region_is_file = false;                  // that of ivmqd, too
  bool has_keeper = false;                      // goes on where it stopped
  std::vector<std::string> server_arguments{};  // further ones
  std::uint64_t server_descriptors = 0;         // that it may open; 0: as many as this process
};

// For a process with one thread.
class Place {
 public:
  explicit Place(const PlaceOptions& options);
  // Ends the server, and removes the folder unless it was kept.
  ~Place();
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  // Why there is none.
  [[nodiscard]] const Status& status() const noexcept { return status_; }
  [[nodiscard]] const std::string& address() const noexcept { return address_; }
  // Of the file, if there is one.
  [[nodiscard]] const std::string& file_address() const noexcept { return file_address_; }
  [[nodiscard]] const std::string& folder() const noexcept { return folder_; }
  [[nodiscard]] pid_t server() const noexcept { return server_; }  // -1: none

  // SIGKILL for the server.
  void KillServer();
  // Another server with the same options, once the last one was killed, or, as an upgrade, in the
  // place of one that runs. Does not wait for it.
  void StartServer(bool is_upgrade = false);
  // Whether somebody listens at the socket.
  [[nodiscard]] bool IsServed() const;

  // Ends the server in order. Not OK: it was not there any more, or did not end with status 0.
  Status EndServer();
  // Keeps the folder; a line that says so.
  std::string Keep();

 private:
  const PlaceOptions options_;
  std::vector<std::string> command_;  // of the server
  Status status_;
  std::string folder_;
  std::string address_;
  std::string file_address_;
  pid_t server_ = -1;
  bool is_kept_ = false;
};

}  // namespace ivmq::campaign

#endif  // IVMQ_TESTS_CAMPAIGN_COMMON_PLACE_H_
