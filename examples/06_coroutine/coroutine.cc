// Calls and handlers as coroutines: a shop answers with a stream, and for each message of it calls
// somebody else. No thread waits for any of that.
#include "ivmq/rpc/coroutine.h"

#include <future>
#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include "ivmq/rpc/server.h"

#include "shop.ivmq.pb.h"

namespace {

using example::Basket;
using example::Item;
using ivmq::rpc::CallbackServerContext;
using ivmq::rpc::ClientContext;
using ivmq::rpc::Endpoint;
using ivmq::rpc::Status;
using ivmq::rpc::StatusCode;

class PricesService final : public example::Prices::Service {
  Status Find(ivmq::rpc::ServerContext* /*context*/, const Item* request, Item* response) override {
    if (request->name() == "yeti") return {StatusCode::NOT_FOUND, "there are no yetis"};
    response->set_name(request->name());
    response->set_price(static_cast<std::int64_t>(request->name().size()) * 100);
    return Status::OK;
  }
};

class ShopService final : public example::Shop::CallbackService {
 public:
  explicit ShopService(std::unique_ptr<example::Prices::Stub> prices)
      : prices_(std::move(prices)) {}

 private:
  ivmq::rpc::ServerWriteReactor<Item>* Price(CallbackServerContext* /*context*/,
                                             const Basket* basket) override {
    for (const std::string& name : basket->names()) {
      ClientContext context;
      Item wanted;
      Item found;
      wanted.set_name(name);
      const Status status = co_await ivmq::rpc::Start(
          [&](auto done) { prices_->async()->Find(&context, &wanted, &found, std::move(done)); });
      if (!status.ok()) co_return status;
      if (!co_await ivmq::rpc::WriteResponse(&found)) break;
    }
    co_return Status::OK;
  }

  std::unique_ptr<example::Prices::Stub> prices_;
};

ivmq::rpc::Task GoShopping(example::Shop::Stub& shop, Basket basket, std::promise<void>& done) {
  ClientContext context;
  ivmq::rpc::AwaitableReader<Item> reader;
  shop.async()->Price(&context, &basket, &reader);
  reader.Begin();
  Item item;
  while (co_await reader.Read(&item)) std::cout << item.name() << " " << item.price() << '\n';
  const Status status = co_await reader.Finish();
  std::cout << (status.ok() ? "that is all" : status.error_message()) << '\n';
  done.set_value();
}

std::shared_ptr<Endpoint> Open(const char* name) {
  // All live in this process; with another address each could live in a machine of its own.
  auto endpoint = Endpoint::Open("inproc:shop", {.node = {.name = name}});
  if (endpoint.ok()) return *std::move(endpoint);
  std::cerr << endpoint.status().ToString() << '\n';
  return nullptr;
}

}  // namespace

int main() {
  const auto at_prices = Open("prices");
  const auto at_shop = Open("shop");
  const auto at_customer = Open("customer");
  if (at_prices == nullptr || at_shop == nullptr || at_customer == nullptr) return 1;
  PricesService prices;
  ShopService shop(example::Prices::NewStub(at_shop->CreateChannel("prices")));
  const auto prices_server =
      ivmq::rpc::ServerBuilder(at_prices).RegisterService(&prices).BuildAndStart();
  const auto shop_server = ivmq::rpc::ServerBuilder(at_shop).RegisterService(&shop).BuildAndStart();
  for (const auto* server : {&prices_server, &shop_server}) {
    if (!server->ok()) {
      std::cerr << server->status().ToString() << '\n';
      return 1;
    }
  }

  const auto stub = example::Shop::NewStub(at_customer->CreateChannel("shop"));
  for (const std::string& third : {std::string("boots"), std::string("yeti")}) {
    Basket basket;
    for (const std::string& name : {std::string("hat"), std::string("gloves"), third}) {
      basket.add_names(name);
    }
    std::promise<void> done;
    GoShopping(*stub, std::move(basket), done);
    done.get_future().wait();
  }
}
