// What the operator sees and does while a server runs.
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "ops_fixture.h"
#include "raw_client.h"
#include "support/child.h"
#include "support/program.h"
#include "support/stream_client.h"

namespace ivmq::testing {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::SizeIs;

class ControlTest : public OpsTest {
 protected:
  static json Ask(StreamClient& control, const std::string& line) {
    control.Send(line + "\n");
    const auto answer = control.ReadLine();
    EXPECT_TRUE(answer) << line;
    return json::parse(answer.value_or("{}"));
  }
  static json Ask(const std::string& socket, const json& request) {
    StreamClient control(socket + ".control");
    return Ask(control, request.dump());
  }
  json Ask(const json& request) const { return Ask(socket_, request); }
  // Asks until `done`, since the server hears of clients when it will.
  template <typename Done>
  json AskUntil(const json& request, const Done& done) const {
    json answer = Ask(request);
    while (!done(answer)) {
      if (HasFailure()) return answer;
      answer = Ask(request);
    }
    return answer;
  }

  std::string socket_ = folder_ / "s";
  std::vector<std::string> arguments_{"--socket", socket_, "--size", "1M", "--vectors", "1"};
  static inline const json kClients{{"command", "clients"}};
  static inline const json kStatus{{"command", "status"}};
};

class ServedControlTest : public ControlTest {
 protected:
  ServedControlTest() { daemon_.AwaitLog("control socket"); }

