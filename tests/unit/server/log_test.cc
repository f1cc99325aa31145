#include "log.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstddef>
#include <regex>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "src/unique_fd.h"

namespace ivmq::server {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;

class LogTest : public ::testing::Test {
 protected:
  LogTest() {
    std::array<int, 2> ends{};
    EXPECT_EQ(pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC), 0);
    read_.reset(ends[0]);
    write_.reset(ends[1]);
  }

  // All that was written since the last time.
  std::string Read() {
    std::string text;
    std::array<char, 4096> buffer{};
    for (ssize_t size = 0; (size = read(read_.get(), buffer.data(), buffer.size())) > 0;) {
      text.append(buffer.data(), static_cast<std::size_t>(size));
    }
    return text;
  }

  UniqueFd read_;
  UniqueFd write_;
};

constexpr const char* kTime =
    "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}[+-][0-9]{2}:[0-9]{2}";

TEST_F(LogTest, ALineOfTextHasATimeWithItsOffset) {
  Log log(write_.get(), LogLevel::kInfo, LogFormat::kText);
  log.WriterFor("")(LogLevel::kWarning, "something");
  EXPECT_TRUE(std::regex_match(
      Read(), std::regex(std::string(kTime) + " ivmqd\\[[0-9]+\\] warning: something\n")));
}

TEST_F(LogTest, ALineOfJsonIsAnObject) {
  Log log(write_.get(), LogLevel::kInfo, LogFormat::kJson);
  log.WriterFor("acme")(LogLevel::kInfo, "a \"word\"\nand another");
  const std::string line = Read();
  EXPECT_THAT(line, EndsWith("}\n"));
  const auto json = nlohmann::json::parse(line);
  EXPECT_TRUE(std::regex_match(json.at("time").get<std::string>(), std::regex(kTime)));
  EXPECT_EQ(json.at("level"), "info");
  EXPECT_EQ(json.at("pid"), getpid());
  EXPECT_EQ(json.at("region"), "acme");
  EXPECT_EQ(json.at("message"), "a \"word\"\nand another");
}

TEST_F(LogTest, ARegionsNameIsInItsLines) {
  Log log(write_.get(), LogLevel::kInfo, LogFormat::kText);
  log.WriterFor("acme")(LogLevel::kInfo, "something");
  EXPECT_THAT(Read(), HasSubstr("info: [acme] something\n"));
}

TEST_F(LogTest, TheLevelMayChange) {
  Log log(write_.get(), LogLevel::kWarning, LogFormat::kText);
  const Log::Writer write = log.WriterFor("");
  write(LogLevel::kInfo, "one");
  EXPECT_EQ(Read(), "");
  log.SetLevel(LogLevel::kDebug);
  write(LogLevel::kDebug, "two");
  EXPECT_THAT(Read(), HasSubstr("two"));
}

// A client chooses what it calls itself, and a path may hold anything.
TEST_F(LogTest, NoMessageMakesTwoLines) {
  Log log(write_.get(), LogLevel::kInfo, LogFormat::kText);
  log.WriterFor("")(LogLevel::kInfo, "one\ntwo\x1b[2J");
  EXPECT_THAT(Read(), EndsWith("info: one?two?[2J\n"));
}

TEST_F(LogTest, ALineThatIsTooLongIsCutAndStaysALine) {
  for (const LogFormat format : {LogFormat::kText, LogFormat::kJson}) {
    Log log(write_.get(), LogLevel::kInfo, format);
    log.WriterFor("")(LogLevel::kInfo, std::string(3 * PIPE_BUF, '\x01'));
    const std::string line = Read();
    EXPECT_LE(line.size(), std::size_t{PIPE_BUF});
    EXPECT_THAT(line, EndsWith("\n"));
    EXPECT_EQ(nlohmann::json::accept(line), format == LogFormat::kJson) << line;
  }
}

TEST_F(LogTest, WhatIsNoUtf8IsWellFormedJsonAllTheSame) {
  Log log(write_.get(), LogLevel::kInfo, LogFormat::kJson);
  log.WriterFor("")(LogLevel::kInfo, "\xff\xfe");
  EXPECT_TRUE(nlohmann::json::accept(Read()));
}

TEST_F(LogTest, WhatNobodyReadsIsDroppedCountedAndReported) {
  Log log(write_.get(), LogLevel::kInfo, LogFormat::kText);
  const Log::Writer write = log.WriterFor("");
  while (log.dropped() == 0) write(LogLevel::kInfo, std::string(1000, 'x'));
  write(LogLevel::kInfo, "lost");
  EXPECT_EQ(log.dropped(), 2U);
  (void)Read();
  write(LogLevel::kInfo, "kept");
  EXPECT_THAT(Read(), AllOf(HasSubstr("2 lines of this log were dropped"), EndsWith("kept\n")));
}

}  // namespace
}  // namespace ivmq::server
