#include "src/health_check.h"

#include <memory>
#include <utility>

namespace ivmq::rpc::internal {
namespace {

// grpc.health.v1.HealthCheckResponse.ServingStatus
constexpr std::int32_t kServing = 1;
constexpr std::int32_t kNotServing = 2;
constexpr std::int32_t kServiceUnknown = 3;

// Clients choose what they ask for, and a watch keeps it.
constexpr std::size_t kMostServiceBytes = 1024;

bool IsTooLong(const std::string& service) { return service.size() > kMostServiceBytes; }
Status TooLong() { return {StatusCode::INVALID_ARGUMENT, "no service has so long a name"}; }

}  // namespace

// One call of Watch. Writes the latest status; those that a slow client missed are skipped.
class HealthCheck::Watcher final : public ServerWriteReactor<Response> {
 public:
  Watcher(HealthCheck& health, std::string service)
      : health_(health), service_(std::move(service)) {}

  // REQUIRES: health_.mutex_ is held.
  [[nodiscard]] Step Next() {
    if (writing_ || finished_) return Step::kNone;
    const std::int32_t status = health_.StatusOf(service_);
    if (!cancelled_ && status != response_.value()) {
      response_.set_value(status);
      writing_ = true;
      return Step::kWrite;
    }
    if (!cancelled_ && !health_.ending_) return Step::kNone;
    finished_ = true;
    return Step::kFinish;
  }
  // Not with the mutex held: it may call back at once. After kFinish this may be gone.
  void Take(Step step) {
    if (step == Step::kWrite) StartWrite(&response_);
    if (step == Step::kFinish) Finish({StatusCode::UNAVAILABLE, "the server shuts down"});
  }

  void OnWriteDone(bool ok) override {
    Step step = Step::kNone;
    {
      const std::lock_guard lock(health_.mutex_);
      writing_ = false;
      cancelled_ |= !ok;
      step = Next();
    }
    Take(step);
  }
  void OnCancel() override {
    Step step = Step::kNone;
    {
      const std::lock_guard lock(health_.mutex_);
      cancelled_ = true;
      step = Next();
    }
    Take(step);
  }
  void OnDone() override {
    {
      const std::lock_guard lock(health_.mutex_);
      health_.watchers_.erase(this);
    }
    delete this;
  }

 private:
  HealthCheck& health_;
  const std::string service_;
  // Guarded by health_.mutex_; the response is the runtime's while it is being written.
  Response response_;
  bool writing_ = false;
  bool cancelled_ = false;
  bool finished_ = false;
};

HealthCheck::HealthCheck() {
  serving_[""] = true;
  AddMethod("/grpc.health.v1.Health/Check", MethodType::kUnary,
            MakeHandler<Request, Response>(this, &HealthCheck::Check));
  AddMethod("/grpc.health.v1.Health/Watch", MethodType::kServerStream,
            MakeHandler<Request, Response>(this, &HealthCheck::Watch));
}

std::int32_t HealthCheck::StatusOf(const std::string& service) const {
  const auto found = serving_.find(service);
  if (found == serving_.end()) return kServiceUnknown;
  return found->second ? kServing : kNotServing;
}

void HealthCheck::TellWatchers(std::unique_lock<std::mutex>& lock) {
  std::vector<std::pair<Watcher*, Step>> steps;
  for (Watcher* const watcher : watchers_) {
    const Step step = watcher->Next();
    if (step != Step::kNone) steps.emplace_back(watcher, step);
  }
  lock.unlock();
  for (const auto& [watcher, step] : steps) watcher->Take(step);
}

void HealthCheck::SetServingStatus(const std::string& service_name, bool serving) {
  std::unique_lock lock(mutex_);
  serving_[service_name] = serving && !down_;
  TellWatchers(lock);
}

void HealthCheck::SetServingStatus(bool serving) {
  std::unique_lock lock(mutex_);
  for (auto& [name, status] : serving_) status = serving && !down_;
  TellWatchers(lock);
}

void HealthCheck::Shutdown() {
  std::unique_lock lock(mutex_);
  down_ = true;
  for (auto& [name, status] : serving_) status = false;
  TellWatchers(lock);
}

void HealthCheck::EndWatches() {
  Shutdown();
  std::unique_lock lock(mutex_);
  ending_ = true;
  TellWatchers(lock);
}

Status HealthCheck::Check(ServerContext* /*context*/, const Request* request, Response* response) {
  if (IsTooLong(request->value())) return TooLong();
  const std::lock_guard lock(mutex_);
  const std::int32_t status = StatusOf(request->value());
  if (status == kServiceUnknown) {
    return {StatusCode::NOT_FOUND, "nobody has set the status of '" + request->value() + "'"};
  }
  response->set_value(status);
  return Status::OK;
}

ServerWriteReactor<HealthCheck::Response>* HealthCheck::Watch(CallbackServerContext* /*context*/,
                                                              const Request* request) {
  if (IsTooLong(request->value())) {
    auto* const refused = new Watcher(*this, "");
    refused->Finish(TooLong());
    return refused;
  }
  auto* const watcher = new Watcher(*this, request->value());
  Step step = Step::kNone;
  {
    const std::lock_guard lock(mutex_);
    watchers_.insert(watcher);
    step = watcher->Next();
  }
  watcher->Take(step);
  return watcher;
}

}  // namespace ivmq::rpc::internal
