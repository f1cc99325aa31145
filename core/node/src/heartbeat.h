// The node's own thread: four times a second it shows that the node lives, watches the others, and
// looks after what nobody else does.
#ifndef IVMQ_HEARTBEAT_H_
#define IVMQ_HEARTBEAT_H_

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "src/heap.h"
#include "src/node_context.h"
#include "src/publications.h"
#include "src/readers.h"
#include "src/topic_board.h"
#include "src/writers.h"

namespace ivmq {

// Thread-safe, except Stop().
class Heartbeat {
 public:
  Heartbeat(NodeContext& context, Writers& writers, Heap& heap, Readers& readers, TopicBoard& board,
            Publications& publications);
  ~Heartbeat();

  // Ends the thread. What it found last can be asked for afterwards, too.
  void Stop();

  // Publishes what was counted: in each beat, and once more before the node leaves its slot. Of
  // the thread, or once it has ended. REQUIRES: the slot is this node's.
  void ShowCounters() noexcept;

  // Whether the slot's peer has shown no sign of life for eight samples of this node's.
  [[nodiscard]] bool IsSuspected(std::uint32_t slot) const noexcept {
    return still_[slot].load(std::memory_order_relaxed) >= kSuspectAfter;
  }

 private:
  static constexpr std::uint32_t kSuspectAfter = 8;

  void Run();
  void Tick();
  // Whether this is the region, and the place in it, that the node was opened in.
  void CheckPlace();
  void AttendTransport();
  // Says, here and in the region, if nobody can join it any more.
  void WatchServer();
  void ShowLife();
  void WatchOthers();

  NodeContext& context_;
  Writers& writers_;
  Heap& heap_;
  Readers& readers_;
  TopicBoard& board_;
  Publications& publications_;

  // Of the thread alone, except `still_`, which others read.
  std::uint64_t beats_ = 0;
  bool is_orphaned_ = false;  // that was reported
  std::uint64_t generation_seen_ = 0;
  std::uint64_t lives_seen_ = 0;
  std::uint64_t suspects_seen_ = 0;
  std::vector<std::uint64_t> life_;       // by slot: the life word at the last sample
  std::vector<std::uint64_t> heartbeat_;  // by slot: the heartbeat at the last sample
  std::unique_ptr<std::atomic<std::uint32_t>[]> still_;  // by slot: samples without a change

  std::mutex mutex_;
  std::condition_variable stopping_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace ivmq

#endif  // IVMQ_HEARTBEAT_H_
