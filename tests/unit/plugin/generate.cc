#include "generate.h"

#include <memory>
#include <string>

#include <google/protobuf/compiler/cpp/generator.h>
#include <google/protobuf/compiler/importer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <gtest/gtest.h>

#include "generator.h"

namespace ivmq::plugin {
namespace {

namespace compiler = google::protobuf::compiler;
namespace io = google::protobuf::io;

class Sources final : public compiler::SourceTree {
 public:
  explicit Sources(const Files& files) : files_(files) {}
  io::ZeroCopyInputStream* Open(const std::string& name) override {
    const auto file = files_.find(name);
    if (file == files_.end()) return nullptr;
    return new io::ArrayInputStream(file->second.data(), static_cast<int>(file->second.size()));
  }

 private:
  const Files& files_;
};

class Errors final : public compiler::MultiFileErrorCollector {
 public:
  void AddError(const std::string& name, int line, int /*column*/,
                const std::string& message) override {
    ADD_FAILURE() << name << ":" << line + 1 << ": " << message;
  }
};

class Outputs final : public compiler::GeneratorContext {
 public:
  explicit Outputs(Files* files) : files_(files) {}
  io::ZeroCopyOutputStream* Open(const std::string& name) override {
    return new io::StringOutputStream(&(*files_)[name]);
  }

 private:
  Files* files_;
};

}  // namespace

Generated Generate(const Files& protos, const std::string& name, const std::string& parameter) {
  Sources sources(protos);
  Errors errors;
  compiler::Importer importer(&sources, &errors);
  Generated generated;
  const auto* const file = importer.Import(name);
  if (file == nullptr) return generated;
  Outputs outputs(&generated.files);
  generated.ok = Generator().Generate(file, parameter, &outputs, &generated.error);
  return generated;
}

Generated GenerateProto3(const std::string& text, const std::string& parameter) {
  return Generate({{"x.proto", "syntax = \"proto3\";\n" + text}}, "x.proto", parameter);
}

Generated GenerateAll(const Files& protos, const std::string& name, const std::string& parameter) {
  Generated generated = Generate(protos, name, parameter);
  Sources sources(protos);
  Errors errors;
  compiler::Importer importer(&sources, &errors);
  Outputs outputs(&generated.files);
  const auto* const file = importer.Import(name);
  generated.ok = generated.ok && file != nullptr &&
                 compiler::cpp::CppGenerator().Generate(file, "", &outputs, &generated.error);
  return generated;
}

}  // namespace ivmq::plugin
