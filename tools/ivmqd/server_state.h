// What a region's server says about itself and its clients, for the operator.
#ifndef IVMQ_TOOLS_IVMQD_SERVER_STATE_H_
#define IVMQ_TOOLS_IVMQD_SERVER_STATE_H_

#include <sys/types.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ivmq::server {

enum class ClientState : std::uint8_t {
  kGreeting,   // has not read its greeting yet
  kConnected,  // has been told all
  kSlow,       // has not read what it has to be told
  kHeldBack,   // may not open enough files to be told of all peers
  kLingering,  // has no connection, but somebody can still write the region by its id
};
// "greeting", "connected" and so on.
std::string_view ClientStateName(ClientState state);

struct ClientInfo {
  std::uint16_t id = 0;
  ClientState state = ClientState::kConnected;
  // Of who connected. 0 and empty: of another pid namespace, or a former server's client.
  pid_t pid = 0;
  std::string process{};
  bool is_qemu = false;
  std::optional<uid_t> uid{};  // nothing: a former server's client
  std::optional<std::chrono::system_clock::time_point> since{};  // likewise
  std::size_t told = 0;  // ids whose doorbells it has, its own included
  std::size_t owed = 0;  // ids that are still to be announced
};

// Why a newcomer was refused.
enum class Refusal : std::uint8_t {
  kUser,               // not among --allow-uid
  kQuota,              // its user or process has too many ids
  kClientDescriptors,  // it may open too few files
  kServerDescriptors,  // this server may open too few files
  kInFlight,           // too many descriptors are on their way to its user or process
  kNoId,               // no id is left
  kDraining,           // the operator wants no newcomers
  kEnding,             // the server ends
  kFailed,             // the system failed
  kCount,
};
// "user", "quota" and so on.
std::string_view RefusalName(Refusal reason);

struct ServerState {
  bool is_draining = false;
  std::size_t clients = 0;      // with a connection
  std::size_t lingering = 0;    // ids
  std::size_t observers = 0;    // who only look, and have not read the region yet
  std::uint64_t allocated = 0;  // bytes of the region
  // Since this server started.
  std::uint64_t admitted = 0;
  std::uint64_t ended = 0;  // clients that are proved to be gone
  std::array<std::uint64_t, static_cast<std::size_t>(Refusal::kCount)> refused{};
  std::uint64_t log_lines_omitted = 0;
};

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_SERVER_STATE_H_
