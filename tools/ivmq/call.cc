// ivmq call: methods of services, with messages as JSON.
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/wrappers.pb.h>

#include "ivmq/rpc/client.h"
#include "ivmq/rpc/endpoint.h"
#include "ivmq/rpc/generic.h"

#include "command.h"
#include "commands.h"
#include "definitions.h"
#include "exit_code.h"
#include "interrupt.h"
#include "json_input.h"
#include "message_json.h"
#include "output.h"
#include "peers.h"
#include "reflection.ivmq.pb.h"
#include "text.h"

namespace ivmq::tool {
namespace {

namespace pb = google::protobuf;
using rpc::ClientContext;
using std::chrono::nanoseconds;
using SteadyClock = std::chrono::steady_clock;

constexpr const char* kCallFooter =
    R"(Calls a method of PEER or, without PEER, of one of the peers that offer the
service. JSON is the request; default: {}. A method that takes a stream takes
several objects, one after the other; - reads them from standard input, and sends
each as soon as it is complete. Responses are printed as JSON, one per line.

PEER alone: shows the services of the peer. PEER pkg.Name: shows the definition
of that service, message or enum. Definitions come from the peer itself, or from
--proto files. If a call ends with an error of google.rpc.Code, the exit status
is 64 plus the number of the code: 69 is NOT_FOUND.

Example:
  ivmq ls shm:/demo --services
  ivmq call shm:/demo bob
  ivmq call shm:/demo bob pkg.Echo
  ivmq call shm:/demo bob pkg.Echo/Say '{"text": "hello"}' --timeout 1
  ivmq call shm:/demo pkg.Echo/Say '{"text": "hello"}' -H 'trace-id: 7'
  seq 3 | sed 's/.*/{"count": &}/' | ivmq call shm:/demo bob pkg.Echo/Collect -)";

struct CallFlags {
  ProtoFlags protos;
  std::vector<std::string> headers;
  std::optional<nanoseconds> timeout;
  std::optional<nanoseconds> await;
  std::string name;
  bool emit_defaults = false;
  bool verbose = false;
};

// What the words of the command say.
struct CallTarget {
  std::string peer;    // empty: whoever offers the service
  std::string symbol;  // "pkg.Service/Method", another symbol, or empty
  std::optional<std::string> json;

  [[nodiscard]] bool is_call() const { return symbol.find('/') != std::string::npos; }
  [[nodiscard]] std::string service() const { return symbol.substr(0, symbol.find('/')); }
  [[nodiscard]] std::string method() const { return symbol.substr(symbol.find('/') + 1); }
  [[nodiscard]] std::string who() const {
    return peer.empty() ? "whoever offers " + service() : "peer '" + peer + "'";
  }
};

CallTarget ParseTarget(std::vector<std::string> words) {
  // JSON begins otherwise.
  const auto is_method = [&](std::size_t i) {
    return i < words.size() && words[i].find('/') != std::string::npos &&
           words[i].find_first_of("{[\"") == std::string::npos;
  };
  CallTarget target;
  // Names of peers may have a slash; then a method follows.
  if (!is_method(0) || is_method(1)) {
    target.peer = std::move(words.front());
    words.erase(words.begin());
  }
  if (!words.empty()) target.symbol = std::move(words[0]);
  if (words.size() > 1) target.json = std::move(words[1]);
  if (words.size() > 2) WrongUsage(fmt::format("unexpected argument '{}'", words[2]));
  if (target.symbol.starts_with('/')) target.symbol.erase(0, 1);
  if (target.json && !target.is_call()) {
    WrongUsage(
        fmt::format("'{}' is no method: those are written pkg.Service/Method", target.symbol));
  }
  return target;
}

struct Header {
  std::string key;
  std::string value;
};

// "key: value"; the value of a "-bin" key is base64.
Header ParseHeader(const std::string& text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos) WrongUsage(fmt::format("-H '{}': write 'key: value'", text));
  Header header{text.substr(0, colon), text.substr(colon + 1)};
  header.value.erase(0, std::min(header.value.find_first_not_of(' '), header.value.size()));
  if (header.key.ends_with("-bin")) {
    pb::BytesValue bytes;
    if (!pb::util::JsonStringToMessage('"' + header.value + '"', &bytes).ok()) {
      WrongUsage(fmt::format("-H '{}': the value of a -bin key is base64", text));
    }
    header.value = bytes.value();
  }
  if (!rpc::IsValidMetadata(header.key, header.value)) {
    WrongUsage(fmt::format("-H '{}': keys have a-z 0-9 - _ . and values printable ASCII", text));
  }
  return header;
}

