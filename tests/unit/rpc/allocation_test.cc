// What a synchronous unary call must not do in the steady state: allocate, on either side. This
// program counts the allocations of all its threads.
#include <algorithm>
#include <cstdint>
#include <new>

#include <gtest/gtest.h>

#include "echo_pair.h"
#include "support/allocations.h"

namespace ivmq::testing {
namespace {

// Answers without allocating itself.
class PlainService final : public Echo::Service {
 public:
  rpc::Status Say(rpc::ServerContext* /*context*/, const Request* request,
                  Response* response) override {
    response->set_count(request->count());
    response->set_text(request->text());
    return rpc::Status::OK;
  }
};

class AllocationTest : public ::testing::TestWithParam<rpc::Executor> {};

INSTANTIATE_TEST_SUITE_P(Executors, AllocationTest,
                         ::testing::Values(rpc::Executor::kPool, rpc::Executor::kInline),
                         [](const auto& executor) {
                           return executor.param == rpc::Executor::kPool ? "Pool" : "Inline";
                         });

TEST_P(AllocationTest, ASynchronousCallAllocatesNothing) {
  PlainService service;
  ServicePair pair(service, [&](rpc::ServerBuilder& builder) { builder.SetExecutor(GetParam()); });
  Request request;
  Response response;
  request.set_text(std::string(64, 'x'));
  int right = 0;
  const auto call = [&](int times) {
    for (int i = 0; i < times; ++i) {
      request.set_count(i);
      ClientContext context;
      context.set_deadline(Soon());
      if (pair.stub->Say(&context, request, &response).ok() && response.count() == i) ++right;
    }
  };
  call(1000);  // what is kept for later calls is allocated once
  // The nodes' own threads look at the peers now and then, which allocates; a call would each time.
  std::uint64_t fewest = UINT64_MAX;
  for (int round = 0; round < 5; ++round) {
    const std::uint64_t before = AllocationsOfAllThreads();
    call(1000);
    fewest = std::min(fewest, AllocationsOfAllThreads() - before);
  }
  EXPECT_EQ(fewest, 0U);
  EXPECT_EQ(right, 6000);
}

TEST(AllocationCountTest, AnAllocationIsCounted) {
  const std::uint64_t before = AllocationsOfAllThreads();
  void* const one = ::operator new(1);  // a new-expression may be optimized away
  ::operator delete(one);
  EXPECT_GE(AllocationsOfAllThreads() - before, 1U);
}

}  // namespace
}  // namespace ivmq::testing
