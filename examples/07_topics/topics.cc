// A camera publishes frames, and three viewers look at them: one is quick; one is too slow, and
// drops the oldest frames; one comes late, and gets the last frame at once.
//
// Usage: example_topics [ADDRESS [FRAME_BYTES [FRAMES [HZ]]]]
//
// Large frames lie in the region, once for all viewers: 256 MiB have room for those of 8 MiB. In a
// smaller one, such as the usual 64 MiB, some go to each viewer in pieces, which is slower.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iomanip>
#include <iostream>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ivmq/node.h"

namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;
using Seconds = std::chrono::duration<double>;

constexpr const char* kTopic = "camera/front";
// What comes to a peer and is of no topic.
constexpr auto kIgnore = [](const ivmq::Message& /*message*/) {};

struct Settings {
  std::string address = "inproc:camera?size=256M";
  std::uint64_t frame_bytes = 8 << 20;
  std::uint64_t frames = 300;
  double hz = 60;
};

// What a frame begins with; its pixels follow.
struct FrameHeader {
  std::uint64_t number;  // from 1
  std::uint64_t last;    // of the last frame
  Clock::rep taken_at;   // all peers here have the same clock
};

[[noreturn]] void Fail(const ivmq::Status& status) {
  std::cerr << status.ToString() << '\n';
  std::exit(1);
}

// All peers live in this process; with another address each could live in a machine of its own.
std::unique_ptr<ivmq::Node> Open(const Settings& settings, const std::string& name) {
  auto node = ivmq::Node::Open(settings.address, {.name = name});
  if (!node.ok()) Fail(node.status());
  return *std::move(node);
}

class Camera {
 public:
  explicit Camera(const Settings& settings)
      : settings_(settings), node_(Open(settings, "camera")), topic_(Advertise()) {}

  void AwaitViewers(std::size_t count) {
    node_->SetPeerWatcher([](const ivmq::PeerSnapshot& /*ends the wait*/) {});
    while (topic_.subscribers() < count) {
      if (node_->Poll(kIgnore) == 0) node_->Wait(std::chrono::seconds(1));
    }
  }

  void TakeFrames(std::uint64_t first, std::uint64_t last) {
    const auto period = std::chrono::duration_cast<Clock::duration>(Seconds(1 / settings_.hz));
    auto due = Clock::now();
    for (std::uint64_t number = first; number <= last; ++number, due += period) {
      Serve([due] { return Clock::now() >= due; }, due);
      TakeFrame(number);
    }
  }

  // Sends viewers that lag what the camera keeps for them, until `is_over`. Wake() has it look.
  template <typename IsOver>
  void Serve(IsOver is_over, Clock::time_point deadline) {
    while (!is_over() && Clock::now() < deadline) {
      if (node_->Poll(kIgnore) == 0) node_->Wait(deadline - Clock::now());
    }
  }
  void Wake() { node_->Wake(); }

  [[nodiscard]] const ivmq::Topic& topic() const { return topic_; }

 private:
  ivmq::Topic Advertise() {
    // A viewer that comes late gets the last frame.
    auto topic = node_->Advertise(kTopic, {.history = 1});
    if (!topic.ok()) Fail(topic.status());
    return *std::move(topic);
  }

  void TakeFrame(std::uint64_t number) {
    // Written where it will lie, if the region has room for that.
    auto loan = topic_.Loan(settings_.frame_bytes);
    if (loan->result() != ivmq::SendResult::kOk) Fail(topic_.Explain(loan->result()));
    const auto pixels = loan->payload().subspan(sizeof(FrameHeader));
    std::memset(pixels.data(), static_cast<int>(number & 0xff), pixels.size());
    const FrameHeader header{.number = number,
                             .last = settings_.frames,
                             .taken_at = Clock::now().time_since_epoch().count()};
    std::memcpy(loan->payload().data(), &header, sizeof(header));
    if (const auto result = loan->Publish(); result != ivmq::SendResult::kOk) {
      Fail(topic_.Explain(result));
    }
  }

  const Settings& settings_;
  const std::unique_ptr<ivmq::Node> node_;
  ivmq::Topic topic_;
};

class Viewer {
 public:
  // `depth`: how many frames may be on their way to it. `work`: how long it looks at each.
  Viewer(const Settings& settings, const std::string& name, std::uint32_t depth,
         std::chrono::milliseconds work)
      : node_(Open(settings, name)), depth_(depth), work_(work) {}

  // Looks at frames up to the last one, which even a slow viewer gets, or until `stop`.
  void Run(const std::stop_token& stop) {
    began_at_ = Clock::now();
    std::stop_source end;
    const std::stop_callback forward(stop, [&end] { end.request_stop(); });
    const auto subscription =
        node_->Subscribe(kTopic,
                         [&](const ivmq::TopicMessage& message) {
                           if (IsLast(message)) end.request_stop();
                         },
                         {.when_slow = ivmq::WhenSlow::kDropOldest, .depth = depth_});
    if (!subscription.ok()) Fail(subscription.status());
    const auto status = node_->Run(end.get_token(), kIgnore);
    if (!status.ok()) Fail(status);
    missed_ = subscription->missed();
  }

