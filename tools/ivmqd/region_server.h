// The ivshmem server behind ivmqd: hands one region and its doorbells to QEMUs and host processes.
//
//   auto loop = ivmq::server::EventLoop::Create();
//   auto server = ivmq::server::RegionServer::Create({.socket = "/run/ivmq/ivmq.sock"}, **loop);
//   if (server.ok()) status = (*loop)->Run();
#ifndef IVMQ_TOOLS_IVMQD_REGION_SERVER_H_
#define IVMQ_TOOLS_IVMQD_REGION_SERVER_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ivmq/internal/layout.h"
#include "ivmq/internal/region.h"
#include "ivmq/status.h"

#include "event_loop.h"
#include "server_state.h"
#include "src/unique_fd.h"

namespace ivmq::server {

class Estate;
class RegionRecord;

// What becomes of the id of a client that has gone. It has gone when the kernel has dropped the
// lock of the region's open file description that this client was given: nobody can write the
// region for it any more. The end of its connection is no proof of that.
enum class IdPolicy : std::uint8_t {
  // It is kept with its eventfds, nobody is told, and the next client gets it. QEMU needs this: it
  // crashes when an id returns whose end was announced.
  kLend,
  // The others are told, and the id is never used again. Up to 65,535 clients in a region's life.
  kUnique,
};

enum class LogLevel : std::uint8_t { kDebug, kInfo, kWarning, kError };

struct Options {
  std::string socket;            // its path; required, unless Create() gets a listening socket
  std::string region = "memfd";  // "memfd", "shm:NAME" or "file:PATH"
  std::uint64_t size = std::uint64_t{64} << 20;  // bytes, a power of two
  // Bytes of a huge page, of which a memfd is made, and which the file system of a file must have: 2
  // MiB or 1 GiB. 0: a memfd has ordinary pages, and a file may be anywhere.
  std::uint64_t huge_page = 0;
  // Whose memory is allocated for the region; none: the kernel chooses.
  std::optional<std::uint32_t> numa_node;
  std::uint32_t vectors = 8;  // doorbells of a client, 1..64
  std::uint32_t max_peers = layout::kDefaultMaxPeers;
  std::uint32_t ring_size = 0;  // see FormatOptions::ring_capacity
  // Owner group (name or number; empty: this process's) and permissions of the socket, and of a shm
  // or file that the server makes.
  std::string group;
  std::uint32_t mode = 0660;
  // If not empty, only these users, root and the server's own may connect. If empty, everybody whom
  // the socket's permissions let through.
  std::vector<std::uint32_t> allow_uids;
  IdPolicy id_policy = IdPolicy::kLend;
  // The id of the first client, 0..65534. QEMU wants 0 for -device ivshmem-doorbell,master=on; some
  // programs take 0 for "no id".
  std::uint32_t first_id = 1;
  // How many ids the clients of one user may have, connected or not; 0: three quarters of what this
  // process's limit of open files allows. One process may have three quarters of that.
  std::uint32_t ids_per_uid = 0;
  // A connection that reads nothing of its greeting for so long is ended, and one that only looks
  // is no id any more; 0: never.
  std::chrono::milliseconds handshake_timeout = std::chrono::seconds(60);
  // Lines that the clients of one user may cause in a second, with ten seconds' worth at once; 0:
  // no limit. What was left out is counted in a line.
  std::uint32_t log_lines_per_second = 10;
  // Gets one line for each event, without a line end. Called by the thread that runs the loop.
  std::function<void(LogLevel, std::string_view)> log;
};

// Several may share a loop. Thread-compatible. Starts no threads.
class RegionServer {
 public:
  // Prepares the region and listens on the socket: clients may connect from now on, and are served
  // while the loop runs. `estate`: what a former server of the socket left is taken over, and the
  // next one may go on from this one; commit it before the loop runs. `listening`: a socket to
  // listen on instead of one at options.socket, of somebody who keeps it: it stays where it is at
  // the end. If there is no memory for the rest of a large region, the loop ends with
  // RESOURCE_EXHAUSTED. Loop and estate must outlive this. Raises this process's soft limit of open
  // files to its hard one.
  //   INVALID_ARGUMENT     an option is out of range
  //   ALREADY_EXISTS       another server has the socket or the region
  //   FAILED_PRECONDITION  the file or shm holds something else than a matching region; a file that
  //                        is no socket stands at the socket's path; the former server's clients
  //                        cannot be served with these options
  //   RESOURCE_EXHAUSTED   no memory, disk space or huge pages for the region, or no descriptors
  //   UNAVAILABLE          another process keeps the lock file beside the socket
  //   PERMISSION_DENIED, NOT_FOUND, ...  what the system says about a path
  static Result<std::unique_ptr<RegionServer>> Create(Options options, EventLoop& loop,
                                                      Estate& estate, UniqueFd listening = {});
  // Whether a server with these options can go on with the clients of a former one.
  // FAILED_PRECONDITION names what differs, and what to do.
  static Status CheckFormer(const RegionRecord& former, const Options& options);
  // Removes the socket, and refuses who waits there, unless the estate is kept. Clients keep the
  // region and their doorbells.
  ~RegionServer();
  RegionServer(const RegionServer&) = delete;
  RegionServer& operator=(const RegionServer&) = delete;

  // By id.
  [[nodiscard]] std::vector<ClientInfo> Clients() const;
  [[nodiscard]] ServerState state() const;
  [[nodiscard]] const Region& region() const;

  // Ends a client's connection, as if it had closed it. `by`: who wants that, for the log.
  //   NOT_FOUND            no client has this id
  //   FAILED_PRECONDITION  the client has no connection, but still the region
  Status Evict(std::uint16_t id, std::string_view by);
  // Whether newcomers are refused, who only look excepted.
  void SetDraining(bool is_draining, std::string_view by);
  // Takes what may change while it serves: allow_uids and ids_per_uid, for whoever comes from now
  // on, handshake_timeout and log_lines_per_second.
  void Reconfigure(const Options& options);

 private:
  class Impl;
  explicit RegionServer(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_REGION_SERVER_H_
