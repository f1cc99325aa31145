// What a synchronous unary call must not do in the steady state: allocate, on either side. This
// program counts the allocations of all its threads.
#include <algorithm>
#include <cstdint>
#include <new>

#include <gtest/gtest.h>

#include "ivmq/rpc/generic.h"

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

// In the best of some rounds: the nodes' own threads look at the peers now and then, which
// allocates; a call would each time.
template <typename Calls>
std::uint64_t FewestAllocations(Calls calls) {
  calls();  // what is kept for later calls is allocated once
  std::uint64_t fewest = UINT64_MAX;
  for (int round = 0; round < 5; ++round) {
    const std::uint64_t before = AllocationsOfAllThreads();
    calls();
    fewest = std::min(fewest, AllocationsOfAllThreads() - before);
  }
  return fewest;
}

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
  EXPECT_EQ(FewestAllocations([&] { call(1000); }), 0U);
  EXPECT_EQ(right, 6000);
}

TEST_P(AllocationTest, AGenericCallAllocatesNothing) {
  rpc::GenericService service;
  service.AddUnary("/any.Thing/Say",
                   [](rpc::ServerContext*, const std::string* request, std::string* response) {
                     *response = *request;
                     return Status();
                   });
  ServicePair pair(service, [&](rpc::ServerBuilder& builder) { builder.SetExecutor(GetParam()); });
  rpc::GenericStub stub(pair.client_endpoint->CreateChannel("server"));
  std::string request(64, 'x');
  std::string response;
  int right = 0;
  EXPECT_EQ(FewestAllocations([&] {
              for (int i = 0; i < 1000; ++i) {
                request[0] = static_cast<char>(i);
                ClientContext context;
                if (stub.Call(&context, "/any.Thing/Say", request, &response).ok() &&
                    response == request) {
                  ++right;
                }
              }
            }),
            0U);
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
