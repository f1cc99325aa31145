// grpc.health.v1.Health.
#ifndef IVMQ_RPC_HEALTH_CHECK_H_
#define IVMQ_RPC_HEALTH_CHECK_H_

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include <google/protobuf/wrappers.pb.h>

#include "ivmq/rpc/reactor.h"
#include "ivmq/rpc/server.h"

namespace ivmq::rpc::internal {

// Thread-safe. For the types of the messages see builtin_protos.h.
class HealthCheck final : public HealthCheckServiceInterface, public Service {
 public:
  using Request = google::protobuf::StringValue;
  using Response = google::protobuf::Int32Value;

  HealthCheck();

  void SetServingStatus(const std::string& service_name, bool serving) override;
  void SetServingStatus(bool serving) override;
  void Shutdown() override;
  // Shutdown(), and the end of all that watch: their server waits for it.
  void EndWatches();

  Status Check(ServerContext* context, const Request* request, Response* response);
  ServerWriteReactor<Response>* Watch(CallbackServerContext* context, const Request* request);

 private:
  class Watcher;
  // What a watcher is to do next, which only the one that was told so may do.
  enum class Step : std::uint8_t { kNone, kWrite, kFinish };

  [[nodiscard]] std::int32_t StatusOf(const std::string& service) const;
  void TellWatchers(std::unique_lock<std::mutex>& lock);

  std::mutex mutex_;
  std::map<std::string, bool> serving_;  // guarded by mutex_
  std::set<Watcher*> watchers_;          // guarded by mutex_
  bool down_ = false;                    // guarded by mutex_
  bool ending_ = false;                  // guarded by mutex_
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_HEALTH_CHECK_H_
