// How methods are named on the wire.
#ifndef IVMQ_RPC_INTERNAL_METHOD_H_
#define IVMQ_RPC_INTERNAL_METHOD_H_

#include <cstdint>
#include <string_view>

namespace ivmq::rpc {

enum class MethodType : std::uint8_t {
  kUnary,
  kClientStream,
  kServerStream,
  kBidiStream,
};

namespace internal {

// FNV-1a of the path "/package.Service/Method": what a request carries in its place. A server with
// two methods of one id refuses to start.
constexpr std::uint64_t MethodId(std::string_view path) noexcept {
  std::uint64_t id = 0xcbf29ce484222325;
  for (const char c : path) {
    id ^= static_cast<std::uint8_t>(c);
    id *= 0x100000001b3;
  }
  return id;
}

// "package.Service" of the path. REQUIRES: IsPath(path)
constexpr std::string_view ServiceOf(std::string_view path) noexcept {
  return path.substr(1, path.rfind('/') - 1);
}
constexpr bool IsPath(std::string_view path) noexcept {
  return path.starts_with('/') && path.rfind('/') > 1 && !path.ends_with('/');
}

// A method as a client calls it.
struct MethodName {
  // What `path` refers to must live until the call has begun.
  constexpr explicit MethodName(std::string_view path_in) noexcept
      : path(path_in), id(MethodId(path_in)) {}

  std::string_view path;
  std::uint64_t id;
};

}  // namespace internal
}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_INTERNAL_METHOD_H_
