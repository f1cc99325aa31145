// How the application sets the health of its services, which grpc.health.v1.Health answers. Names
// are gRPC's.
#ifndef IVMQ_RPC_HEALTH_H_
#define IVMQ_RPC_HEALTH_H_

#include <string>

namespace ivmq::rpc {

// Returned by Server::GetHealthCheckService(). Thread-safe.
class HealthCheckServiceInterface {
 public:
  virtual ~HealthCheckServiceInterface() = default;

  // Sets the status of one service; "" is the server as a whole, which serves by default. A service
  // that was never set is unknown.
  virtual void SetServingStatus(const std::string& service_name, bool serving) = 0;
  // Sets the status of all services that were set before.
  virtual void SetServingStatus(bool serving) = 0;
  // From now on no service serves, whether set before or later. Server::Shutdown() calls it.
  virtual void Shutdown() = 0;
};

}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_HEALTH_H_
