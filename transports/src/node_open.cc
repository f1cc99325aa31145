#include <utility>

#include "ivmq/address.h"
#include "ivmq/node.h"

namespace ivmq {

Result<std::unique_ptr<Node>> Node::Open(std::string_view address, NodeOptions options) {
  auto transport = OpenTransport(address);
  if (!transport.ok()) return transport.status();
  return Open(*std::move(transport), std::move(options));
}

}  // namespace ivmq
