#include "service_manager.h"

#include <time.h>

#include <cstdint>
#include <string>

#include <fmt/format.h>
#include <systemd/sd-daemon.h>

namespace ivmq::server::service_manager {
namespace {

// The environment stays as it is: the next NotifyX() needs it, too.
void Notify(const std::string& state) { (void)sd_notify(/*unset_environment=*/0, state.c_str()); }

}  // namespace

void NotifyReady(std::string_view status) {
  // A line end would begin another assignment.
  Notify(fmt::format("READY=1\nSTATUS={}", status.substr(0, status.find('\n'))));
}

void NotifyReloading() {
  // The manager tells by this time which READY=1 ends the reload.
  timespec now{};
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  Notify(fmt::format("RELOADING=1\nMONOTONIC_USEC={}",
                     static_cast<std::int64_t>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1000));
}

void NotifyStopping() { Notify("STOPPING=1"); }

std::optional<std::chrono::microseconds> WatchdogTimeout() {
  std::uint64_t timeout = 0;
  if (sd_watchdog_enabled(/*unset_environment=*/0, &timeout) <= 0) return std::nullopt;
  return std::chrono::microseconds(timeout);
}

void NotifyAlive() { Notify("WATCHDOG=1"); }

}  // namespace ivmq::server::service_manager