// The calls of one run of the command.
class Session {
 public:
  Session(std::shared_ptr<rpc::Channel> channel, std::optional<nanoseconds> timeout)
      : channel_(std::move(channel)), timeout_(timeout) {}

  [[nodiscard]] const std::shared_ptr<rpc::Channel>& channel() const { return channel_; }

  // A context for one call, which Cancel() cancels.
  class Context {
   public:
    explicit Context(Session& session) : session_(session) {
      if (session.timeout_) context_.set_deadline(SteadyClock::now() + *session.timeout_);
      const std::lock_guard lock(session.mutex_);
      session.current_.insert(&context_);
      if (session.cancelled_) context_.TryCancel();
    }
    ~Context() {
      const std::lock_guard lock(session_.mutex_);
      session_.current_.erase(&context_);
    }
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;
    ClientContext& operator*() noexcept { return context_; }
    ClientContext* get() noexcept { return &context_; }

   private:
    Session& session_;
    ClientContext context_;
  };

  // Thread-safe.
  void Cancel() {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    for (ClientContext* const context : current_) context->TryCancel();
  }

 private:
  const std::shared_ptr<rpc::Channel> channel_;
  const std::optional<nanoseconds> timeout_;
  std::mutex mutex_;
  std::set<ClientContext*> current_;  // guarded by mutex_; of calls that are under way
  bool cancelled_ = false;            // guarded by mutex_
};

// Asks the peer.
class Reflected final : public Definitions {
 public:
  Reflected(Session& session, std::string who)
      : session_(session),
        who_(std::move(who)),
        stub_(ivmq::reflection::Reflection::NewStub(session.channel())) {}

  Result<std::vector<std::string>> Services() override {
    Session::Context context(session_);
    ivmq::reflection::ListServicesResponse response;
    const Status status = stub_->ListServices(context.get(), {}, &response);
    if (!status.ok()) return Failure(status);
    return std::vector<std::string>(response.services().begin(), response.services().end());
  }

  Status Find(const std::string& symbol) override {
    pb::FileDescriptorSet files;
    Status status;
    {
      Session::Context context(session_);
      ivmq::reflection::FindSymbolRequest request;
      request.set_symbol(symbol);
      status = stub_->FindSymbol(context.get(), request, &files);
    }
    if (status.code() == StatusCode::kNotFound) {
      const auto services = Services();
      if (!services.ok()) return services.status();
      return {StatusCode::kNotFound, fmt::format("{} offers no '{}'; its services: {}", who_,
                                                 symbol, fmt::join(*services, ", "))};
    }
    if (!status.ok()) return Failure(status);
    Status added = AddFiles(files, pool_);
    if (!added.ok()) return {StatusCode::kInternal, fmt::format("{}: {}", who_, added.message())};
    if (pool_.FindFileContainingSymbol(symbol) != nullptr) return {};
    return {StatusCode::kInternal, fmt::format("{} sent no definition of '{}'", who_, symbol)};
  }

  [[nodiscard]] const pb::DescriptorPool& pool() const override { return pool_; }

 private:
  [[nodiscard]] Status Failure(const Status& status) const {
    if (status.code() != StatusCode::kUnimplemented) {
      return {status.code(), fmt::format("{}: {}", who_, status.ToString())};
    }
    return {StatusCode::kUnimplemented,
            fmt::format("{} does not say how its services are defined: {}; give their files with "
                        "--proto",
                        who_, status.message())};
  }

  Session& session_;
  const std::string who_;
  std::unique_ptr<ivmq::reflection::Reflection::Stub> stub_;
  pb::DescriptorPool pool_;
};

// ---- Showing definitions ----

std::string MethodLine(const pb::MethodDescriptor& method) {
  return fmt::format("rpc {}({}{}) returns ({}{})", method.name(),
                     method.client_streaming() ? "stream " : "", method.input_type()->full_name(),
                     method.server_streaming() ? "stream " : "", method.output_type()->full_name());
}

int ListServices(Definitions& definitions) {
  const auto services = definitions.Services();
  if (!services.ok()) return Fail(services.status());
  for (const std::string& name : *services) {
    Print(PrintableName(name) + "\n");
    const pb::ServiceDescriptor* const service =
        definitions.Find(name).ok() ? definitions.pool().FindServiceByName(name) : nullptr;
    if (service == nullptr) {
      Print("  (no definition)\n");
      continue;
    }
    for (int i = 0; i < service->method_count(); ++i) {
      Print("  " + MethodLine(*service->method(i)) + "\n");
    }
  }
  return kExitOk;
}

