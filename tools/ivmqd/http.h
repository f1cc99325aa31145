// As much of HTTP as it takes to be asked for metrics.
#ifndef IVMQ_TOOLS_IVMQD_HTTP_H_
#define IVMQ_TOOLS_IVMQD_HTTP_H_

#include <functional>
#include <optional>
#include <string>

#include "request_server.h"

namespace ivmq::server {

// Answers the request at the start of `input`, once it is whole: GET and HEAD of /metrics with what
// `metrics` makes, in Prometheus' text format, anything else with an error. HTTP/1.0 and 1.1; each
// connection is for one request.
std::optional<Answer> AnswerHttp(const std::function<std::string()>& metrics, std::string* input);

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_HTTP_H_
