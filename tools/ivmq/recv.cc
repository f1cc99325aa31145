// ivmq recv: prints, stores or echoes what arrives.
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ivmq/address.h"
#include "ivmq/internal/peer_table.h"
#include "ivmq/node.h"

#include "command.h"
#include "commands.h"
#include "exit_code.h"
#include "interrupt.h"
#include "message_text.h"
#include "output.h"
#include "peers.h"
#include "receive.h"
#include "text.h"

namespace ivmq::tool {
namespace {

using std::chrono::nanoseconds;

constexpr const char* kRecvFooter =
    R"(Prints the sender, size and type of each message, and its text, or hex if it is
not text. "ready" on standard error means that senders can find this peer. A
message counts as read when it has been printed. With --durable, messages that
arrive while this peer is away are kept for the next `ivmq recv` with that name;
`ivmq forget` ends that.

Example:
  ivmq recv shm:/demo --name bob
  ivmq recv shm:/demo --name bob -n 1 --timeout 10 --raw > photo.jpg
  ivmq recv shm:/demo --name bob --echo)";

struct RecvFlags {
  std::string name;
  bool durable = false;
  ReceiveLimits limits;
  std::optional<nanoseconds> spin;
  bool echo = false;
  bool raw = false;
  bool json = false;
};

std::string Line(const Node& node, const Message& message) {
  return fmt::format("{}  {}  {}{}  {}\n", NameOf(node, message.from),
                     SizeText(message.payload.size()), TypeText(message),
                     message.redelivered ? "  (again)" : "", PayloadText(message));
}

Json MessageJson(const Node& node, const Message& message) {
  Json json;
  const auto from = PeerTable(node.region()).Read(message.from.slot);
  json["from"] = from && from->id == message.from ? Json(from->name) : Json(nullptr);
  json["slot"] = message.from.slot;
  json["incarnation"] = message.from.incarnation;
  json["redelivered"] = message.redelivered;
  AddContent(message, &json);
  return json;
}

class Receiver {
 public:
  Receiver(Node& node, const RecvFlags& options) : node_(node), options_(options) {}

  void Take(const Message& message) {
    ++messages_;
    bytes_ += message.payload.size();
    if (options_.echo) {
      const SendResult result = node_.Send(
          message.from, {.kind = message.kind, .type = message.type, .name = message.type_name},
          message.payload, {.when_full = WhenFull::kWait});
      if (result != SendResult::kOk) {
        Complain(fmt::format("{}: its message could not be sent back: {}",
                             NameOf(node_, message.from), SendResultName(result)));
      }
      return;
    }
    const bool printed = options_.raw ? TryPrint(message.text())
                         : options_.json
                             ? TryPrint(JsonText(MessageJson(node_, message), JsonStyle::kOneLine))
                             : TryPrint(Line(node_, message));
    if (printed) return;
    // Returning would acknowledge the message. As it is, a durable peer's successor gets it again.
    Complain("cannot write to standard output; the message was not acknowledged");
    std::_Exit(kExitFailed);
  }

  [[nodiscard]] std::uint64_t messages() const noexcept { return messages_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  Node& node_;
  const RecvFlags& options_;
  std::uint64_t messages_ = 0;
  std::uint64_t bytes_ = 0;
};

int RunRecv(const RecvFlags& options, const std::string& address) {
  if (options.echo + options.raw + options.json > 1) {
    WrongUsage("only one of --echo, --raw and --json may be given");
  }
  HoldSignals();
  NodeOptions node_options;
  node_options.name = options.name;
  node_options.durable = options.durable;
  node_options.spin_budget = options.spin.value_or(node_options.spin_budget);
  node_options.on_report = [](const Status& status) { Complain(status); };
  const auto node = Node::Open(address, std::move(node_options));
  if (!node.ok()) return Fail(node.status());
  const Interrupt interrupt([&node] { (*node)->Wake(); });
  Complain(fmt::format("ready as {} (slot {}) at {}", options.name, (*node)->id().slot,
                       (*node)->transport().info().address));

  Receiver receiver(**node, options);
  const Receiving receiving{
      .handler = [&receiver](const Message& message) { receiver.Take(message); },
      .received = [&receiver] { return receiver.messages(); }};
  const ReceiveEnd end = ReceiveAll(**node, receiving, options.limits, interrupt);
  const int exit_code = ReceiveExitCode(end, receiver.messages(), options.limits);
  if (interrupt.requested() || options.echo || exit_code == kExitTimedOut) {
    Complain(fmt::format(
        "{} message{}, {}{}", receiver.messages(), receiver.messages() == 1 ? "" : "s",
        SizeText(receiver.bytes()),
        exit_code == kExitTimedOut
            ? fmt::format("; nothing came within {}", DurationText(*options.limits.timeout))
            : ""));
  }
  return exit_code;
}

}  // namespace

void AddRecv(CLI::App& app, int* exit_code) {
  const auto options = std::make_shared<RecvFlags>();
  CLI::App* const command =
      AddCommand(app, exit_code,
                 {.name = "recv",
                  .summary = "Join as a peer, and print or echo the messages that arrive",
                  .words = "--name NAME",
                  .footer = kRecvFooter},
                 [options](const std::string& address, const std::vector<std::string>& /*words*/) {
                   return RunRecv(*options, address);
                 });
  AddPeerName(command, &options->name)->required();
  command->add_flag("--durable", options->durable,
                    "Durable: keep the name and unread messages after the end");
  AddReceiveLimits(command, &options->limits);
  AddDuration(command, "--spin", &options->spin, "How long to spin before sleeping (50us)");
  command->add_flag("--echo", options->echo, "Print nothing; send each message back to its sender");
  command->add_flag("--raw", options->raw, "Print only the bytes of the messages");
  command->add_flag("--json", options->json, "Print one JSON object per line");
}

}  // namespace ivmq::tool