int Describe(Definitions& definitions, const std::string& symbol) {
  if (Status status = definitions.Find(symbol); !status.ok()) return Fail(status);
  const pb::DescriptorPool& pool = definitions.pool();
  std::string text;
  if (const auto* const service = pool.FindServiceByName(symbol)) {
    text = service->DebugString();
    std::vector<const pb::Descriptor*> types;
    for (int i = 0; i < service->method_count(); ++i) {
      for (const auto* const type :
           {service->method(i)->input_type(), service->method(i)->output_type()}) {
        if (std::find(types.begin(), types.end(), type) != types.end()) continue;
        types.push_back(type);
        text += fmt::format("\n// {}\n{}", type->full_name(), type->DebugString());
      }
    }
  } else if (const auto* const message = pool.FindMessageTypeByName(symbol)) {
    text = message->DebugString();
  } else if (const auto* const values = pool.FindEnumTypeByName(symbol)) {
    text = values->DebugString();
  } else if (const auto* const method = pool.FindMethodByName(symbol)) {
    text = MethodLine(*method) + "\n";
  } else {
    return Fail({StatusCode::kNotFound,
                 fmt::format("'{}' is no service, method, message or enum", symbol)});
  }
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size() - 1);
    Print(Printable(rest.substr(0, end)) + "\n");
    rest.remove_prefix(end + 1);
  }
  return kExitOk;
}

// ---- Calling ----

// Prints the response as a line. Not OK: it cannot.
Status Show(const pb::Message& message, const JsonOptions& options) {
  const auto json = JsonOfMessage(message, options);
  if (!json.ok()) return {json.status().code(), "the response, " + json.status().message()};
  if (TryPrint(*json + "\n")) return {};
  return {StatusCode::kUnavailable, "the output cannot be written"};
}

void ShowMetadata(const char* what, const rpc::Metadata& metadata) {
  for (const auto& [key, value] : metadata) {
    const bool binary = key.ends_with("-bin");
    Complain(fmt::format(
        "{} {}: {}", what, key,
        binary ? HexText(std::as_bytes(std::span(value)), value.size()) : std::string(value)));
  }
}

class Caller {
 public:
  Caller(Session& session, Definitions& definitions, const pb::MethodDescriptor& method,
         const CallFlags& flags, const Interrupt& interrupt)
      : session_(session),
        definitions_(definitions),
        method_(method),
        path_(fmt::format("/{}/{}", method.service()->full_name(), method.name())),
        flags_(flags),
        interrupt_(interrupt),
        factory_(method.file()->pool()) {
    for (const std::string& text : flags.headers) headers_.push_back(ParseHeader(text));
  }

  int Run(const std::optional<std::string>& json) {
    const UniqueStop stop;
    const bool from_input = json == "-";
    const char* const none = method_.client_streaming() ? "" : "{}";
    JsonInput requests(from_input ? std::nullopt : std::optional(json.value_or(none)), interrupt_,
                       stop.fd());
    std::string request;
    if (!method_.client_streaming()) {
      const auto first = requests.Next();
      if (interrupt_.requested()) return kExitInterrupted;
      if (!first) WrongUsage("there is no request");
      if (requests.Next()) {
        WrongUsage(fmt::format("{} takes one request, and there are more", method_.full_name()));
      }
      if (Status status = Serialize(*first, &request); !status.ok()) return Fail(status);
    }
    Session::Context context(session_);
    for (const Header& header : headers_) (*context).AddMetadata(header.key, header.value);
    const Status status = Call(*context, request, requests, stop);
    return Finish(*context, status);
  }

 private:
  // Ends the reading of standard input.
  class UniqueStop {
   public:
    UniqueStop() : fd_(eventfd(0, EFD_CLOEXEC)) {}
    ~UniqueStop() { (void)close(fd_); }
    UniqueStop(const UniqueStop&) = delete;
    UniqueStop& operator=(const UniqueStop&) = delete;
    void Set() const { (void)eventfd_write(fd_, 1); }
    [[nodiscard]] int fd() const noexcept { return fd_; }

   private:
    int fd_;
  };

