#include "http.h"

#include <optional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ivmq::server {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::optional<std::string> Ask(std::string input) {
  const auto answer = AnswerHttp([] { return std::string("metric 1\n"); }, &input);
  if (!answer) return std::nullopt;
  EXPECT_TRUE(answer->is_last);
  return answer->text;
}

TEST(HttpTest, GetOfMetricsGetsThem) {
  for (const char* const request :
       {"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n",
        "GET /metrics HTTP/1.0\r\n\r\n", "GET /metrics?name[]=x HTTP/1.1\r\n\r\n",
        "GET /metrics HTTP/1.0\n\n"}) {
    const auto answer = Ask(request);
    ASSERT_TRUE(answer) << request;
    EXPECT_THAT(*answer,
                AllOf(StartsWith("HTTP/1.1 200 OK\r\n"),
                      HasSubstr("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
                      HasSubstr("\r\nContent-Length: 9\r\n"),
                      HasSubstr("\r\nConnection: close\r\n"), EndsWith("\r\n\r\nmetric 1\n")))
        << request;
  }
}

TEST(HttpTest, HeadGetsTheHeadersOnly) {
  const auto answer = Ask("HEAD /metrics HTTP/1.1\r\n\r\n");
  ASSERT_TRUE(answer);
  EXPECT_THAT(*answer, AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("Content-Length: 9\r\n"),
                             EndsWith("\r\n\r\n")));
}

TEST(HttpTest, ARequestThatIsNotWholeIsWaitedFor) {
  for (const char* const part :
       {"", "GET", "GET /metrics HTTP/1.1\r\n", "GET /metrics HTTP/1.1\r\nHost: localhost\r\n"}) {
    EXPECT_FALSE(Ask(part)) << part;
  }
}

TEST(HttpTest, AnythingElseIsAnError) {
  EXPECT_THAT(*Ask("GET / HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(*Ask("GET /metricsx HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(*Ask("POST /metrics HTTP/1.1\r\nContent-Length: 1\r\n\r\nx"),
              AllOf(StartsWith("HTTP/1.1 405 "), HasSubstr("\r\nAllow: GET, HEAD\r\n")));
  for (const char* const request : {"\r\n\r\n", "GET\r\n\r\n", "GET /metrics\r\n\r\n",
                                    "GET /metrics HTTP/2\r\n\r\n", "GET  /metrics HTTP/1.1\r\n\r\n",
                                    "GET /metrics HTTP/1.1 x\r\n\r\n", "\x16\x03\x01\r\n\r\n"}) {
    EXPECT_THAT(*Ask(request), AllOf(StartsWith("HTTP/1.1 400 "), Not(HasSubstr("metric 1"))))
        << request;
  }
}

TEST(HttpTest, ARequestThatDoesNotEndIsRefused) {
  const std::string header(9000, 'x');
  EXPECT_THAT(*Ask("GET /metrics HTTP/1.1\r\nCookie: " + header), StartsWith("HTTP/1.1 431 "));
  EXPECT_THAT(*Ask("GET /metrics HTTP/1.1\r\nCookie: " + header + "\r\n\r\n"),
              StartsWith("HTTP/1.1 431 "));
}

}  // namespace
}  // namespace ivmq::server
