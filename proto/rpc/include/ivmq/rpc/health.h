// How a server's application says whether it is well: what grpc.health.v1.Health answers. Names are
// gRPC's.
#ifndef IVMQ_RPC_HEALTH_H_
#define IVMQ_RPC_HEALTH_H_

#include <string>

namespace ivmq::rpc {

// Of Server::GetHealthCheckService(). Thread-safe.
class HealthCheckServiceInterface {
 public:
  virtual ~HealthCheckServiceInterface() = default;

  // Of one service; "" is the server as a whole, which serves at first. What was never set is
  // unknown.
  virtual void SetServingStatus(const std::string& service_name, bool serving) = 0;
  // Of all that were set.
  virtual void SetServingStatus(bool serving) = 0;
  // All that were set, and those set later, do not serve. Server::Shutdown() does it too.
  virtual void Shutdown() = 0;
};

}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_HEALTH_H_
