// What outlives this process, and what it got from the one before: the record of the clients, and
// everybody's descriptors.
//
//   auto estate = Estate::Open({.sockets = {"/run/ivmq/ivmq.sock"}}, loop, TakePassedFds());
//   auto server = RegionServer::Create({.socket = ...}, loop, **estate);
//   status = (*estate)->Commit();   // now this is the server, and no other one
//   status = loop.Run();
//   (*estate)->End();               // unless the next server is to go on from here
#ifndef IVMQ_TOOLS_IVMQD_ESTATE_H_
#define IVMQ_TOOLS_IVMQD_ESTATE_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ivmq/status.h"

#include "descriptor_store.h"
#include "event_loop.h"
#include "keeper.h"
#include "listener.h"
#include "record.h"
#include "region_server.h"
#include "src/unique_fd.h"

namespace ivmq::server {

// Who keeps the descriptors while no server runs.
enum class Keep : std::uint8_t {
  kAuto,     // systemd where it does (FileDescriptorStoreMax=), else a keeper
  kKeeper,   // a process of its own
  kSystemd,  // its descriptor store
  kNone,     // nobody: connections end with the server, and so does a memfd
};

struct EstateOptions {
  Keep keep = Keep::kAuto;
  // Takes over from a server that still runs, too: it is asked to go first.
  bool upgrade = false;
  // False: what a keeper has is given up.
  bool take_over = true;
  std::vector<std::string> sockets{};  // of the regions
  AcceptsRecord accepts{};             // may be empty
  std::function<void(LogLevel, std::string_view)> log{};
  RecordVersion version{};
};

// What the server before left.
struct Former {
  Handover from;
  bool is_by_key = false;           // how `from.descriptors` are named
  std::vector<std::uint32_t> keys;  // all that systemd has
};

// Thread-compatible. Outlives the region servers that use it.
class Estate {
 public:
  // Finds what a former server of one of the sockets left. `passed`: see TakePassedFds().
  //   ALREADY_EXISTS      a server of one of these sockets runs
  //   FAILED_PRECONDITION what a former server left cannot be understood: the message says what to
  //                       do
  //   INVALID_ARGUMENT    Keep::kSystemd, and systemd keeps nothing for this process
  //   RESOURCE_EXHAUSTED, PERMISSION_DENIED, UNAVAILABLE  see AskKeeper()
  static Result<std::unique_ptr<Estate>> Open(EstateOptions options, EventLoop& loop,
                                              std::vector<PassedFd> passed);
  // Unless End() was called, what is kept stays for the next server.
  ~Estate();
  Estate(const Estate&) = delete;
  Estate& operator=(const Estate&) = delete;

  // Once all region servers are there, and before the loop runs: takes over, in one step. A process
  // that is killed before it leaves all as it was. If it fails, all is as it was.
  Status Commit();

  // The server ends. For good, unless systemd keeps its descriptors: then they stay for the next
  // one. Does nothing before Commit(). Call it before the region servers go. Does not return, but ends the process with 0, if a
  // successor asked this server to go: nothing that the keeper shares may be closed.
  void End();
  // Whether the next server goes on from where this one stops.
  [[nodiscard]] bool is_kept() const noexcept;
  // How many servers went before, whose clients are served on.
  [[nodiscard]] std::uint32_t takeovers() const { return record_.header().takeovers; }

  // ---- For region servers

  struct Share {
    std::uint32_t index = 0;
    RegionRecord record;
    std::optional<RegionRecord> former;  // of the last server; read only
    std::uint32_t former_index = 0;
  };
  // REQUIRES: `socket` is one of the options
  [[nodiscard]] Share ShareOf(const std::string& socket) const;
  [[nodiscard]] Pen& pen() const { return record_.pen(); }
  // What the last server's pen says, if it was about that region.
  [[nodiscard]] const Pen* FormerPen(const Share& share) const;

  // Has a new descriptor kept from now on.
  KeptFd Adopt(UniqueFd fd);
  // The same for one that somebody else closes, at the end of the process.
  RecordedFd Register(int fd);
  // A descriptor of the last server; invalid if it is missing.
  KeptFd Inherit(RecordedFd fd);
  // Those of the last server's that are connections to that socket, and that nobody inherited.
  std::vector<KeptFd> InheritConnections(const std::string& socket);
  // Descriptors that can be kept in all.
  [[nodiscard]] std::size_t capacity() const noexcept { return store_.capacity(); }

 private:
  Estate(EstateOptions options, EventLoop& loop, Record record);

  template <typename... Args>
  void Log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) const {
    if (options_.log) options_.log(level, fmt::format(format, std::forward<Args>(args)...));
  }
  Status PrepareKeeper();
  Status StartOwnKeeper(const Record* predecessor);
  void OnKeeperEnd();
  [[nodiscard]] std::uint32_t NewKey();

  EstateOptions options_;
  EventLoop& loop_;
  Record record_;
  DescriptorStore store_;
  bool committed_ = false;
  bool ended_ = false;

  std::string keeper_path_;                // empty: no keeper
  std::optional<Listener> keeper_socket_;  // successors connect to it
  UniqueFd commit_;                        // KeeperOptions::committed
  KeeperProcess keeper_;
  Watch keeper_watch_;
  UniqueFd restart_;  // timer
  Watch restart_watch_;
  std::chrono::steady_clock::time_point started_at_{};

  std::optional<Former> former_;  // until Commit()
};

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_ESTATE_H_
