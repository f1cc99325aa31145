// The interceptors of one call of a client.
#ifndef IVMQ_RPC_INTERCEPTION_H_
#define IVMQ_RPC_INTERCEPTION_H_

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ivmq/internal/payload.h"
#include "ivmq/node.h"
#include "ivmq/rpc/interceptor.h"

#include "src/seen.h"
#include "src/user_code.h"

namespace ivmq::rpc::internal {

// Thread-compatible, except that messages of both directions may be passed at once.
class Interception {
 public:
  // What is referred to must outlive it.
  Interception(Node& node, const std::vector<ClientInterceptorFactory>& factories,
               const CallInfo& call)
      : node_(node), factories_(factories), method_(call.method), call_(call) {
    call_.method = method_;
  }

  static Status Thrown() { return {StatusCode::UNKNOWN, "an interceptor has thrown"}; }

  // ---- A call with one request and one response ----

  // Not OK: the call must not be made. After() is to be called in any case.
  [[nodiscard]] Status Before(ClientContext& context, const Outgoing& request) {
    const SeenOutgoing seen(request);
    return Begin(context, [&](ClientInterceptor& each) { return each.Before(context, *seen); });
  }
  void After(ClientContext& context, Status& status, const Incoming& response) {
    const SeenIncoming seen(response);
    End(status, [&](ClientInterceptor& each) { each.After(context, status, *seen); });
  }

  // ---- A call with streams ----

  // As Before(), with AfterStream() for After().
  [[nodiscard]] Status BeforeStream(ClientContext& context) {
    return Begin(context, [&](ClientInterceptor& each) { return each.BeforeStream(context); });
  }
  // False: one has thrown.
  [[nodiscard]] bool BeforeWrite(ClientContext& context, const Outgoing& message) {
    const SeenOutgoing seen(message);
    return Pass([&](ClientInterceptor& each) { each.BeforeWrite(context, *seen); });
  }
  [[nodiscard]] bool BeforeWritesDone(ClientContext& context) {
    return Pass([&](ClientInterceptor& each) { each.BeforeWritesDone(context); });
  }
  [[nodiscard]] bool AfterRead(ClientContext& context, const Incoming& message) {
    const SeenIncoming seen(message);
    bool all = true;
    for (std::size_t i = begun_.size() - (answers_ ? 1 : 0); i != 0; --i) {
      all = RunUserCode(node_, kWho, [&] { begun_[i - 1]->AfterRead(context, *seen); }) && all;
    }
    return all;
  }
  void AfterStream(ClientContext& context, Status& status) {
    End(status, [&](ClientInterceptor& each) { each.AfterStream(context, status); });
  }

  // ---- A call that one answers in the server's place ----

  [[nodiscard]] bool answers() const noexcept { return answers_; }
  // False: there is nothing more.
  [[nodiscard]] bool Answer(ClientContext& context, const Incoming& message) {
    const SeenIncoming seen(message);
    bool has_message = false;
    const bool ran =
        RunUserCode(node_, kWho, [&] { has_message = begun_.back()->Answer(context, *seen); });
    thrown_ |= !ran;
    return ran && has_message;
  }
  // `response`: of calls with one.
  [[nodiscard]] Status AnswerEnd(ClientContext& context, const Incoming& response) {
    const bool answered = !response.has_value() || Answer(context, response);
    Status status;
    if (thrown_ || !RunUserCode(node_, kWho, [&] { status = begun_.back()->AnswerEnd(context); })) {
      return Thrown();
    }
    if (status.ok() && !answered) {
      return {StatusCode::INTERNAL, "an interceptor answers the call and gives no response"};
    }
    return status;
  }

 private:
  static constexpr const char* kWho = "an interceptor of a client";

  template <typename BeginOne>
  Status Begin(ClientContext& context, BeginOne begin) {
    for (const ClientInterceptorFactory& make : factories_) {
      Status status;
      if (!RunUserCode(node_, kWho, [&] {
            std::unique_ptr<ClientInterceptor> interceptor = make(call_);
            if (interceptor == nullptr) return;
            begun_.push_back(std::move(interceptor));
            status = begin(*begun_.back());
            if (status.ok()) answers_ = begun_.back()->Answers(context);
          })) {
        status = Thrown();
      }
      if (!status.ok() || answers_) return status;
    }
    return {};
  }
  template <typename PassOne>
  bool Pass(PassOne pass) {
    bool all = true;
    for (const auto& each : begun_) all = RunUserCode(node_, kWho, [&] { pass(*each); }) && all;
    return all;
  }
  template <typename EndOne>
  void End(Status& status, EndOne end) {
    if (answers_) begun_.pop_back();
    for (; !begun_.empty(); begun_.pop_back()) {
      if (!RunUserCode(node_, kWho, [&] { end(*begun_.back()); })) status = Thrown();
    }
  }

  Node& node_;
  const std::vector<ClientInterceptorFactory>& factories_;
  const std::string method_;  // the application's need not live as long
  CallInfo call_;
  std::vector<std::unique_ptr<ClientInterceptor>> begun_;
  bool answers_ = false;  // the last one of begun_ does
  bool thrown_ = false;   // within Answer()
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_INTERCEPTION_H_
