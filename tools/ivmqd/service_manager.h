// What a service manager such as systemd is told, and what it asks for (sd_notify(3)).
#ifndef IVMQ_TOOLS_IVMQD_SERVICE_MANAGER_H_
#define IVMQ_TOOLS_IVMQD_SERVICE_MANAGER_H_

#include <chrono>
#include <optional>
#include <string_view>

namespace ivmq::server::service_manager {

// Each does nothing where nobody has asked for it (NOTIFY_SOCKET).
// `status`: one line for people, as `systemctl status` shows it.
void NotifyReady(std::string_view status);
// A reload begins; NotifyReady() ends it.
void NotifyReloading();
void NotifyStopping();

// How long the service manager waits for NotifyAlive() before it takes this process for hung;
// nothing: it does not watch.
std::optional<std::chrono::microseconds> WatchdogTimeout();
void NotifyAlive();

}  // namespace ivmq::server::service_manager

#endif  // IVMQ_TOOLS_IVMQD_SERVICE_MANAGER_H_
