// A peer that lives and does nothing of itself: it takes no message and shows no sign of life, as a
// process that was stopped. A test may read and write its rings.
#ifndef IVMQ_TESTS_SUPPORT_STILL_PEER_H_
#define IVMQ_TESTS_SUPPORT_STILL_PEER_H_

#include <memory>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "ivmq/internal/peer_table.h"
#include "ivmq/internal/region.h"
#include "ivmq/transport.h"

namespace ivmq::testing {

class StillPeer {
 public:
  StillPeer(std::unique_ptr<Transport> transport, const std::string& name)
      : transport_(std::move(transport)), table_(*Region::Attach(transport_->memory())) {
    const Result<ClaimedSlot> claimed = table_.Claim({.name = name}, *transport_);
    EXPECT_TRUE(claimed.ok()) << claimed.status().ToString();
    claimed_ = *claimed;
  }
  ~StillPeer() { table_.Leave(claimed_, *transport_); }
  StillPeer(const StillPeer&) = delete;
  StillPeer& operator=(const StillPeer&) = delete;

  [[nodiscard]] PeerId id() const noexcept { return claimed_.id; }
  [[nodiscard]] Transport& transport() const noexcept { return *transport_; }

 private:
  const std::unique_ptr<Transport> transport_;
  const PeerTable table_;
  ClaimedSlot claimed_;
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_SUPPORT_STILL_PEER_H_
