// Peers whose doorbells come from different servers of one region: those of the host, which connect
// again, and those of guests, which do not.
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/internal/doorbell_epochs.h"
#include "ivmq/ivshmem_client.h"
#include "ivmq/node.h"

#include "raw_client.h"
#include "server_process.h"
#include "slot_owner.h"
#include "support/temp_folder.h"

namespace ivmq::testing {
namespace {

using layout::Counter;
using std::chrono::seconds;

constexpr seconds kPatience{60};
const SendOptions kWait{.when_full = WhenFull::kWait, .timeout = kPatience};

// The device of a guest, as far as the guest sees it: it has the doorbells that its QEMU was told
// of, never connects again, and a doorbell that it does not know is rung in vain.
class DeviceTransport final : public Transport {
 public:
  explicit DeviceTransport(std::unique_ptr<IvshmemClient> client, std::size_t size)
      : client_(std::move(client)), size_(size) {
    memory_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, client_->shared_memory(), 0);
    info_.address = "device";
    info_.ivposition = client_->id();
    info_.can_ring = true;
    info_.wakeable = true;
  }
  ~DeviceTransport() override { munmap(memory_, size_); }

  [[nodiscard]] std::span<std::byte> memory() const noexcept override {
    return {static_cast<std::byte*>(memory_), size_};
  }
  [[nodiscard]] const TransportInfo& info() const noexcept override { return info_; }
  void Ring(std::uint16_t ivposition, std::uint32_t vector) noexcept override {
    (void)client_->Ring(ivposition, vector);
  }
  [[nodiscard]] int wake_fd() const noexcept override { return client_->vector_fd(0); }
  [[nodiscard]] int control_fd() const noexcept override { return client_->control_fd(); }
  bool HandleControl() noexcept override { return client_->HandleControl(); }

 private:
  std::unique_ptr<IvshmemClient> client_;
  std::size_t size_;
  void* memory_;
  TransportInfo info_;
};

// A node with a thread that sleeps until something comes, and answers each question.
class Talker {
 public:
  explicit Talker(Result<std::unique_ptr<Node>> node) {
    if (!node.ok()) {
      ADD_FAILURE() << node.status().ToString();
      std::abort();
    }
    node_ = *std::move(node);
    thread_ = std::thread([this] { Run(); });
  }
  ~Talker() {
    end_ = true;
    node_->Wake();
    thread_.join();
  }
  Talker(const Talker&) = delete;
  Talker& operator=(const Talker&) = delete;

  [[nodiscard]] Node& node() noexcept { return *node_; }
  [[nodiscard]] std::uint64_t finds() const noexcept { return node_->counter(Counter::kNetFinds); }
  [[nodiscard]] bool is_asleep() const noexcept {
    return node_->region().slot(node_->id().slot).armed.load() % 2 != 0;
  }

  // Asks the other, while both sleep, and waits for the answer.
  void Ask(Talker& other) {
    while (!is_asleep() || !other.is_asleep()) std::this_thread::yield();
    std::unique_lock lock(mutex_);
    is_answered_ = false;
    ASSERT_EQ(node_->Send(other.node_->id(), "?", kWait), SendResult::kOk);
    EXPECT_TRUE(answer_.wait_for(lock, kPatience, [this] { return is_answered_; }))
        << other.node_->name() << " did not answer " << node_->name();
  }

 private:
  void Run() {
    while (!end_) {
      (void)node_->Poll([this](const Message& message) {
        if (message.text() == "?") {
          EXPECT_EQ(node_->Send(message.from, "!", kWait), SendResult::kOk);
          return;
        }
        {
          const std::lock_guard lock(mutex_);
          is_answered_ = true;
        }
        answer_.notify_one();
      });
      (void)node_->Wait(std::chrono::hours(1));
    }
  }

  std::unique_ptr<Node> node_;
  std::atomic<bool> end_{false};
  std::mutex mutex_;
  std::condition_variable answer_;
  bool is_answered_ = false;
  std::thread thread_;
};

NodeOptions Named(const std::string& name, std::function<void(const Status&)> on_report = {}) {
  NodeOptions options;
  options.on_report = std::move(on_report);
  options.name = name;
  options.spin_budget = {};
  return options;
}

// The first report of a node, and how many there were.
class Reports {
 public:
  [[nodiscard]] std::function<void(const Status&)> Taker() {
    return [this](const Status& status) {
      if (++count_ == 1) first_.set_value(status);
    };
  }
  Status Await() {
    auto first = first_.get_future();
    if (first.wait_for(kPatience) == std::future_status::ready) return first.get();
    ADD_FAILURE() << "nothing was reported";
    return {};
  }
  [[nodiscard]] int count() const noexcept { return count_; }

 private:
  std::atomic<int> count_{0};
  std::promise<Status> first_;
};

class EpochsTest : public ::testing::TestWithParam<const char*> {
 protected:
  EpochsTest() {
    const std::string kind = GetParam();
    const std::string name = "/ivmq-epochs-" + std::to_string(getpid());
    if (kind == "memfd") region_ = "memfd";
    if (kind == "shm") {
      shm_ = name;
      region_ = "shm:" + name;
    }
  }
  ~EpochsTest() override {
    if (!shm_.empty()) (void)shm_unlink(shm_.c_str());
  }

