#include "model.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <google/protobuf/compiler/cpp/names.h>
#include <google/protobuf/descriptor.pb.h>

#include "names.h"

namespace ivmq::plugin {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::FileDescriptorProto;
using google::protobuf::FileOptions;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;
using google::protobuf::SourceLocation;
using google::protobuf::compiler::cpp::ClassName;
using google::protobuf::compiler::cpp::QualifiedClassName;
using google::protobuf::compiler::cpp::StripProto;

std::vector<std::string_view> SplitNamespace(std::string_view space) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = space.find("::");
    parts.push_back(space.substr(0, end));
    if (end == std::string_view::npos) return parts;
    space.remove_prefix(end + 2);
  }
}

bool IsIdentifier(std::string_view text) {
  return !text.empty() && std::isdigit(static_cast<unsigned char>(text[0])) == 0 &&
         std::ranges::all_of(text, [](char c) {
           return c == '_' || std::isalnum(static_cast<unsigned char>(c)) != 0;
         });
}

// "line 5: ", which a reason begins with; nothing if the file is not known as text.
std::string At(bool found, const SourceLocation& location) {
  return found ? "line " + std::to_string(location.start_line + 1) + ": " : "";
}
template <typename Thing>
std::string At(const Thing& thing) {
  SourceLocation location;
  return At(thing.GetSourceLocation(&location), location);
}
std::string AtPackage(const FileDescriptor& file) {
  SourceLocation location;
  return At(file.GetSourceLocation({FileDescriptorProto::kPackageFieldNumber}, &location),
            location);
}

// The file and all that it includes, each once.
void AddWithImports(const FileDescriptor& file, std::set<const FileDescriptor*>* files) {
  if (!files->insert(&file).second) return;
  for (int i = 0; i < file.dependency_count(); ++i) AddWithImports(*file.dependency(i), files);
}

// C++ names in a namespace, and what has them.
using TakenNames = std::map<std::string, std::string>;

void AddNames(const EnumDescriptor& type, TakenNames* names) {
  const std::string what = "enum " + type.full_name();
  names->emplace(ClassName(&type), what);
  names->emplace(ClassName(&type) + "_Name", what);  // a template: no class can stand beside it
}

void AddNames(const Descriptor& message, TakenNames* names) {
  const std::string what = "message " + message.full_name();
  names->emplace(ClassName(&message), what);
  names->emplace(ClassName(&message) + "DefaultTypeInternal", what);
  for (int i = 0; i < message.nested_type_count(); ++i) AddNames(*message.nested_type(i), names);
  for (int i = 0; i < message.enum_type_count(); ++i) AddNames(*message.enum_type(i), names);
}

class Maker {
 public:
  Maker(const FileDescriptor& descriptor, const Options& options)
      : descriptor_(descriptor), options_(options), package_(NamespaceOf(descriptor.package())) {}

  File Make() {
    File file;
    file.source = descriptor_.name();
    file.stem = StripProto(descriptor_.name());
    file.space = package_;
    if (!options_.services_namespace.empty()) {
      if (!file.space.empty()) file.space += "::";
      file.space += options_.services_namespace;
    }
    CheckFile();
    if (descriptor_.service_count() != 0) CheckPackage();
    if (descriptor_.service_count() == 0 || !reasons_.empty()) return file;
    CheckServicesNamespace(file.space);
    CheckGenericServices();
    taken_ = NamesOfMessages(file.space);
    for (int i = 0; i < descriptor_.service_count(); ++i) {
      file.services.push_back(ServiceOf(*descriptor_.service(i), file.space.empty()));
    }
    return file;
  }

  [[nodiscard]] const std::vector<std::string>& reasons() const { return reasons_; }

 private:
  void Refuse(const std::string& reason) {
    if (std::ranges::find(reasons_, reason) == reasons_.end()) reasons_.push_back(reason);
  }

  // ---- What holds for the whole file ----

  void CheckFile() {
    const std::string& name = descriptor_.name();
    const bool control = std::ranges::any_of(
        name, [](char c) { return std::iscntrl(static_cast<unsigned char>(c)) != 0; });
    if (control || name.find_first_of("\"\\") != std::string::npos ||
        name.find("?\?") != std::string::npos) {
      Refuse(
          "the name of the file: C++ cannot #include one with quotes, backslashes, control "
          "characters or two question marks; rename it");
    }
  }

  void CheckPackage() {
    const auto within = [&](std::string_view space) {
      return package_ == space || package_.starts_with(std::string(space) + "::");
    };
    constexpr std::string_view kOfOthers[] = {"google::protobuf", "ivmq::internal", "ivmq::layout",
                                              "ivmq::rpc", "ivmq::server"};
    const bool of_others = package_ == "ivmq" || std::ranges::any_of(kOfOthers, within) ||
                           (options_.mocks && within("testing"));  // GoogleTest's
    if (of_others) {
      Refuse(AtPackage(descriptor_) + "package " + descriptor_.package() +
             ": C++ code of a library has this namespace; choose another package");
    }
    if (const std::string part = UnusablePart(package_); !part.empty()) {
      Refuse(AtPackage(descriptor_) + "package " + descriptor_.package() +
             ": protoc makes it a C++ namespace, and '" + part +
             "' is something else in C++; choose another package");
    }
  }