  std::unique_ptr<pb::Message> New(const pb::Descriptor* type) {
    return std::unique_ptr<pb::Message>(factory_.GetPrototype(type)->New());
  }
  // Requests are read while responses are shown, and both may need more definitions.
  FindType Find() {
    return [this](const std::string& name) { (void)definitions_.Find(name); };
  }
  Status Serialize(const std::string& json, std::string* bytes) {
    const std::lock_guard lock(definitions_mutex_);
    const std::unique_ptr<pb::Message> message = New(method_.input_type());
    if (const Status parsed = ParseJson(json, *message, Find()); !parsed.ok()) {
      return {parsed.code(),
              fmt::format("the request is {}; see its fields with `ivmq call ... {}`",
                          parsed.message(), method_.input_type()->full_name())};
    }
    *bytes = message->SerializeAsString();
    return {};
  }
  Status ShowResponse() {
    const std::lock_guard lock(definitions_mutex_);
    const std::unique_ptr<pb::Message> message = New(method_.output_type());
    if (message->ParseFromString(response_)) {
      return Show(*message, {.emit_defaults = flags_.emit_defaults, .find = Find()});
    }
    return {StatusCode::kInternal,
            fmt::format("the response is no {}", method_.output_type()->full_name())};
  }

  Status Call(ClientContext& context, const std::string& request, JsonInput& requests,
              const UniqueStop& stop) {
    rpc::GenericStub stub(session_.channel());
    if (!method_.client_streaming()) {
      if (!method_.server_streaming()) return stub.Call(&context, path_, request, &response_);
      return ShowAll(context, *stub.ServerStream(&context, path_, request));
    }
    if (!method_.server_streaming()) {
      const auto stream = stub.ClientStream(&context, path_, &response_);
      return WriteBeside(context, *stream, requests, stop, [&] { return stream->Finish(); });
    }
    const auto stream = stub.BidiStream(&context, path_);
    return WriteBeside(context, *stream, requests, stop, [&] { return ShowAll(context, *stream); });
  }
  // Writes the requests on a thread of its own while `finish()` waits for the end.
  template <typename Stream, typename Finish>
  Status WriteBeside(ClientContext& context, Stream& stream, JsonInput& requests,
                     const UniqueStop& stop, Finish finish) {
    Status wrong_request;
    std::thread writer([&] {
      std::string request;
      while (const auto json = requests.Next()) {
        wrong_request = Serialize(*json, &request);
        if (!wrong_request.ok()) return context.TryCancel();
        if (!stream.Write(request)) return;
      }
      (void)stream.WritesDone();
    });
    Status status = finish();
    stop.Set();
    writer.join();
    if (!wrong_request.ok()) shown_ = wrong_request;
    return status;
  }
  template <typename Stream>
  Status ShowAll(ClientContext& context, Stream& stream) {
    while (stream.Read(&response_)) {
      if (shown_ = ShowResponse(); !shown_.ok()) context.TryCancel();
    }
    return stream.Finish();
  }

  int Finish(const ClientContext& context, const Status& status) {
    if (flags_.verbose) {
      Complain("answered by " + context.peer());
      ShowMetadata("header", context.GetServerInitialMetadata());
      ShowMetadata("trailer", context.GetServerTrailingMetadata());
    }
    if (interrupt_.requested()) return kExitInterrupted;
    if (!shown_.ok()) return Fail(shown_);
    if (status.ok()) {
      if (!method_.server_streaming()) shown_ = ShowResponse();
      return shown_.ok() ? kExitOk : Fail(shown_);
    }
    std::string text = StatusCodeName(status.code());
    if (!status.message().empty()) text += ": " + status.message();
    if (const std::string& details = status.error_details(); !details.empty()) {
      constexpr std::size_t kMostShown = 64;
      text += fmt::format("; details: {}", HexText(std::as_bytes(std::span(details)), kMostShown));
    }
    Complain(text);
    return kExitCallStatus + static_cast<int>(status.code());
  }

  Session& session_;
  std::mutex definitions_mutex_;
  Definitions& definitions_;  // guarded by definitions_mutex_
  const pb::MethodDescriptor& method_;
  const std::string path_;
  const CallFlags& flags_;
  const Interrupt& interrupt_;
  std::vector<Header> headers_;
  pb::DynamicMessageFactory factory_;
  std::string response_;
  Status shown_;  // what ended the showing of responses, or the reading of requests
};