  // REQUIRES: Run() has returned.
  void Print() {
    std::sort(latencies_.begin(), latencies_.end());
    std::cout << std::left << std::setw(8) << node_->name() << std::right << std::setw(8) << seen_
              << std::setw(8) << missed_ << std::setw(8) << damaged_ << std::setw(8)
              << (seen_ < 2
                      ? 0
                      : static_cast<double>(seen_ - 1) / Seconds(last_at_ - first_at_).count())
              << std::setw(10) << Percentile(0.5) << std::setw(10) << Percentile(0.99) << "\n";
  }
  void PrintFirst() const {
    std::cout << node_->name() << " got frame " << first_
              << (is_history_ ? " of the history " : " ")
              << Milliseconds(first_at_ - began_at_).count() << " ms after it had begun\n";
  }

 private:
  bool IsLast(const ivmq::TopicMessage& message) {
    const auto payload = message.message.payload;
    last_at_ = Clock::now();
    FrameHeader header;
    std::memcpy(&header, payload.data(), sizeof(header));
    if (seen_ == 0) {
      first_ = header.number;
      first_at_ = last_at_;
      is_history_ = message.is_history;
    }
    ++seen_;
    if (!message.is_history) {
      const Clock::time_point taken_at{Clock::duration(header.taken_at)};
      latencies_.push_back(Milliseconds(last_at_ - taken_at).count());
    }
    const auto pixels = payload.subspan(sizeof(header));
    const auto expected = static_cast<std::byte>(header.number);
    if (pixels.front() != expected || pixels.back() != expected) ++damaged_;
    std::this_thread::sleep_for(work_);
    return header.number == header.last;
  }

  [[nodiscard]] double Percentile(double fraction) const {
    if (latencies_.empty()) return 0;
    const auto last = static_cast<double>(latencies_.size() - 1);
    return latencies_[static_cast<std::size_t>(fraction * last)];
  }

  const std::unique_ptr<ivmq::Node> node_;
  const std::uint32_t depth_;
  const std::chrono::milliseconds work_;
  Clock::time_point began_at_;
  Clock::time_point first_at_;
  Clock::time_point last_at_;
  std::uint64_t first_ = 0;  // the number of the first frame
  bool is_history_ = false;  // and whether the camera had kept it
  std::uint64_t seen_ = 0;
  std::uint64_t missed_ = 0;
  std::uint64_t damaged_ = 0;
  std::vector<double> latencies_;  // in ms
};

Settings Parse(int argc, char** argv) {
  Settings settings;
  if (argc > 1) settings.address = argv[1];
  if (argc > 2) settings.frame_bytes = std::strtoull(argv[2], nullptr, 10);
  if (argc > 3) settings.frames = std::strtoull(argv[3], nullptr, 10);
  if (argc > 4) settings.hz = std::strtod(argv[4], nullptr);
  if (argc > 5 || settings.frame_bytes <= sizeof(FrameHeader) || settings.frames == 0 ||
      settings.hz <= 0) {
    std::cerr << "usage: example_topics [ADDRESS [FRAME_BYTES [FRAMES [HZ]]]]\n";
    std::exit(2);
  }
  return settings;
}

}  // namespace

int main(int argc, char** argv) {
  const Settings settings = Parse(argc, argv);
  Camera camera(settings);
  Viewer quick(settings, "quick", 2, std::chrono::milliseconds(0));
  Viewer slow(settings, "slow", 1, std::chrono::milliseconds(50));
  Viewer late(settings, "late", 2, std::chrono::milliseconds(0));
  std::atomic<int> looking = 3;
  const auto look = [&](Viewer& viewer) {
    return std::jthread([&](const std::stop_token& stop) {
      viewer.Run(stop);
      --looking;
      camera.Wake();
    });
  };

  const auto began_at = Clock::now();
  {
    const std::jthread a = look(quick);
    const std::jthread b = look(slow);
    camera.AwaitViewers(2);
    camera.TakeFrames(1, settings.frames / 2);
    const std::jthread c = look(late);
    camera.TakeFrames(settings.frames / 2 + 1, settings.frames);
    camera.Serve([&] { return looking == 0; }, Clock::now() + std::chrono::seconds(10));
  }
  const double took = Seconds(Clock::now() - began_at).count();

  std::cout << std::fixed << std::setprecision(1) << settings.frames << " frames of "
            << settings.frame_bytes << " bytes at " << settings.hz << " Hz took " << took << " s\n"
            << "viewer    frames  missed damaged      Hz    p50 ms    p99 ms\n";
  quick.Print();
  slow.Print();
  late.Print();
  late.PrintFirst();
}
