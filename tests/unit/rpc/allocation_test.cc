// What a synchronous unary call must not do in the steady state: allocate, on either side. This
// program counts the allocations of all its threads.
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

#include <gtest/gtest.h>

#include "echo_pair.h"

namespace {
std::atomic<std::uint64_t> allocations{0};

void* Allocate(std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
}  // namespace

// Not inlined: seen together, new and free look mismatched to the compiler.
#define REPLACED [[gnu::noinline]]
REPLACED void* operator new(std::size_t size) { return Allocate(size); }
REPLACED void* operator new[](std::size_t size) { return Allocate(size); }
REPLACED void operator delete(void* memory) noexcept { std::free(memory); }
REPLACED void operator delete[](void* memory) noexcept { std::free(memory); }
REPLACED void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
REPLACED void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

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
  const auto deadline = Soon();
  int right = 0;
  const auto call = [&](int times) {
    for (int i = 0; i < times; ++i) {
      request.set_count(i);
      ClientContext context;
      context.set_deadline(deadline);
      if (pair.stub->Say(&context, request, &response).ok() && response.count() == i) ++right;
    }
  };
  call(2000);  // what is kept for later calls is allocated once
  const std::uint64_t before = allocations;
  call(2000);
  EXPECT_EQ(allocations - before, 0U);
  EXPECT_EQ(right, 4000);
}

TEST(AllocationCountTest, AnAllocationIsCounted) {
  const std::uint64_t before = allocations;
  void* const one = ::operator new(1);  // a new-expression may be optimized away
  ::operator delete(one);
  EXPECT_GE(allocations - before, 1U);
}

}  // namespace
}  // namespace ivmq::testing
