#include "http.h"

#include <algorithm>
#include <cstddef>
#include <string_view>

#include <fmt/format.h>

namespace ivmq::server {
namespace {

constexpr std::size_t kMaxHead = 8 << 10;

Answer Reply(std::string_view status, std::string_view more_headers, std::string_view body,
             bool with_body = true) {
  return {.text = fmt::format("HTTP/1.1 {}\r\n{}Content-Length: {}\r\nConnection: close\r\n\r\n{}",
                              status, more_headers, body.size(), with_body ? body : ""),
          .is_last = true};
}

Answer Error(std::string_view status, std::string_view text, std::string_view more_headers = "") {
  return Reply(status, fmt::format("{}Content-Type: text/plain; charset=utf-8\r\n", more_headers),
               text);
}

// Cuts the next word off.
std::string_view NextWord(std::string_view* line) {
  const std::size_t end = std::min(line->find(' '), line->size());
  const std::string_view word = line->substr(0, end);
  line->remove_prefix(std::min(end + 1, line->size()));
  return word;
}

}  // namespace

std::optional<Answer> AnswerHttp(const std::function<std::string()>& metrics, std::string* input) {
  const std::size_t end = std::min(input->find("\r\n\r\n"), input->find("\n\n"));
  if (std::min(end, input->size()) > kMaxHead) {
    return Error("431 Request Header Fields Too Large", "This request is too long.\n");
  }
  if (end == std::string::npos) return std::nullopt;
  std::string_view line(*input);
  line = line.substr(0, line.find_first_of("\r\n"));
  const std::string_view method = NextWord(&line);
  const std::string_view target = NextWord(&line);
  if (!line.starts_with("HTTP/1.") || line.find(' ') != std::string_view::npos) {
    return Error("400 Bad Request", "This is no request of HTTP/1.0 or 1.1.\n");
  }
  if (method != "GET" && method != "HEAD") {
    return Error("405 Method Not Allowed", "Use GET.\n", "Allow: GET, HEAD\r\n");
  }
  if (target.substr(0, target.find('?')) != "/metrics") {
    return Error("404 Not Found", "Only /metrics is here.\n");
  }
  return Reply("200 OK", "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n", metrics(),
               method == "GET");
}

}  // namespace ivmq::server
