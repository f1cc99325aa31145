// What the operator can ask of a region's server while it runs: a line with an object of JSON, answered
// by another one. See docs/operations.md.
#ifndef IVMQ_TOOLS_IVMQD_CONTROL_H_
#define IVMQ_TOOLS_IVMQD_CONTROL_H_

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "config.h"
#include "region_server.h"
#include "request_server.h"

namespace ivmq::server {

// Thread-compatible.
class Control {
 public:
  // `metrics` makes the text of the metrics. Both must outlive this.
  Control(const RegionConfig& config, RegionServer& server, std::function<std::string()> metrics)
      : config_(config), server_(server), metrics_(std::move(metrics)) {}

  // For a RequestServer.
  std::optional<Answer> AnswerLine(int socket, std::string* input);

  // The answer to one request, without a line end. `by` makes who asks, for the log.
  std::string AnswerRequest(std::string_view request, const std::function<std::string()>& by);

 private:
  const RegionConfig& config_;
  RegionServer& server_;
  std::function<std::string()> metrics_;
};

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_CONTROL_H_