  DaemonProcess daemon_{arguments_};
};

TEST_F(ServedControlTest, ClientsAreListedWithWhoTheyAreAndWhatTheyWereTold) {
  RawClient first(socket_);
  RawClient second(socket_);
  ASSERT_TRUE(first.Greet(1));
  ASSERT_TRUE(second.Greet(1));
  const json answer = AskUntil(kClients, [](const json& clients) {
    return clients.at("clients").size() == 2 && clients["clients"][0].at("told") == 2 &&
           clients["clients"][1].at("told") == 2;
  });
  EXPECT_EQ(answer.at("ok"), true);
  const json& client = answer["clients"][1];
  EXPECT_EQ(client.at("id"), 2);
  EXPECT_EQ(client.at("state"), "connected");
  EXPECT_EQ(client.at("pid"), getpid());
  EXPECT_EQ(client.at("uid"), getuid());
  EXPECT_EQ(client.at("qemu"), false);
  EXPECT_EQ(client.at("owed"), 0);
  EXPECT_THAT(client.at("since").get<std::string>(), MatchesRegex("....-..-..T..:..:..Z"));
}

TEST_F(ServedControlTest, WhoDoesNotReadItsGreetingAndWhoHasLostItsConnectionIsSeen) {
  RawClient silent(socket_);
  RawClient gone(socket_);
  ASSERT_TRUE(gone.Greet(1));
  gone.Disconnect();
  const json answer = AskUntil(kClients, [](const json& clients) {
    return clients.at("clients").size() == 2 && clients["clients"][1].at("state") == "lingering";
  });
  EXPECT_EQ(answer["clients"][0].at("state"), "greeting");
  EXPECT_EQ(answer["clients"][1].at("pid"), getpid());
}

TEST_F(ServedControlTest, AnEvictedClientsConnectionEndsAndItsIdIsReusedWhenItsRegionIsClosed) {
  RawClient client(socket_);
  ASSERT_TRUE(client.Greet(1));
  EXPECT_EQ(Ask({{"command", "evict"}, {"id", 1}}).at("ok"), true);
  EXPECT_THAT(daemon_.AwaitLog("evicted"), HasSubstr("by pid " + std::to_string(getpid())));
  EXPECT_FALSE(client.Read());
  const json again = Ask({{"command", "evict"}, {"id", 1}});
  EXPECT_EQ(again.at("ok"), false);
  EXPECT_EQ(again.at("code"), "FAILED_PRECONDITION");
  {
    RawClient other(socket_);
    ASSERT_TRUE(other.Greet(1));
    EXPECT_EQ(other.id(), 2);
  }
  client.Close();
  daemon_.AwaitLog("id 1 has gone");
  EXPECT_EQ(Ask({{"command", "evict"}, {"id", 1}}).at("code"), "NOT_FOUND");
}

TEST_F(ServedControlTest, WhileItDrainsNewcomersAreRefusedAndClientsStay) {
  RawClient client(socket_);
  ASSERT_TRUE(client.Greet(1));
  EXPECT_EQ(Ask({{"command", "drain"}}).at("ok"), true);
  RawClient newcomer(socket_);
  newcomer.ExpectRefusal();
  EXPECT_FALSE(client.HasUnread());
  const json status = Ask(kStatus);
  EXPECT_EQ(status.at("draining"), true);
  EXPECT_EQ(status.at("clients"), 1);
  EXPECT_EQ(status.at("refused").at("draining"), 1);
  EXPECT_EQ(Ask({{"command", "undrain"}}).at("ok"), true);
  RawClient next(socket_);
  EXPECT_TRUE(next.Greet(1));
}

TEST_F(ServedControlTest, WhatIsNoRequestIsAnsweredWithAnError) {
  StreamClient control(socket_ + ".control");
  for (const std::string& line :
       {std::string(), std::string("clients"), std::string("[]"), std::string("{}"),
        std::string(R"({"command":1})"), std::string(R"({"command":"shutdown"})"),
        std::string(R"({"command":"evict"})"), std::string(R"({"command":"evict","id":-1})"),
        std::string(R"({"command":"evict","id":65536})"),
        std::string(R"({"command":"evict","id":"1"})"), std::string(60000, '['),
        std::string("\xff\xfe\x00\x01", 4)}) {
    const json answer = Ask(control, line);
    EXPECT_EQ(answer.at("ok"), false) << line;
    EXPECT_THAT(answer.at("code").get<std::string>(),
                MatchesRegex("INVALID_ARGUMENT|UNIMPLEMENTED"));
  }
  EXPECT_EQ(Ask(control, kStatus.dump()).at("ok"), true);
}

TEST_F(ServedControlTest, OnlyRootAndItsOwnUserCanUseIt) {
  ASSERT_EQ(geteuid(), 0U) << "this test acts as several users: run it as root";
  struct stat found {};
  ASSERT_EQ(stat((socket_ + ".control").c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600U);
  Program tool({IVMQ_PATH, "server", "status", "unix:" + socket_}, {.before = [] {
                 if (setuid(54321) != 0) _exit(126);
               }});
  EXPECT_EQ(tool.Wait(), 1);
}

TEST_F(ServedControlTest, TheSocketGoesWithTheServer) {
  EXPECT_TRUE(std::filesystem::exists(socket_ + ".control"));
  EXPECT_EQ(daemon_.Terminate(), 0);
  EXPECT_FALSE(std::filesystem::exists(socket_ + ".control"));
}

// ---- ivmq server ----

class ServerToolTest : public ServedControlTest {
 protected:
  struct Outcome {
    int status;
    std::string out;
  };
  Outcome Run(std::vector<std::string> words) const {
    words.insert(words.begin(), {IVMQ_PATH, "server"});
    Program tool(std::move(words), {.environment = {{"IVMQ_ADDRESS", "unix:" + socket_}}});
    const int status = tool.Wait();
    return {status, tool.Written(Stream::kOutput)};
  }
};

TEST_F(ServerToolTest, AQemuIsShownWithTheNameThatItsUserGaveIt) {
  // Connects as a QEMU does, and then is a program with QEMU's option.
  const auto start = [&](const std::string& name) {
    return std::make_unique<Program>(
        std::vector<std::string>{"/bin/sh", "-c", "read line", "x", "-name", name},
        ProgramOptions{.before = [&] {
          prctl(PR_SET_NAME, "qemu-system-x86");
          RawClient client(socket_);
          EXPECT_TRUE(client.Read());  // the server has seen who it is
          (void)dup(client.socket());
        }});
  };
  const auto first = start("guest=vm,,1,debug-threads=on");
  daemon_.AwaitLog("id 1 to");
  const auto second = start("two,process=x");
  daemon_.AwaitLog("id 2 to");
  const auto named = [&](int i, const char* name) {
    const json clients = json::parse(Run({"clients", "--json"}).out).at("clients");
    return clients[static_cast<std::size_t>(i)].value("name", "") == name;
  };
  // Until they are what they become.
  while (!named(0, "vm,1") || !named(1, "two")) ASSERT_FALSE(HasFailure());
  const Outcome table = Run({"clients"});
  EXPECT_EQ(table.status, 0);
  EXPECT_THAT(table.out, AllOf(HasSubstr("ID  STATE"), HasSubstr("qemu-system-x86"),
                               HasSubstr("vm,1"), HasSubstr("greeting")));
}

TEST_F(ServerToolTest, ItEvictsDrainsAndShowsTheState) {
  RawClient client(socket_);
  ASSERT_TRUE(client.Greet(1));
  EXPECT_EQ(Run({"evict", "unix:" + socket_, "1"}).status, 0);
  EXPECT_FALSE(client.Read());
  EXPECT_EQ(Run({"evict", "9"}).status, 3);
  EXPECT_EQ(Run({"evict", "one"}).status, 2);
  EXPECT_EQ(Run({"drain"}).status, 0);
  EXPECT_EQ(json::parse(Run({"status", "--json"}).out).at("draining"), true);
  EXPECT_THAT(Run({"status"}).out, AllOf(HasSubstr("draining"), HasSubstr("true")));
  EXPECT_EQ(Run({"undrain", "--control", socket_ + ".control"}).status, 0);
  EXPECT_EQ(json::parse(Run({"status", "--json"}).out).at("draining"), false);
}

TEST_F(ServerToolTest, WithoutAServerItSaysSo) {
  EXPECT_EQ(Run({"clients", "unix:" + folder_ / "none"}).status, 3);
  EXPECT_EQ(Run({"clients", "shm:/x"}).status, 1);
  daemon_.Kill();
  EXPECT_EQ(Run({"clients"}).status, 1);
}

// ---- Where the socket is ----

TEST_F(ControlTest, EachRegionHasItsOwn) {
  Configure("size = 1M\nvectors = 1\n[a]\nsocket = " + folder_ / "a" +
            "\n[b]\nsocket = " + folder_ / "b" + "\ncontrol = " + folder_ / "c" + "\n");
  DaemonProcess daemon(arguments());
  daemon.AwaitLog("[b] control socket");
  RawClient client(folder_ / "a");
  ASSERT_TRUE(client.Greet(1));
  EXPECT_EQ(Ask(folder_ / "a", kStatus).at("name"), "a");
  EXPECT_THAT(Ask(folder_ / "a", kClients).at("clients"), SizeIs(1));
  StreamClient control(folder_ / "c");
  EXPECT_EQ(Ask(control, kStatus.dump()).at("name"), "b");
  EXPECT_THAT(Ask(control, kClients.dump()).at("clients"), SizeIs(0));
}

TEST_F(ControlTest, ItCanBeDoneWithout) {
  arguments_.insert(arguments_.end(), {"--control", "none"});
  DaemonProcess daemon(arguments_);
  daemon.AwaitLog("serving");
  EXPECT_EQ(daemon.Terminate(), 0);
  EXPECT_THAT(daemon.Log(), Not(HasSubstr("control")));
}

// It is no reason not to serve: a server that takes over has clients already. A socket's path may
// have 107 bytes.
TEST_F(ControlTest, WhereItCannotBeTheServerSaysSoAndGoesOnWithout) {
  const std::string socket = folder_ / std::string(104 - folder_.path().size(), 's');
  {
    DaemonProcess daemon({"--socket", socket, "--size", "1M", "--vectors", "1"});
    EXPECT_THAT(daemon.AwaitLog("it goes on without"), HasSubstr("error: --control " + socket));
    RawClient client(socket);
    EXPECT_TRUE(client.Greet(1));
  }
  arguments_.insert(arguments_.end(), {"--control", folder_ / "none/c"});
  DaemonProcess daemon(arguments_);
  EXPECT_THAT(daemon.AwaitLog("it goes on without"), HasSubstr("--control " + folder_ / "none/c"));
  RawClient client(socket_);
  EXPECT_TRUE(client.Greet(1));
}

// The keeper of the former server has its sockets until the next one takes over.
TEST_F(ControlTest, ASuccessorHasTheSameSocketsForControlAndMetrics) {
  const std::string metrics = folder_ / "m";
  arguments_.insert(arguments_.end(), {"--keep", "keeper", "--metrics", "unix:" + metrics});
  auto server = std::make_unique<DaemonProcess>(arguments_);
  server->AwaitLog("metrics at");
  RawClient client(socket_);
  ASSERT_TRUE(client.Greet(1));
  std::vector<std::string> upgrade = arguments_;
  upgrade.emplace_back("--upgrade");
  for (int takeovers = 1; takeovers <= 2; ++takeovers) {
    const bool is_killed = takeovers == 1;
    if (is_killed) server->Kill();
    auto successor = std::make_unique<DaemonProcess>(is_killed ? arguments_ : upgrade);
    successor->AwaitLog("metrics at");
    server = std::move(successor);
    EXPECT_THAT(server->Log(), Not(HasSubstr("error")));
    EXPECT_EQ(Ask(kStatus).at("pid"), server->pid());
    const json clients = Ask(kClients).at("clients");
    ASSERT_THAT(clients, SizeIs(1));
    EXPECT_EQ(clients[0].at("pid"), getpid());
    EXPECT_EQ(clients[0].at("state"), "connected");
    StreamClient prometheus(metrics);
    prometheus.Send("GET /metrics HTTP/1.1\r\n\r\n");
    EXPECT_THAT(prometheus.ReadAll(),
                HasSubstr("\nivmqd_takeovers_total " + std::to_string(takeovers) + "\n"));
  }
  EXPECT_EQ(server->Terminate(), 0);
}

TEST_F(ControlTest, AKilledServersSocketIsReplaced) {
  DaemonProcess first(arguments_);
  first.AwaitLog("serving");
  first.Kill();
  DaemonProcess second(arguments_);
  second.AwaitLog("control socket");
  EXPECT_EQ(Ask(kStatus).at("pid"), second.pid());
}

}  // namespace
}  // namespace ivmq::testing
