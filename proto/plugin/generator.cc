#include "generator.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <google/protobuf/compiler/cpp/names.h>
#include <google/protobuf/io/printer.h>
#include <google/protobuf/io/zero_copy_stream.h>

namespace ivmq::plugin {
namespace {

using google::protobuf::FileDescriptor;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;
using google::protobuf::SourceLocation;
using google::protobuf::compiler::GeneratorContext;
using google::protobuf::compiler::cpp::QualifiedClassName;
using google::protobuf::io::Printer;
using Variables = std::map<std::string, std::string>;

struct Options {
  std::string services_namespace;
  bool mocks = false;
};

bool ParseOptions(const std::string& parameter, Options* options, std::string* error) {
  std::vector<std::pair<std::string, std::string>> pairs;
  google::protobuf::compiler::ParseGeneratorParameter(parameter, &pairs);
  for (const auto& [key, value] : pairs) {
    if (key == "services_namespace") {
      options->services_namespace = value;
    } else if (key == "generate_mock_code" && (value == "true" || value == "false")) {
      options->mocks = value == "true";
    } else {
      *error = "unknown option '" + key + "=" + value +
               "'; there are services_namespace=NAME and generate_mock_code=true";
      return false;
    }
  }
  return true;
}

// Of "dir/file.proto".
std::string WithoutExtension(const std::string& file) {
  return google::protobuf::compiler::cpp::StripProto(file);
}

std::string Replace(std::string_view text, char from, std::string_view to) {
  std::string out;
  for (const char c : text) {
    if (c == from) {
      out += to;
    } else {
      out += c;
    }
  }
  return out;
}

std::string GuardOf(const std::string& file) {
  std::string guard = "IVMQ_GENERATED_";
  for (const char c : file) {
    guard += std::isalnum(static_cast<unsigned char>(c)) != 0
                 ? static_cast<char>(std::toupper(static_cast<unsigned char>(c)))
                 : '_';
  }
  return guard + "_";
}

enum class Kind : std::uint8_t { kUnary, kClientStream, kServerStream, kBidiStream };

Kind KindOf(const MethodDescriptor& method) {
  if (method.client_streaming()) {
    return method.server_streaming() ? Kind::kBidiStream : Kind::kClientStream;
  }
  return method.server_streaming() ? Kind::kServerStream : Kind::kUnary;
}

Variables VariablesOf(const MethodDescriptor& method) {
  Variables v;
  v["method"] = method.name();
  v["request"] = QualifiedClassName(method.input_type());
  v["response"] = QualifiedClassName(method.output_type());
  v["path"] = "/" + method.service()->full_name() + "/" + method.name();
  v["constant"] = "k" + method.name() + "Method_";
  switch (KindOf(method)) {
    case Kind::kUnary:
      v["type"] = "kUnary";
      v["handler"] = "UnaryHandler";
      break;
    case Kind::kClientStream:
      v["type"] = "kClientStream";
      v["handler"] = "ClientStreamHandler";
      break;
    case Kind::kServerStream:
      v["type"] = "kServerStream";
      v["handler"] = "ServerStreamHandler";
      break;
    case Kind::kBidiStream:
      v["type"] = "kBidiStream";
      v["handler"] = "BidiStreamHandler";
      break;
  }
  return v;
}

// What a method of a stub gives: a status, or the class that reads and writes. `interface` is
// "Interface" or "".
std::string StubResult(const MethodDescriptor& method, std::string_view interface) {
  const std::string suffix(interface);
  const std::string request = QualifiedClassName(method.input_type());
  const std::string response = QualifiedClassName(method.output_type());
  switch (KindOf(method)) {
    case Kind::kUnary:
      return "::ivmq::rpc::Status";
    case Kind::kClientStream:
      return "::ivmq::rpc::ClientWriter" + suffix + "<" + request + ">";
    case Kind::kServerStream:
      return "::ivmq::rpc::ClientReader" + suffix + "<" + response + ">";
    case Kind::kBidiStream:
      return "::ivmq::rpc::ClientReaderWriter" + suffix + "<" + request + ", " + response + ">";
  }
  return "";
}

std::string StubArguments(const MethodDescriptor& method) {
  std::string arguments = "context";
  if (!method.client_streaming()) arguments += ", request";
  if (!method.server_streaming()) arguments += ", response";
  return arguments;
}

std::string StubParameters(const MethodDescriptor& method) {
  std::string parameters = "::ivmq::rpc::ClientContext* context";
  if (!method.client_streaming()) {
    parameters += ", const " + QualifiedClassName(method.input_type()) + "& request";
  }
  if (!method.server_streaming()) {
    parameters += ", " + QualifiedClassName(method.output_type()) + "* response";
  }
  return parameters;
}

// The parameters of a method of async() that has streams.
std::string ReactorParameters(const MethodDescriptor& method) {
  const std::string request = QualifiedClassName(method.input_type());
  const std::string response = QualifiedClassName(method.output_type());
  const std::string context = "::ivmq::rpc::ClientContext* context, ";
  switch (KindOf(method)) {
    case Kind::kUnary:
      break;
    case Kind::kClientStream:
      return context + response + "* response, ::ivmq::rpc::ClientWriteReactor<" + request +
             ">* reactor";
    case Kind::kServerStream:
      return context + "const " + request + "* request, ::ivmq::rpc::ClientReadReactor<" +
             response + ">* reactor";
    case Kind::kBidiStream:
      return context + "::ivmq::rpc::ClientBidiReactor<" + request + ", " + response + ">* reactor";
  }
  return "";
}

// The types of the parameters of a service's method; with `names`, their names as well.
std::string ServiceParameters(const MethodDescriptor& method, bool names) {
  const std::string request = QualifiedClassName(method.input_type());
  const std::string response = QualifiedClassName(method.output_type());
  const auto name = [names](const char* text) {
    return names ? std::string(" ") + text : std::string();
  };
  const std::string context = "::ivmq::rpc::ServerContext*" + name("context") + ", ";
  switch (KindOf(method)) {
    case Kind::kUnary:
      return context + "const " + request + "*" + name("request") + ", " + response + "*" +
             name("response");
    case Kind::kClientStream:
      return context + "::ivmq::rpc::ServerReader<" + request + ">*" + name("reader") + ", " +
             response + "*" + name("response");
    case Kind::kServerStream:
      return context + "const " + request + "*" + name("request") + ", ::ivmq::rpc::ServerWriter<" +
             response + ">*" + name("writer");
    case Kind::kBidiStream:
      return context + "::ivmq::rpc::ServerReaderWriter<" + response + ", " + request + ">*" +
             name("stream");
  }
  return "";
}

// The reactor that a method of a service with callbacks gives.
std::string ServerReactorOf(const MethodDescriptor& method) {
  const std::string request = QualifiedClassName(method.input_type());
  const std::string response = QualifiedClassName(method.output_type());
  switch (KindOf(method)) {
    case Kind::kUnary:
      return "::ivmq::rpc::ServerUnaryReactor";
    case Kind::kClientStream:
      return "::ivmq::rpc::ServerReadReactor<" + request + ">";
    case Kind::kServerStream:
      return "::ivmq::rpc::ServerWriteReactor<" + response + ">";
    case Kind::kBidiStream:
      return "::ivmq::rpc::ServerBidiReactor<" + request + ", " + response + ">";
  }
  return "";
}

// What such a method gets beside the context; with `names`, their names as well.
std::string ReactorArguments(const MethodDescriptor& method, bool names) {
  std::string arguments;
  if (!method.client_streaming()) {
    arguments += ", const " + QualifiedClassName(method.input_type()) + "*";
    if (names) arguments += " request";
  }
  if (!method.server_streaming()) {
    arguments += ", " + QualifiedClassName(method.output_type()) + "*";
    if (names) arguments += " response";
  }
  return arguments;
}

void PrintComments(const SourceLocation& location, Printer* printer) {
  std::string_view rest = location.leading_comments;
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    std::string line(rest.substr(0, end));
    if (line.ends_with('\\')) line += '.';  // or the next line were part of the comment
    printer->Print("//$line$\n", "line", line);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  }
}

template <typename Descriptor>
void PrintCommentsOf(const Descriptor& descriptor, Printer* printer) {
  SourceLocation location;
  if (descriptor.GetSourceLocation(&location)) PrintComments(location, printer);
}

template <typename Use>
void ForEachMethod(const ServiceDescriptor& service, Use use) {
  for (int i = 0; i < service.method_count(); ++i) use(*service.method(i));
}

// ---- The header ----

Variables StubVariables(const MethodDescriptor& method) {
  Variables v = VariablesOf(method);
  v["service"] = method.service()->name();
  v["result"] = StubResult(method, "");
  v["interface"] = StubResult(method, "Interface");
  v["parameters"] = StubParameters(method);
  v["arguments"] = StubArguments(method);
  return v;
}

// The names are gRPC's, so that ported code and its mocks find them.
void PrintStubInterface(const ServiceDescriptor& service, Printer* printer) {
  printer->Print(
      "class StubInterface {\n"
      " public:\n"
      "  virtual ~StubInterface() = default;\n");
  ForEachMethod(service, [&](const MethodDescriptor& method) {
    printer->Indent();
    PrintCommentsOf(method, printer);
    printer->Outdent();
    printer->Print(StubVariables(method),
                   KindOf(method) == Kind::kUnary
                       ? "  virtual $result$ $method$($parameters$) = 0;\n"
                       : "  std::unique_ptr<$interface$> $method$($parameters$) {\n"
                         "    return std::unique_ptr<$interface$>($method$Raw($arguments$));\n"
                         "  }\n");
  });
  printer->Print(
      "\n"
      "  // Calls that end in a callback or a future.\n"
      "  class async_interface {\n"
      "   public:\n"
      "    virtual ~async_interface() = default;\n");
  ForEachMethod(service, [&](const MethodDescriptor& method) {
    if (KindOf(method) != Kind::kUnary) {
      printer->Print("    virtual void $method$($parameters$) = 0;\n", "method", method.name(),
                     "parameters", ReactorParameters(method));
      return;
    }
    printer->Print(
        VariablesOf(method),
        "    virtual void $method$(::ivmq::rpc::ClientContext* context, const $request$* "
        "request, $response$* response, std::function<void(::ivmq::rpc::Status)> done) "
        "= 0;\n"
        "    virtual std::future<::ivmq::rpc::Status> "
        "$method$(::ivmq::rpc::ClientContext* context, const $request$* request, "
        "$response$* response) = 0;\n");
  });
  printer->Print(
      "  };\n"
      "  virtual async_interface* async() { return nullptr; }\n"
      "\n"
      " private:\n");
  ForEachMethod(service, [&](const MethodDescriptor& method) {
    if (KindOf(method) == Kind::kUnary) return;
    printer->Print(StubVariables(method),
                   "  virtual $interface$* $method$Raw($parameters$) = 0;\n");
  });
  printer->Print("};\n\n");
}

void PrintStub(const ServiceDescriptor& service, Printer* printer) {
  PrintStubInterface(service, printer);
  printer->Print(
      "class Stub final : public StubInterface {\n"
      " public:\n"
      "  explicit Stub(std::shared_ptr<::ivmq::rpc::Channel> channel);\n");
  ForEachMethod(service, [&](const MethodDescriptor& method) {
    printer->Print(StubVariables(method),
                   KindOf(method) == Kind::kUnary
                       ? "  $result$ $method$($parameters$) override;\n"
                       : "  std::unique_ptr<$result$> $method$($parameters$) {\n"
                         "    return std::unique_ptr<$result$>($method$Raw($arguments$));\n"
                         "  }\n");
  });
  printer->Print(
      "\n"
      "  class async final : public StubInterface::async_interface {\n"
      "   public:\n"
      "    explicit async(::ivmq::rpc::Channel& channel) : channel_(channel) {}\n");
  ForEachMethod(service, [&](const MethodDescriptor& method) {
    if (KindOf(method) != Kind::kUnary) {
      printer->Print("    void $method$($parameters$) override;\n", "method", method.name(),
                     "parameters", ReactorParameters(method));
      return;
    }
    printer->Print(
        VariablesOf(method),
        "    void $method$(::ivmq::rpc::ClientContext* context, const $request$* request, "
        "$response$* response, std::function<void(::ivmq::rpc::Status)> done) override;\n"
        "    std::future<::ivmq::rpc::Status> $method$(::ivmq::rpc::ClientContext* "
        "context, const $request$* request, $response$* response) override;\n");
  });
  printer->Print(
      "\n"
      "   private:\n"
      "    ::ivmq::rpc::Channel& channel_;\n"
      "  };\n"
      "  class async* async() override { return &async_; }\n"
      "\n"
      " private:\n");
  ForEachMethod(service, [&](const MethodDescriptor& method) {
    if (KindOf(method) == Kind::kUnary) return;
    printer->Print(StubVariables(method), "  $result$* $method$Raw($parameters$) override;\n");
  });
  printer->Print(
      "\n"
      "  std::shared_ptr<::ivmq::rpc::Channel> channel_;\n"
      "  class async async_;\n"
      "};\n"
      "static std::unique_ptr<Stub> NewStub(std::shared_ptr<::ivmq::rpc::Channel> channel);\n"
      "\n");
}

void PrintService(const ServiceDescriptor& service, Printer* printer) {
  printer->Print(
      "// Derive from this; what is not overridden answers UNIMPLEMENTED.\n"
      "class Service : public ::ivmq::rpc::Service {\n"
      " public:\n"
      "  Service();\n");
  ForEachMethod(service, [&](const MethodDescriptor& method) {
    printer->Indent();
    PrintCommentsOf(method, printer);
    printer->Outdent();
    printer->Print("  virtual ::ivmq::rpc::Status $method$($parameters$);\n", "method",
                   method.name(), "parameters", ServiceParameters(method, true));
  });
  printer->Print(
      "};\n"
      "\n"
      "// The same with handlers that return at once, on the thread that polls, and end their call "
      "later.\n"
      "class CallbackService : public ::ivmq::rpc::Service {\n"
      " public:\n"
      "  CallbackService();\n");
  ForEachMethod(service, [&](const MethodDescriptor& method) {
    printer->Indent();
    PrintCommentsOf(method, printer);
    printer->Outdent();
    printer->Print(
        "  virtual $reactor$* $method$(::ivmq::rpc::CallbackServerContext* context$arguments$);\n",
        "reactor", ServerReactorOf(method), "method", method.name(), "arguments",
        ReactorArguments(method, true));
  });
  printer->Print("};\n");
}

struct Names {
  std::string file;   // "dir/x"
  std::string space;  // "a::b", or empty
};

Names NamesOf(const FileDescriptor& file, const Options& options) {
  Names names{WithoutExtension(file.name()), Replace(file.package(), '.', "::")};
  if (!options.services_namespace.empty()) {
    if (!names.space.empty()) names.space += "::";
    names.space += options.services_namespace;
  }
  return names;
}

void OpenNamespace(const Names& names, Printer* printer) {
  if (!names.space.empty()) printer->Print("namespace $space$ {\n\n", "space", names.space);
}
void CloseNamespace(const Names& names, Printer* printer) {
  if (!names.space.empty()) printer->Print("}  // namespace $space$\n\n", "space", names.space);
}

void PrintHeader(const FileDescriptor& file, const Names& names, Printer* printer) {
  printer->Print(
      "// Generated by protoc-gen-ivmq from $source$: do not edit.\n"
      "#ifndef $guard$\n"
      "#define $guard$\n"
      "\n"
      "#include <functional>\n"
      "#include <future>\n"
      "#include <memory>\n"
      "\n"
      "#include \"ivmq/rpc/channel.h\"\n"
      "#include \"ivmq/rpc/client_callback.h\"\n"
      "#include \"ivmq/rpc/server_callback.h\"\n"
      "#include \"ivmq/rpc/service.h\"\n"
      "#include \"ivmq/rpc/stream.h\"\n"
      "\n"
      "#include \"$file$.pb.h\"\n"
      "\n",
      "source", file.name(), "guard", GuardOf(names.file + ".ivmq.pb.h"), "file", names.file);
  OpenNamespace(names, printer);
  for (int i = 0; i < file.service_count(); ++i) {
    const ServiceDescriptor& service = *file.service(i);
    PrintCommentsOf(service, printer);
    printer->Print(
        "class $name$ final {\n"
        " public:\n"
        "  static constexpr const char* service_full_name() { return \"$full$\"; }\n"
        "\n",
        "name", service.name(), "full", service.full_name());
    printer->Indent();
    PrintStub(service, printer);
    PrintService(service, printer);
    printer->Outdent();
    printer->Print("};\n\n");
  }
  CloseNamespace(names, printer);
  printer->Print("#endif  // $guard$\n", "guard", GuardOf(names.file + ".ivmq.pb.h"));
}

// ---- The source ----

void PrintStubMethod(const MethodDescriptor& method, Printer* printer) {
  const Variables v = StubVariables(method);
  if (KindOf(method) == Kind::kUnary) {
    printer->Print(
        v,
        "::ivmq::rpc::Status $service$::Stub::$method$($parameters$) {\n"
        "  return channel_->Call($service$$constant$, context, request, response);\n"
        "}\n"
        "void $service$::Stub::async::$method$(::ivmq::rpc::ClientContext* context, const "
        "$request$* request, $response$* response, std::function<void(::ivmq::rpc::Status)> "
        "done) {\n"
        "  channel_.CallAsync($service$$constant$, context, *request, response, "
        "std::move(done));\n"
        "}\n"
        "std::future<::ivmq::rpc::Status> "
        "$service$::Stub::async::$method$(::ivmq::rpc::ClientContext* context, const $request$* "
        "request, $response$* response) {\n"
        "  return channel_.CallFuture($service$$constant$, context, *request, response);\n"
        "}\n"
        "\n");
    return;
  }
  printer->Print(v,
                 "$result$* $service$::Stub::$method$Raw($parameters$) {\n"
                 "  return new $result$(*channel_, $service$$constant$, $arguments$);\n"
                 "}\n");
  printer->Print(
      "void $service$::Stub::async::$method$($parameters$) {\n"
      "  reactor->Bind(channel_, $service$$constant$, context, $request$, $response$);\n"
      "}\n"
      "\n",
      "service", method.service()->name(), "method", method.name(), "parameters",
      ReactorParameters(method), "constant", v.at("constant"), "request",
      method.client_streaming() ? "nullptr" : "request", "response",
      method.server_streaming() ? "nullptr" : "response");
}

void PrintCallbackService(const ServiceDescriptor& service, Printer* printer) {
  const auto variables = [&](const MethodDescriptor& method) {
    Variables v = VariablesOf(method);
    v["service"] = service.name();
    v["reactor"] = ServerReactorOf(method);
    v["arguments"] = ReactorArguments(method, false);
    return v;
  };
  printer->Print("$service$::CallbackService::CallbackService() {\n", "service", service.name());
  ForEachMethod(service, [&](const MethodDescriptor& method) {
    printer->Print(variables(method),
                   "  AddMethod(\"$path$\", ::ivmq::rpc::MethodType::$type$,\n"
                   "            "
                   "std::make_unique<::ivmq::rpc::internal::CallbackHandler<CallbackService, "
                   "$request$, $response$, $reactor$$arguments$>>(this, "
                   "&CallbackService::$method$));\n");
  });
  printer->Print("}\n");
  ForEachMethod(service, [&](const MethodDescriptor& method) {
    printer->Print(variables(method),
                   "$reactor$* $service$::CallbackService::$method$("
                   "::ivmq::rpc::CallbackServerContext*$arguments$) {\n"
                   "  return nullptr;  // UNIMPLEMENTED\n"
                   "}\n");
  });
}

void PrintSource(const FileDescriptor& file, const Names& names, Printer* printer) {
  printer->Print(
      "// Generated by protoc-gen-ivmq from $source$: do not edit.\n"
      "#include \"$file$.ivmq.pb.h\"\n"
      "\n"
      "#include <utility>\n"
      "\n",
      "source", file.name(), "file", names.file);
  OpenNamespace(names, printer);
  for (int i = 0; i < file.service_count(); ++i) {
    const ServiceDescriptor& service = *file.service(i);
    printer->Print("namespace {\n");
    ForEachMethod(service, [&](const MethodDescriptor& method) {
      Variables v = VariablesOf(method);
      v["service"] = service.name();
      printer->Print(
          v, "constexpr ::ivmq::rpc::internal::MethodName $service$$constant$(\"$path$\");\n");
    });
    printer->Print("}  // namespace\n\n");
    printer->Print(
        "std::unique_ptr<$service$::Stub> $service$::NewStub(std::shared_ptr<::ivmq::rpc::Channel> "
        "channel) {\n"
        "  return std::make_unique<Stub>(std::move(channel));\n"
        "}\n"
        "$service$::Stub::Stub(std::shared_ptr<::ivmq::rpc::Channel> channel)\n"
        "    : channel_(std::move(channel)), async_(*channel_) {}\n"
        "\n",
        "service", service.name());
    ForEachMethod(service,
                  [&](const MethodDescriptor& method) { PrintStubMethod(method, printer); });
    printer->Print("$service$::Service::Service() {\n", "service", service.name());
    ForEachMethod(service, [&](const MethodDescriptor& method) {
      printer->Print(VariablesOf(method),
                     "  AddMethod(\"$path$\", ::ivmq::rpc::MethodType::$type$,\n"
                     "            std::make_unique<::ivmq::rpc::internal::$handler$<Service, "
                     "$request$, $response$>>(this, &Service::$method$));\n");
    });
    printer->Print("}\n");
    ForEachMethod(service, [&](const MethodDescriptor& method) {
      printer->Print(
          "::ivmq::rpc::Status $service$::Service::$method$($parameters$) {\n"
          "  return {::ivmq::rpc::StatusCode::UNIMPLEMENTED, \"\"};\n"
          "}\n",
          "service", service.name(), "method", method.name(), "parameters",
          ServiceParameters(method, false));
    });
    PrintCallbackService(service, printer);
    printer->Print("\n");
  }
  CloseNamespace(names, printer);
}

// ---- Mocks ----

void PrintMocks(const FileDescriptor& file, const Names& names, Printer* printer) {
  printer->Print(
      "// Generated by protoc-gen-ivmq from $source$: do not edit.\n"
      "#ifndef $guard$\n"
      "#define $guard$\n"
      "\n"
      "#include <gmock/gmock.h>\n"
      "\n"
      "#include \"$file$.ivmq.pb.h\"\n"
      "\n",
      "source", file.name(), "guard", GuardOf(names.file + "_mock.ivmq.pb.h"), "file", names.file);
  OpenNamespace(names, printer);
  for (int i = 0; i < file.service_count(); ++i) {
    const ServiceDescriptor& service = *file.service(i);
    printer->Print(
        "class Mock$service$Stub : public $service$::StubInterface {\n"
        " public:\n",
        "service", service.name());
    ForEachMethod(service, [&](const MethodDescriptor& method) {
      // In parentheses: the types hold commas.
      printer->Print(
          StubVariables(method),
          KindOf(method) == Kind::kUnary
              ? "  MOCK_METHOD(($result$), $method$, ($parameters$), (override));\n"
              : "  MOCK_METHOD(($interface$*), $method$Raw, ($parameters$), (override));\n");
    });
    printer->Print("};\n\n");
  }
  CloseNamespace(names, printer);
  printer->Print("#endif  // $guard$\n", "guard", GuardOf(names.file + "_mock.ivmq.pb.h"));
}

template <typename Print>
void WriteFile(GeneratorContext* context, const std::string& name, Print print) {
  const std::unique_ptr<google::protobuf::io::ZeroCopyOutputStream> stream(context->Open(name));
  Printer printer(stream.get(), '$');
  print(&printer);
}

}  // namespace

bool Generator::Generate(const FileDescriptor* file, const std::string& parameter,
                         GeneratorContext* context, std::string* error) const {
  Options options;
  if (!ParseOptions(parameter, &options, error)) return false;
  const Names names = NamesOf(*file, options);
  WriteFile(context, names.file + ".ivmq.pb.h",
            [&](Printer* printer) { PrintHeader(*file, names, printer); });
  WriteFile(context, names.file + ".ivmq.pb.cc",
            [&](Printer* printer) { PrintSource(*file, names, printer); });
  if (options.mocks) {
    WriteFile(context, names.file + "_mock.ivmq.pb.h",
              [&](Printer* printer) { PrintMocks(*file, names, printer); });
  }
  return true;
}

}  // namespace ivmq::plugin
