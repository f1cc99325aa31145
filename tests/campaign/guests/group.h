// The peers of one place, a machine or the host, and what they have printed.
#ifndef IVMQ_TESTS_CAMPAIGN_GUESTS_GROUP_H_
#define IVMQ_TESTS_CAMPAIGN_GUESTS_GROUP_H_

#include <barrier>
#include <chrono>
#include <cstddef>
#include <string>

#include "guest.h"
#include "guests/stage.h"

namespace ivmq::campaign {

// For whatever must happen.
inline constexpr std::chrono::seconds kLimit{90};

class Group {
 public:
  virtual ~Group() = default;

  [[nodiscard]] virtual std::size_t count() const = 0;
  [[nodiscard]] virtual const Life& life(std::size_t peer) const = 0;
  virtual void Signal(std::size_t peer, int signal) = 0;
  // Waits until the peer has printed `text`. False, and a fault, if it does not in time.
  virtual bool Await(std::size_t peer, const std::string& text) = 0;
  // What it has printed so far.
  virtual std::string Output(std::size_t peer) = 0;
  // Waits for its end, and looks for faults in what it has printed.
  virtual testing::Result Finish(std::size_t peer) = 0;
};

// The life that a peer has said to be.
[[nodiscard]] Life LifeIn(const std::string& output);
// Whether they talk with each other: two of one circle.
[[nodiscard]] bool IsPair(const Life& one, const Life& other);
// Adds the faults that the peer has printed.
void Judge(Stage& stage, const Life& life, const std::string& output);

// The end of all groups, each with a thread of its own: their peers settle, what each has sent is
// compared with what the others got, and they leave.
void Settle(Group& group, Stage& stage, std::barrier<>& together);

}  // namespace ivmq::campaign

#endif  // IVMQ_TESTS_CAMPAIGN_GUESTS_GROUP_H_
