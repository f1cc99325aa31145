// ivmqd as a service: its regions, its configuration, and whom it answers to.
#ifndef IVMQ_TOOLS_IVMQD_DAEMON_H_
#define IVMQ_TOOLS_IVMQD_DAEMON_H_

#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ivmq/status.h"

#include "config.h"
#include "control.h"
#include "descriptor_store.h"
#include "estate.h"
#include "event_loop.h"
#include "log.h"
#include "metrics.h"
#include "region_server.h"
#include "request_server.h"
#include "signals.h"
#include "src/unique_fd.h"
#include "timer.h"

namespace ivmq::server {

// SIGTERM and SIGINT end the loop, SIGHUP has the configuration read again. Thread-compatible.
class Daemon {
 public:
  // Serves the regions of the configuration as soon as the loop runs, and tells the service manager
  // then. `arguments`: those that `config` was read from; `passed`: see TakePassedFds(). Loop and log
  // must outlive this.
  // Errors: those of Estate::Open() and RegionServer::Create(); INVALID_ARGUMENT: the service
  // manager has passed a socket that nobody has. A control socket or metrics that cannot be served
  // are an error in the log only.
  static Result<std::unique_ptr<Daemon>> Start(Config config, std::vector<std::string> arguments,
                                               std::vector<PassedFd> passed, EventLoop& loop,
                                               Log& log);
  // Tells the service manager, and ends the regions' service; see Estate::End().
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

 private:
  // By path: those that the service manager has opened.
  using ListeningSockets = std::map<std::string, UniqueFd>;

  struct ServedRegion {
    RegionConfig config;  // as it was at the start
    Log::Writer log;
    std::unique_ptr<RegionServer> server;
    std::unique_ptr<RegionMetrics> metrics;
    std::unique_ptr<Control> control{};
    std::unique_ptr<RequestServer> requests{};  // for the control
  };

  Daemon(std::vector<std::string> arguments, EventLoop& loop, Log& log);

  Status OpenEstate(const Config& config, std::vector<PassedFd>* passed);
  Status ServeRegions(std::vector<RegionConfig> configs, ListeningSockets* sockets);
  void ServeControl(ServedRegion& region, ListeningSockets* sockets);
  void ServeMetrics(const std::string& address);
  [[nodiscard]] ServerFigures Figures() const;
  // Of all regions, or of one.
  std::string AllMetrics();
  std::string MetricsOf(ServedRegion& region);
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
  std::string metrics_address_;
  std::unique_ptr<Estate> estate_;
  std::list<ServedRegion> regions_;
  std::unique_ptr<RequestServer> metrics_;
};

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_DAEMON_H_
