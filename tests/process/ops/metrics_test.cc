// Metrics as Prometheus fetches them.
#include <cstdint>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ops_fixture.h"
#include "raw_client.h"
#include "support/program.h"
#include "support/stream_client.h"

namespace ivmq::testing {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class MetricsTest : public OpsTest {
 protected:
  // From where the log says.
  static std::uint16_t AwaitPort(DaemonProcess& daemon) {
    const std::string line = daemon.AwaitLog("metrics at http://127.0.0.1:");
    return static_cast<std::uint16_t>(std::stoul("0" + line.substr(line.rfind(':') + 1)));
  }
  template <typename Where>
  static std::string Fetch(const Where& where) {
    StreamClient client(where);
    client.Send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    return client.ReadAll();
  }
  // Fetches until there is such a line.
  template <typename Where>
  static std::string FetchUntil(const Where& where, const std::string& line) {
    std::string text = Fetch(where);
    while (text.find("\n" + line + "\n") == std::string::npos && !HasFailure()) text = Fetch(where);
    return text;
  }

  std::string socket_ = folder_ / "s";
};

TEST_F(MetricsTest, APortOfThisMachineServesServerPeersAndMessages) {
  DaemonProcess daemon({"--socket", socket_, "--size", "1M", "--metrics", "127.0.0.1:0"});
  const std::uint16_t port = AwaitPort(daemon);
  EXPECT_THAT(Fetch(port),
              AllOf(StartsWith("HTTP/1.1 200 OK\r\n"),
                    HasSubstr("\nivmqd_admitted_total{region=\"default\"} 0\n"), EndsWith("\n")));
  Program bob({IVMQ_PATH, "recv", "unix:" + socket_, "--name", "bob"});
  FetchUntil(port, "ivmq_peers{region=\"default\",state=\"live\"} 1");
  Program alice({IVMQ_PATH, "send", "unix:" + socket_, "bob", "hello"});
  EXPECT_EQ(alice.Wait(), 0);
  FetchUntil(port, "ivmq_peer_messages_received_total{region=\"default\",peer=\"bob\"} 1");
  EXPECT_THAT(FetchUntil(port, "ivmqd_ended_total{region=\"default\"} 1"),
              AllOf(HasSubstr("\nivmqd_admitted_total{region=\"default\"} 2\n"),
                    HasSubstr("\nivmqd_clients{region=\"default\",state=\"connected\"} 1\n"),
                    HasSubstr("\nivmq_messages_received_total{region=\"default\"} 1\n")));
}

TEST_F(MetricsTest, AUnixSocketServesAllRegionsAndAControlSocketItsOwn) {
  Configure("size = 1M\nmetrics = unix:" + folder_ / "m" + "\n[a]\nsocket = " + folder_ / "a" +
            "\n[b]\nsocket = " + folder_ / "b" + "\n");
  DaemonProcess daemon(arguments());
  daemon.AwaitLog("metrics at");
  EXPECT_THAT(Fetch(folder_ / "m"),
              AllOf(HasSubstr("{region=\"a\"}"), HasSubstr("{region=\"b\"}")));
  Program tool({IVMQ_PATH, "server", "metrics", "unix:" + folder_ / "b"});
  EXPECT_EQ(tool.Wait(), 0);
  EXPECT_THAT(tool.Written(Stream::kOutput),
              AllOf(HasSubstr("ivmq_rings{region=\"b\"} 0\n"), Not(HasSubstr("region=\"a\""))));
}

TEST_F(MetricsTest, AnAddressThatOthersReachIsRefused) {
  DaemonProcess daemon({"--socket", socket_, "--size", "1M", "--metrics", "0.0.0.0:9464"});
  EXPECT_EQ(daemon.Wait(), 2);
  EXPECT_THAT(daemon.Log(), HasSubstr("--metrics: 0.0.0.0:9464"));
}

TEST_F(MetricsTest, WhereTheyCannotBeTheServerSaysSoAndGoesOnWithout) {
  DaemonProcess daemon({"--socket", socket_, "--size", "1M", "--vectors", "1", "--metrics",
                        "unix:" + folder_ / "none/m"});
  EXPECT_THAT(daemon.AwaitLog("it goes on without"), HasSubstr("--metrics " + folder_ / "none/m"));
  RawClient client(socket_);
  EXPECT_TRUE(client.Greet(1));
}

TEST_F(MetricsTest, WhoAsksSlowlyHoldsNobodyUp) {
  DaemonProcess daemon({"--socket", socket_, "--size", "1M", "--vectors", "1", "--metrics",
                        "unix:" + folder_ / "m"});
  daemon.AwaitLog("metrics at");
  StreamClient slow(folder_ / "m");
  slow.Send("GET /metr");
  StreamClient silent(folder_ / "m");
  RawClient client(socket_);
  EXPECT_TRUE(client.Greet(1));
  EXPECT_THAT(Fetch(folder_ / "m"), StartsWith("HTTP/1.1 200"));
  slow.Send("ics HTTP/1.1\r\n\r\n");
  EXPECT_THAT(slow.ReadAll(), StartsWith("HTTP/1.1 200"));
}

}  // namespace
}  // namespace ivmq::testing