  void StartServer(const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{"--size", "4M", "--region", region_};
    arguments.insert(arguments.end(), more.begin(), more.end());
    server_.emplace(socket_, arguments);
    server_->AwaitReady();
  }
  // As a crash of it, after which nobody has anything of what it had.
  void ReplaceServer() {
    server_->Kill();
    StartServer();
  }
  [[nodiscard]] std::unique_ptr<Talker> OnHost(
      const std::string& name, std::function<void(const Status&)> on_report = {}) const {
    return std::make_unique<Talker>(
        Node::Open("unix:" + socket_, Named(name, std::move(on_report))));
  }
  [[nodiscard]] std::unique_ptr<Talker> InGuest(
      const std::string& name, std::function<void(const Status&)> on_report = {}) const {
    auto client = IvshmemClient::Connect(socket_);
    EXPECT_TRUE(client.ok()) << client.status().ToString();
    return std::make_unique<Talker>(
        Node::Open(std::make_unique<DeviceTransport>(*std::move(client), 4U << 20),
                   Named(name, std::move(on_report))));
  }
  // Waits until it has come to the server that runs.
  static void AwaitMove(Talker& talker, std::uint16_t from) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (IdOf(talker) == from) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "it did not connect again";
      usleep(1000);
    }
  }
  static std::uint16_t IdOf(Talker& talker) {
    const auto info = talker.node().Lookup(talker.node().name());
    return info.ok() ? info->ivposition : layout::kNoIvposition;
  }

  TempFolder folder_;
  std::string socket_ = folder_ / "s";
  std::string shm_;
  std::string region_ = "file:" + folder_ / "region";
  std::optional<ServerProcess> server_;
};

// Each of them asks each other one. What no doorbell announces must not be left to the look once a
// second.
TEST_P(EpochsTest, PeersOfSeveralServersTalkWithoutTheNet) {
  StartServer();
  auto host = OnHost("host");
  auto guest = InGuest("guest");
  const PeerId life = host->node().id();
  std::vector<std::unique_ptr<Talker>> late;
  for (const std::string number : {"2", "3"}) {
    const std::uint16_t id = IdOf(*host);
    ReplaceServer();
    AwaitMove(*host, id);
    late.push_back(OnHost("host" + number));
    late.push_back(InGuest("guest" + number));
  }
  EXPECT_EQ(host->node().id(), life) << "it is another life";
  std::vector<Talker*> all{host.get(), guest.get()};
  for (const auto& talker : late) all.push_back(talker.get());
  for (int round = 0; round < 3; ++round) {
    for (Talker* const asking : all) {
      for (Talker* const asked : all) {
        if (asking != asked) asking->Ask(*asked);
      }
    }
  }
  for (Talker* const talker : all) {
    EXPECT_EQ(talker->finds(), 0U) << talker->node().name();
  }
}

// Says of whom the region says that they are apart.
class ApartTest : public EpochsTest {
 protected:
  // Waits until the two are, or are not, together.
  static void Await(const Region& region, std::uint16_t a, std::uint16_t b, bool together) {
    const DoorbellEpochs epochs(region);
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (epochs.AreTogether(a, b) != together) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << a << " and " << b;
      usleep(1000);
    }
  }
};

TEST_P(ApartTest, AClientThatHasNotBeenToldOfAllIsApartUntilItHas) {
  StartServer();
  RawClient slow(socket_);
  ASSERT_TRUE(slow.Greet(8));
  const MappedRegion mapped(slow.memory());
  // More than its socket takes.
  std::vector<std::unique_ptr<RawClient>> others;
  for (int i = 0; i < 24; ++i) {
    others.push_back(std::make_unique<RawClient>(socket_));
    ASSERT_TRUE(others.back()->Greet(8));
  }
  const std::uint16_t id = slow.id();
  Await(mapped.region(), id, others.back()->id(), false);
  EXPECT_FALSE(DoorbellEpochs(mapped.region()).AreTogether(id, others.front()->id()));
  EXPECT_TRUE(DoorbellEpochs(mapped.region()).AreTogether(others[22]->id(), others[23]->id()));
  std::set<std::uint16_t> all{id};
  for (const auto& other : others) all.insert(other->id());
  slow.ReadUntilKnown(all);
  Await(mapped.region(), id, others.back()->id(), true);
}

TEST_P(ApartTest, AClientWithoutItsConnectionIsApartUntilItHasGone) {
  StartServer();
  RawClient lost(socket_);
  ASSERT_TRUE(lost.Greet(8));
  RawClient other(socket_);
  ASSERT_TRUE(other.Greet(8));
  const MappedRegion mapped(other.memory());
  lost.Disconnect();
  Await(mapped.region(), lost.id(), other.id(), false);
  lost.Close();
  Await(mapped.region(), lost.id(), other.id(), true);
}

