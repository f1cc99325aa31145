// Services: with handlers that answer, and with handlers that give a reactor.
#include <string>

#include "sections.h"

namespace ivmq::plugin {
namespace {

std::string TypeOf(const Method& method) {
  switch (method.kind) {
    case Kind::kUnary:
      return "kUnary";
    case Kind::kClientStream:
      return "kClientStream";
    case Kind::kServerStream:
      return "kServerStream";
    case Kind::kBidiStream:
      return "kBidiStream";
  }
  return "";
}

// The types of the parameters of a service's method; with `names`, their names as well.
std::string ServiceParameters(const Method& method, bool names) {
  const auto name = [names](const char* text) {
    return names ? std::string(" ") + text : std::string();
  };
  const std::string context = "::ivmq::rpc::ServerContext*" + name("context") + ", ";
  const std::string request = "const " + method.request + "*" + name("request");
  const std::string response = method.response + "*" + name("response");
  switch (method.kind) {
    case Kind::kUnary:
      return context + request + ", " + response;
    case Kind::kClientStream:
      return context + "::ivmq::rpc::ServerReader<" + method.request + ">*" + name("reader") +
             ", " + response;
    case Kind::kServerStream:
      return context + request + ", ::ivmq::rpc::ServerWriter<" + method.response + ">*" +
             name("writer");
    case Kind::kBidiStream:
      return context + "::ivmq::rpc::ServerReaderWriter<" + method.response + ", " +
             method.request + ">*" + name("stream");
  }
  return "";
}

// The reactor that a method of a service with callbacks gives.
std::string ReactorOf(const Method& method) {
  switch (method.kind) {
    case Kind::kUnary:
      return "::ivmq::rpc::ServerUnaryReactor";
    case Kind::kClientStream:
      return "::ivmq::rpc::ServerReadReactor<" + method.request + ">";
    case Kind::kServerStream:
      return "::ivmq::rpc::ServerWriteReactor<" + method.response + ">";
    case Kind::kBidiStream:
      return "::ivmq::rpc::ServerBidiReactor<" + method.request + ", " + method.response + ">";
  }
  return "";
}

// What such a method gets beside the context; with `names`, their names as well.
std::string ReactorArguments(const Method& method, bool names) {
  std::string arguments;
  if (method.kind == Kind::kUnary || method.kind == Kind::kServerStream) {
    arguments += ", const " + method.request + "*";
    if (names) arguments += " request";
  }
  if (method.kind == Kind::kUnary || method.kind == Kind::kClientStream) {
    arguments += ", " + method.response + "*";
    if (names) arguments += " response";
  }
  return arguments;
}

Variables ServiceVariables(const Service& service, const Method& method, bool names) {
  Variables v = VariablesOf(service, method);
  v["type"] = TypeOf(method);
  v["parameters"] = ServiceParameters(method, names);
  v["reactor"] = ReactorOf(method);
  v["arguments"] = ReactorArguments(method, names);
  return v;
}

}  // namespace

void PrintServiceClasses(const Service& service, Printer* printer) {
  printer->Print(
      "// Derive from this; what is not overridden answers UNIMPLEMENTED.\n"
      "class Service : public ::ivmq::rpc::Service {\n"
      " public:\n"
      "  Service();\n");
  for (const Method& method : service.methods) {
    printer->Indent();
    PrintCommentsOf(*method.descriptor, printer);
    printer->Outdent();
    printer->Print(ServiceVariables(service, method, true),
                   "  virtual ::ivmq::rpc::Status $method$($parameters$);\n");
  }
  printer->Print(
      "};\n"
      "\n"
      "// The same with handlers that return at once, on the thread that polls, and end their call "
      "later.\n"
      "class CallbackService : public ::ivmq::rpc::Service {\n"
      " public:\n"
      "  CallbackService();\n");
  for (const Method& method : service.methods) {
    printer->Indent();
    PrintCommentsOf(*method.descriptor, printer);
    printer->Outdent();
    printer->Print(
        ServiceVariables(service, method, true),
        "  virtual $reactor$* $method$(::ivmq::rpc::CallbackServerContext* context$arguments$);\n");
  }
  printer->Print("};\n");
}

// AddMethod with its full name, since a method may be called so, too.
void PrintServiceFunctions(const Service& service, Printer* printer) {
  printer->Print("$service$::Service::Service() {\n", "service", service.name);
  for (const Method& method : service.methods) {
    printer->Print(ServiceVariables(service, method, false),
                   "  ::ivmq::rpc::Service::AddMethod(\n"
                   "      \"$path$\", ::ivmq::rpc::MethodType::$type$,\n"
                   "      ::ivmq::rpc::internal::MakeHandler<$request$, $response$>(\n"
                   "          this, &Service::$method$));\n");
  }
  printer->Print("}\n");
  for (const Method& method : service.methods) {
    printer->Print(ServiceVariables(service, method, false),
                   "::ivmq::rpc::Status $service$::Service::$method$($parameters$) {\n"
                   "  return {::ivmq::rpc::StatusCode::UNIMPLEMENTED, \"\"};\n"
                   "}\n");
  }
  printer->Print("$service$::CallbackService::CallbackService() {\n", "service", service.name);
  for (const Method& method : service.methods) {
    printer->Print(ServiceVariables(service, method, false),
                   "  ::ivmq::rpc::Service::AddMethod(\n"
                   "      \"$path$\", ::ivmq::rpc::MethodType::$type$,\n"
                   "      ::ivmq::rpc::internal::MakeHandler<$request$, $response$>(\n"
                   "          this, &CallbackService::$method$));\n");
  }
  printer->Print("}\n");
  for (const Method& method : service.methods) {
    printer->Print(ServiceVariables(service, method, false),
                   "$reactor$* $service$::CallbackService::$method$("
                   "::ivmq::rpc::CallbackServerContext*$arguments$) {\n"
                   "  return nullptr;  // UNIMPLEMENTED\n"
                   "}\n");
  }
}

}  // namespace ivmq::plugin
