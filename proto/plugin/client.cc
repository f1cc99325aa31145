// Stubs. The names are gRPC's, so that ported code and its mocks find them.
#include <string>
#include <string_view>

#include "sections.h"

namespace ivmq::plugin {
namespace {

// `interface` is "Interface" or "".
std::string StubResult(const Method& method, std::string_view interface) {
  const std::string suffix(interface);
  switch (method.kind) {
    case Kind::kUnary:
      return "::ivmq::rpc::Status";
    case Kind::kClientStream:
      return "::ivmq::rpc::ClientWriter" + suffix + "<" + method.request + ">";
    case Kind::kServerStream:
      return "::ivmq::rpc::ClientReader" + suffix + "<" + method.response + ">";
    case Kind::kBidiStream:
      return "::ivmq::rpc::ClientReaderWriter" + suffix + "<" + method.request + ", " +
             method.response + ">";
  }
  return "";
}

std::string StubArguments(const Method& method) {
  switch (method.kind) {
    case Kind::kUnary:
      return "context, request, response";
    case Kind::kClientStream:
      return "context, response";
    case Kind::kServerStream:
      return "context, request";
    case Kind::kBidiStream:
      return "context";
  }
  return "";
}

// The parameters of a method of async() that has streams.
std::string ReactorParameters(const Method& method) {
  const std::string context = "::ivmq::rpc::ClientContext* context, ";
  switch (method.kind) {
    case Kind::kUnary:
      break;
    case Kind::kClientStream:
      return context + method.response + "* response, ::ivmq::rpc::ClientWriteReactor<" +
             method.request + ">* reactor";
    case Kind::kServerStream:
      return context + "const " + method.request + "* request, ::ivmq::rpc::ClientReadReactor<" +
             method.response + ">* reactor";
    case Kind::kBidiStream:
      return context + "::ivmq::rpc::ClientBidiReactor<" + method.request + ", " + method.response +
             ">* reactor";
  }
  return "";
}

Variables StubVariables(const Service& service, const Method& method) {
  Variables v = VariablesOf(service, method);
  v["result"] = StubResult(method, "");
  v["interface"] = StubInterfaceResult(method);
  v["parameters"] = StubParameters(method);
  v["arguments"] = StubArguments(method);
  v["reactor_parameters"] = ReactorParameters(method);
  return v;
}

void PrintStubInterface(const Service& service, Printer* printer) {
  printer->Print(
      "class StubInterface {\n"
      " public:\n"
      "  virtual ~StubInterface() = default;\n");
  for (const Method& method : service.methods) {
    printer->Indent();
    PrintCommentsOf(*method.descriptor, printer);
    printer->Outdent();
    printer->Print(StubVariables(service, method),
                   method.kind == Kind::kUnary
                       ? "  virtual $result$ $method$($parameters$) = 0;\n"
                       : "  ::std::unique_ptr<$interface$> $method$($parameters$) {\n"
                         "    return ::std::unique_ptr<$interface$>($raw$($arguments$));\n"
                         "  }\n");
  }
  printer->Print(
      "\n"
      "  // Calls that end in a callback, a reactor or a future.\n"
      "  class async_interface {\n"
      "   public:\n"
      "    virtual ~async_interface() = default;\n");
  for (const Method& method : service.methods) {
    printer->Print(
        StubVariables(service, method),
        method.kind == Kind::kUnary
            ? "    virtual void $method$(::ivmq::rpc::ClientContext* context, const $request$* "
              "request, $response$* response, ::std::function<void(::ivmq::rpc::Status)> done) "
              "= 0;\n"
              "    virtual ::std::future<::ivmq::rpc::Status> "
              "$method$(::ivmq::rpc::ClientContext* context, const $request$* request, "
              "$response$* response) = 0;\n"
              "    virtual void $method$(::ivmq::rpc::ClientContext* context, const $request$* "
              "request, $response$* response, ::ivmq::rpc::ClientUnaryReactor* reactor) = 0;\n"
            : "    virtual void $method$($reactor_parameters$) = 0;\n");
  }
  printer->Print(
      "  };\n"
      "  virtual async_interface* async() { return nullptr; }\n"
      "\n"
      " private:\n");
  for (const Method& method : service.methods) {
    if (method.kind == Kind::kUnary) continue;
    printer->Print(StubVariables(service, method),
                   "  virtual $interface$* $raw$($parameters$) = 0;\n");
  }
  printer->Print("};\n\n");
}

void PrintFunctions(const Service& service, const Method& method, Printer* printer) {
  const Variables v = StubVariables(service, method);
  if (method.kind == Kind::kUnary) {
    printer->Print(
        v,
        "::ivmq::rpc::Status $service$::Stub::$method$($parameters$) {\n"
        "  return stub_channel_->Call($service$::$constant$, context, request, response);\n"
        "}\n"
        "void $service$::Stub::async::$method$(::ivmq::rpc::ClientContext* context, const "
        "$request$* request, $response$* response, ::std::function<void(::ivmq::rpc::Status)> "
        "done) {\n"
        "  stub_channel_.CallAsync($service$::$constant$, context, *request, response, "
        "::std::move(done));\n"
        "}\n"
        "::std::future<::ivmq::rpc::Status> "
        "$service$::Stub::async::$method$(::ivmq::rpc::ClientContext* context, const $request$* "
        "request, $response$* response) {\n"
        "  return stub_channel_.CallFuture($service$::$constant$, context, *request, response);\n"
        "}\n"
        "void $service$::Stub::async::$method$(::ivmq::rpc::ClientContext* context, const "
        "$request$* request, $response$* response, ::ivmq::rpc::ClientUnaryReactor* reactor) {\n"
        "  reactor->Bind(stub_channel_, $service$::$constant$, context, *request, response);\n"
        "}\n"
        "\n");
    return;
  }
  printer->Print(v,
                 "$result$* $service$::Stub::$raw$($parameters$) {\n"
                 "  return new $result$(*stub_channel_, $service$::$constant$, $arguments$);\n"
                 "}\n"
                 "void $service$::Stub::async::$method$($reactor_parameters$) {\n"
                 "  reactor->Bind(stub_channel_, $service$::$constant$, context, ");
  printer->Print("$request$, $response$);\n}\n\n", "request",
                 method.kind == Kind::kServerStream ? "*request" : "{}", "response",
                 method.kind == Kind::kClientStream ? "response" : "{}");
}

}  // namespace

std::string StubInterfaceResult(const Method& method) { return StubResult(method, "Interface"); }

std::string StubParameters(const Method& method) {
  std::string context = "::ivmq::rpc::ClientContext* context";
  const std::string request = ", const " + method.request + "& request";
  const std::string response = ", " + method.response + "* response";
  switch (method.kind) {
    case Kind::kUnary:
      return context + request + response;
    case Kind::kClientStream:
      return context + response;
    case Kind::kServerStream:
      return context + request;
    case Kind::kBidiStream:
      return context;
  }
  return "";
}

void PrintStubClasses(const Service& service, Printer* printer) {
  PrintStubInterface(service, printer);
  printer->Print(
      "class Stub final : public StubInterface {\n"
      " public:\n"
      "  explicit Stub(::std::shared_ptr<::ivmq::rpc::Channel> channel);\n");
  for (const Method& method : service.methods) {
    printer->Print(StubVariables(service, method),
                   method.kind == Kind::kUnary
                       ? "  $result$ $method$($parameters$) override;\n"
                       : "  ::std::unique_ptr<$result$> $method$($parameters$) {\n"
                         "    return ::std::unique_ptr<$result$>($raw$($arguments$));\n"
                         "  }\n");
  }
  printer->Print(
      "\n"
      "  class async final : public StubInterface::async_interface {\n"
      "   public:\n"
      "    explicit async(::ivmq::rpc::Channel& channel) : stub_channel_(channel) {}\n");
  for (const Method& method : service.methods) {
    printer->Print(
        StubVariables(service, method),
        method.kind == Kind::kUnary
            ? "    void $method$(::ivmq::rpc::ClientContext* context, const $request$* request, "
              "$response$* response, ::std::function<void(::ivmq::rpc::Status)> done) override;\n"
              "    ::std::future<::ivmq::rpc::Status> $method$(::ivmq::rpc::ClientContext* "
              "context, const $request$* request, $response$* response) override;\n"
              "    void $method$(::ivmq::rpc::ClientContext* context, const $request$* request, "
              "$response$* response, ::ivmq::rpc::ClientUnaryReactor* reactor) override;\n"
            : "    void $method$($reactor_parameters$) override;\n");
  }
  // Without methods nobody uses it.
  printer->Print(
      "\n"
      "   private:\n"
      "    $unused$::ivmq::rpc::Channel& stub_channel_;\n"
      "  };\n"
      "  class async* async() override { return &stub_async_; }\n"
      "\n"
      " private:\n",
      "unused", service.methods.empty() ? "[[maybe_unused]] " : "");
  for (const Method& method : service.methods) {
    if (method.kind == Kind::kUnary) continue;
    printer->Print(StubVariables(service, method), "  $result$* $raw$($parameters$) override;\n");
  }
  printer->Print(
      "\n"
      "  ::std::shared_ptr<::ivmq::rpc::Channel> stub_channel_;\n"
      "  class async stub_async_;\n"
      "};\n"
      "static ::std::unique_ptr<Stub> NewStub(::std::shared_ptr<::ivmq::rpc::Channel> channel);\n"
      "\n");
}

void PrintStubFunctions(const Service& service, Printer* printer) {
  printer->Print(
      "::std::unique_ptr<$service$::Stub> "
      "$service$::NewStub(::std::shared_ptr<::ivmq::rpc::Channel> channel) {\n"
      "  return ::std::make_unique<Stub>(::std::move(channel));\n"
      "}\n"
      "$service$::Stub::Stub(::std::shared_ptr<::ivmq::rpc::Channel> channel)\n"
      "    : stub_channel_(::std::move(channel)), stub_async_(*stub_channel_) {}\n"
      "\n",
      "service", service.name);
  for (const Method& method : service.methods) PrintFunctions(service, method, printer);
}

}  // namespace ivmq::plugin