TEST_P(ApartTest, AFormerClientIsApartUntilItHasGone) {
  StartServer();
  RawClient former(socket_);
  ASSERT_TRUE(former.Greet(8));
  ReplaceServer();
  RawClient late(socket_);
  ASSERT_TRUE(late.Greet(8));
  const MappedRegion mapped(late.memory());
  EXPECT_FALSE(DoorbellEpochs(mapped.region()).AreTogether(former.id(), late.id()));
  former.Close();
  Await(mapped.region(), former.id(), late.id(), true);
}

// A process of a guest takes a vector by which all can ring it, those included that came before.
TEST_P(ApartTest, WhileFormerClientsLiveTheRegionSaysTheLesserNumberOfVectors) {
  StartServer({"--vectors", "2"});
  RawClient former(socket_);
  ASSERT_TRUE(former.Greet(2));
  // Not by what the client got, which would keep it alive.
  const MappedRegion mapped(shm_.empty() ? folder_ / "region" : "/dev/shm" + shm_);
  server_->Kill();
  StartServer({"--vectors", "4"});
  EXPECT_EQ(mapped.region().header().server_vectors.load(), 2U);
  server_->Kill();
  former.Close();
  StartServer({"--vectors", "4"});
  EXPECT_EQ(mapped.region().header().server_vectors.load(), 4U);
}

// A region that lies in no file ends with its server, as far as newcomers are concerned.
class OrphanTest : public EpochsTest {
 protected:
  static void AwaitHeartbeats(Talker& talker, std::uint64_t count) {
    const layout::Word& heartbeat = talker.node().region().slot(talker.node().id().slot).heartbeat;
    const std::uint64_t before = heartbeat.load();
    while (heartbeat.load() < before + count) usleep(1000);
  }
};

TEST_P(OrphanTest, PeersAreToldOnceThatNobodyCanJoinThem) {
  StartServer();
  Reports host_reports;
  Reports guest_reports;
  auto host = OnHost("host", host_reports.Taker());
  auto guest = InGuest("guest", guest_reports.Taker());
  server_->Kill();
  for (Reports* const reports : {&host_reports, &guest_reports}) {
    const Status told = reports->Await();
    EXPECT_EQ(told.code(), StatusCode::kUnavailable);
    EXPECT_THAT(told.message(), ::testing::HasSubstr("nobody can join this region any more"));
  }
  const layout::Header& header = host->node().region().header();
  EXPECT_EQ(header.orphaned.load(), header.server_epoch.load());
  // They go on, and do not ask the next server, which has another region.
  StartServer();
  host->Ask(*guest);
  guest->Ask(*host);
  AwaitHeartbeats(*host, 8);
  EXPECT_EQ(server_->Log().find("id 1 to"), std::string::npos) << server_->Log();
  EXPECT_EQ(host_reports.count(), 1);
  EXPECT_EQ(guest_reports.count(), 1);
  EXPECT_TRUE(host->node().status().ok());
}

TEST_P(OrphanTest, PeersAreToldSoWhenTheServerEndsInOrder) {
  StartServer();
  Reports reports;
  auto host = OnHost("host", reports.Taker());
  EXPECT_EQ(server_->Terminate(), 0);
  EXPECT_THAT(reports.Await().message(), ::testing::HasSubstr("nobody can join"));
}

// Whatever stands in the region: who is connected to the server knows better.
TEST_P(OrphanTest, AConnectedPeerDoesNotBelieveIt) {
  StartServer();
  Reports reports;
  Reports guest_reports;
  auto host = OnHost("host", reports.Taker());
  auto guest = InGuest("guest", guest_reports.Taker());
  layout::Header& header = host->node().region().header();
  header.orphaned = header.server_epoch.load();
  (void)guest_reports.Await();
  AwaitHeartbeats(*host, 4);
  EXPECT_EQ(reports.count(), 0);
}

INSTANTIATE_TEST_SUITE_P(Regions, OrphanTest, ::testing::Values("memfd"),
                         [](const auto& name) { return std::string(name.param); });

// Where the region has a name, the next server takes it over.
TEST_P(EpochsTest, ALossIsNoEndWhereTheNextServerCanTakeTheRegionOver) {
  StartServer();
  Reports reports;
  auto host = OnHost("host", reports.Taker());
  const std::uint16_t id = IdOf(*host);
  server_->Kill();
  EXPECT_THAT(reports.Await().message(), ::testing::HasSubstr("connection to the server was lost"));
  StartServer();
  AwaitMove(*host, id);
  EXPECT_EQ(host->node().region().header().orphaned.load(), 0U);
  EXPECT_EQ(reports.count(), 1);
}

INSTANTIATE_TEST_SUITE_P(Regions, ApartTest, ::testing::Values("file", "shm"),
                         [](const auto& name) { return std::string(name.param); });

INSTANTIATE_TEST_SUITE_P(Regions, EpochsTest, ::testing::Values("file", "shm"),
                         [](const auto& name) { return std::string(name.param); });

}  // namespace
}  // namespace ivmq::testing