// The peer is there, or somebody offers the service, at once or within --await.
Status AwaitTarget(const Node& node, const CallTarget& target, const CallFlags& flags,
                   const Interrupt& interrupt) {
  if (!target.peer.empty()) return FindPeer(node, target.peer, flags.await, interrupt).status();
  const std::string service = target.service();
  const auto deadline = SteadyClock::now() + flags.await.value_or(nanoseconds(0));
  for (;;) {
    std::vector<std::string> offered;
    for (const PeerInfo& peer : node.Peers().peers) {
      for (const std::string& name : peer.services) {
        if (name == service) return {};
        offered.push_back(fmt::format("{} by {}", name, PrintableName(peer.name)));
      }
    }
    if (interrupt.requested()) return {StatusCode::kCancelled, "interrupted"};
    if (SteadyClock::now() >= deadline) {
      return {flags.await ? StatusCode::kDeadlineExceeded : StatusCode::kNotFound,
              fmt::format("{}: no live peer offers '{}'; offered: {}",
                          node.transport().info().address, service,
                          offered.empty() ? "nothing" : fmt::to_string(fmt::join(offered, ", ")))};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

Result<const pb::MethodDescriptor*> FindMethod(Definitions& definitions, const CallTarget& target) {
  if (Status status = definitions.Find(target.service()); !status.ok()) return status;
  const auto* const service = definitions.pool().FindServiceByName(target.service());
  if (service == nullptr) {
    return Status(StatusCode::kNotFound, fmt::format("'{}' is no service", target.service()));
  }
  if (const auto* const method = service->FindMethodByName(target.method())) return method;
  std::vector<std::string> names;
  for (int i = 0; i < service->method_count(); ++i) names.push_back(service->method(i)->name());
  return Status(StatusCode::kNotFound,
                fmt::format("{} has no method '{}'; it has: {}", target.service(), target.method(),
                            fmt::join(names, ", ")));
}

int RunCall(const CallFlags& flags, const std::string& address,
            const std::vector<std::string>& words) {
  const CallTarget target = ParseTarget(words);
  std::unique_ptr<Definitions> definitions;
  if (HasProtos(flags.protos)) {
    auto read = ReadProtoFiles(flags.protos);
    if (!read.ok()) return Fail(read.status());
    definitions = *std::move(read);
    if (target.symbol.empty()) return ListServices(*definitions);
    if (!target.is_call()) return Describe(*definitions, target.symbol);
  }
  HoldSignals();
  rpc::EndpointOptions options;
  options.node.name = flags.name;
  options.node.on_report = [](const Status& status) { Complain(status); };
  const auto endpoint = rpc::Endpoint::Open(address, std::move(options));
  if (!endpoint.ok()) return Fail(endpoint.status());
  Session session(target.peer.empty() ? (*endpoint)->CreateServiceChannel(target.service())
                                      : (*endpoint)->CreateChannel(target.peer),
                  flags.timeout);
  const Interrupt interrupt([&session] { session.Cancel(); });
  const Status there = AwaitTarget((*endpoint)->node(), target, flags, interrupt);
  if (interrupt.requested()) return kExitInterrupted;
  if (!there.ok()) return Fail(there);

  if (definitions == nullptr) definitions = std::make_unique<Reflected>(session, target.who());
  if (target.symbol.empty()) return ListServices(*definitions);
  if (!target.is_call()) return Describe(*definitions, target.symbol);
  const auto method = FindMethod(*definitions, target);
  if (interrupt.requested()) return kExitInterrupted;
  if (!method.ok()) return Fail(method.status());
  return Caller(session, *definitions, **method, flags, interrupt).Run(target.json);
}

}  // namespace

void AddCall(CLI::App& app, int* exit_code) {
  const auto options = std::make_shared<CallFlags>();
  CLI::App* const command =
      AddCommand(app, exit_code,
                 {.name = "call",
                  .summary = "Call a method of a service, or show the services of a peer",
                  .words = "[PEER] [pkg.Service/Method [JSON]]",
                  .min_words = 1,
                  .max_words = 3,
                  .footer = kCallFooter},
                 [options](const std::string& address, const std::vector<std::string>& words) {
                   return RunCall(*options, address, words);
                 });
  command->add_option("-H,--header", options->headers, "Metadata; a -bin key's value is base64")
      ->type_name("'KEY: VALUE'")
      ->allow_extra_args(false);
  AddDuration(command, "--timeout", &options->timeout, "Deadline of the call (none)");
  AddDuration(command, "--await", &options->await,
              "How long to wait for the peer, or for one that offers the service, to join");
  AddProtoFlags(command, &options->protos,
                "Read the definitions from this file instead of the peer");
  AddPeerName(command, &options->name);
  command->add_flag("--emit-defaults", options->emit_defaults,
                    "Print fields of responses that are not set, too");
  command->add_flag("-v,--verbose", options->verbose,
                    "Print the peer that answered, and metadata, to standard error");
}

}  // namespace ivmq::tool
