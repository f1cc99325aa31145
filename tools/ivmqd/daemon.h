// ivmqd as a service: its regions, its configuration, and whom it answers to.
#ifndef IVMQ_TOOLS_IVMQD_DAEMON_H_
#define IVMQ_TOOLS_IVMQD_DAEMON_H_

#include <memory>
#include <string>
#include <vector>

#include "ivmq/status.h"

#include "config.h"
#include "event_loop.h"
#include "log.h"
#include "region_server.h"
#include "signals.h"
#include "timer.h"

namespace ivmq::server {

// SIGTERM and SIGINT end the loop, SIGHUP has the configuration read again. Thread-compatible.
class Daemon {
 public:
  // Serves the regions of the configuration as soon as the loop runs, and tells the service manager
  // then. `arguments`: those that `config` was read from. Loop and log must outlive this.
  // Errors: those of RegionServer::Create(); INVALID_ARGUMENT: the service manager has passed a
  // socket that no region has.
  static Result<std::unique_ptr<Daemon>> Start(Config config, std::vector<std::string> arguments,
                                               EventLoop& loop, Log& log);
  // Tells the service manager, and ends the regions' service.
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

 private:
  struct ServedRegion {
    RegionConfig config;  // as it is in force
    Log::Writer log;
    std::unique_ptr<RegionServer> server;
  };

  Daemon(std::vector<std::string> arguments, EventLoop& loop, Log& log);

  Status ServeRegions(std::vector<RegionConfig> configs);
  Status WatchDog();
  void NotifyReady() const;
  void OnSignal(int signal, pid_t sender);
  void Reload();
  void ReloadRegion(ServedRegion& region, const RegionConfig& wanted);

  std::vector<std::string> arguments_;
  EventLoop& loop_;
  Log& log_;
  Log::Writer write_;  // lines about no single region
  std::unique_ptr<Signals> signals_;
  std::unique_ptr<Timer> watchdog_;
  std::vector<ServedRegion> regions_;
};

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_DAEMON_H_