  void CheckServicesNamespace(const std::string& space) {
    if (options_.services_namespace.empty()) return;
    const std::string option = "option services_namespace=" + options_.services_namespace + ": ";
    const std::vector<std::string_view> parts = SplitNamespace(options_.services_namespace);
    if (!std::ranges::all_of(parts, IsIdentifier) || !UnusablePart(space).empty()) {
      Refuse(option + "no C++ namespace can be called so; choose another one");
      return;
    }
    const TakenNames names = NamesOfMessages(package_);
    if (const auto taken = names.find(std::string(parts.front())); taken != names.end()) {
      Refuse(option + "this C++ name is taken by " + taken->second + "; choose another one");
    }
  }

  void CheckGenericServices() {
    if (!descriptor_.options().cc_generic_services() || !options_.services_namespace.empty()) {
      return;
    }
    Refuse(
        "option cc_generic_services = true: protoc makes classes of the same names; remove it, or "
        "give the plugin services_namespace=NAME");
  }

  // ---- Names in the services' namespace ----

  // What protoc's code for the file and what it imports has in the namespace.
  [[nodiscard]] TakenNames NamesOfMessages(const std::string& space) const {
    TakenNames names;
    if (space == "google") names["protobuf"] = "protobuf's namespace";
    std::set<const FileDescriptor*> files;
    AddWithImports(descriptor_, &files);
    for (const FileDescriptor* const file : files) {
      if (NamespaceOf(file->package()) != space) continue;
      for (int i = 0; i < file->message_type_count(); ++i) AddNames(*file->message_type(i), &names);
      for (int i = 0; i < file->enum_type_count(); ++i) AddNames(*file->enum_type(i), &names);
    }
    return names;
  }

  bool TakeName(const std::string& name, const ServiceDescriptor& service) {
    const std::string what = "service " + service.name();
    const auto [taken, first] = taken_.emplace(name, what);
    if (!first) {
      const bool by_message = !taken->second.starts_with("service");
      Refuse(At(service) + what + ": its C++ name " + name + " is taken by " + taken->second +
             "; rename " +
             (by_message ? "it, or give the plugin services_namespace=NAME" : "one of them"));
    }
    return first;
  }

  // ---- Services ----

  Service ServiceOf(const ServiceDescriptor& descriptor, bool global) {
    Service service;
    service.descriptor = &descriptor;
    service.name = ServiceName(descriptor.name(), global);
    if (TakeName(service.name, descriptor) && options_.mocks) {
      TakeName("Mock" + service.name + "Stub", descriptor);
    }
    std::map<std::string, const MethodDescriptor*> names;
    for (int i = 0; i < descriptor.method_count(); ++i) {
      const MethodDescriptor& method = *descriptor.method(i);
      service.methods.push_back(MethodOf(method));
      const auto [taken, first] = names.emplace(service.methods.back().name, &method);
      if (!first) {
        Refuse(At(method) + "rpc " + method.name() + ": its C++ name " + taken->first +
               " is taken by rpc " + taken->second->name() + "; rename one of them");
      }
    }
    for (Method& method : service.methods) {
      method.raw = method.name + "Raw";
      while (!names.emplace(method.raw, method.descriptor).second) method.raw += '_';
    }
    return service;
  }

  Method MethodOf(const MethodDescriptor& descriptor) {
    CheckMessage(descriptor, *descriptor.input_type());
    CheckMessage(descriptor, *descriptor.output_type());
    Method method;
    method.descriptor = &descriptor;
    if (descriptor.client_streaming()) {
      method.kind = descriptor.server_streaming() ? Kind::kBidiStream : Kind::kClientStream;
    } else if (descriptor.server_streaming()) {
      method.kind = Kind::kServerStream;
    }
    method.name = MethodName(descriptor.name());
    method.constant = "k" + descriptor.name() + "Method_";
    method.path = "/" + descriptor.service()->full_name() + "/" + descriptor.name();
    method.request = QualifiedClassName(descriptor.input_type());
    method.response = QualifiedClassName(descriptor.output_type());
    return method;
  }

  void CheckMessage(const MethodDescriptor& method, const Descriptor& message) {
    const std::string where =
        At(method) + "rpc " + method.name() + ": message " + message.full_name();
    if (message.file()->options().optimize_for() == FileOptions::LITE_RUNTIME) {
      Refuse(where + " is of " + message.file()->name() +
             ", which has optimize_for = LITE_RUNTIME: calls need what this leaves out; remove "
             "that option");
    }
    const std::string name = QualifiedClassName(&message);
    if (const std::string part = UnusablePart(name.substr(2)); !part.empty()) {
      Refuse(where + ": protoc calls it " + name + ", and '" + part +
             "' is something else in C++; rename it");
    }
  }

  const FileDescriptor& descriptor_;
  const Options& options_;
  const std::string package_;  // its namespace
  TakenNames taken_;           // in the namespace of the services
  std::vector<std::string> reasons_;
};

}  // namespace

bool MakeModel(const FileDescriptor& descriptor, const Options& options, File* file,
               std::string* error) {
  Maker maker(descriptor, options);
  *file = maker.Make();
  for (const std::string& reason : maker.reasons()) {
    // protoc says the file's name before the first one.
    *error += error->empty() ? reason : "\n" + descriptor.name() + ": " + reason;
  }
  return maker.reasons().empty();
}

}  // namespace ivmq::plugin
