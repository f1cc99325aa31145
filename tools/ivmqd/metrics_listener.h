// Where metrics are served.
#ifndef IVMQ_TOOLS_IVMQD_METRICS_LISTENER_H_
#define IVMQ_TOOLS_IVMQD_METRICS_LISTENER_H_

#include <string>

#include "ivmq/status.h"

#include "listener.h"

namespace ivmq::server {

struct MetricsListener {
  Listener listener;
  std::string where;  // for people: "unix:PATH" or the URL
};

// INVALID_ARGUMENT: this is no address for metrics; see below.
Status CheckMetricsAddress(const std::string& address);

// Listens at unix:PATH, or at a port of this machine: 127.0.0.1:PORT or [::1]:PORT, where port 0 is
// any that is free. Metrics name users and peers, so nothing that other machines reach is taken.
//   INVALID_ARGUMENT  the address is none of these
//   others            start with it; see Listener::Open(), or what the system says
Result<MetricsListener> ListenForMetrics(const std::string& address);

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_METRICS_LISTENER_H_
