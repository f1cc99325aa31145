#include "definitions.h"

#include <filesystem>
#include <utility>

#include <fmt/format.h>

#include "command.h"

namespace ivmq::tool {
namespace {

namespace compiler = google::protobuf::compiler;
using google::protobuf::DescriptorPool;
using google::protobuf::FileDescriptor;

class FileErrors final : public compiler::MultiFileErrorCollector {
 public:
  void AddError(const std::string& file, int line, int column,
                const std::string& message) override {
    if (!text_.empty()) text_ += "; ";
    // Lines count from 0; -1: the file as a whole.
    text_ += line < 0 ? fmt::format("{}: {}", file, message)
                      : fmt::format("{}:{}:{}: {}", file, line + 1, column + 1, message);
  }
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

 private:
  std::string text_;
};

class PoolErrors final : public DescriptorPool::ErrorCollector {
 public:
  void AddError(const std::string& file, const std::string& element,
                const google::protobuf::Message* /*descriptor*/, ErrorLocation /*location*/,
                const std::string& message) override {
    if (text_.empty()) text_ = fmt::format("{}: {}: {}", file, element, message);
  }
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

 private:
  std::string text_;
};

class ProtoFiles final : public Definitions {
 public:
  ProtoFiles()
      : known_(*DescriptorPool::generated_pool()),
        database_(&tree_, &known_),
        pool_(&database_, database_.GetValidationErrorCollector()) {
    database_.RecordErrorsTo(&errors_);
  }

  Status Read(const std::vector<std::string>& files, const std::vector<std::string>& folders) {
    for (const std::string& folder : folders) tree_.MapPath("", folder);
    for (const std::string& file : files) {
      std::string name;
      if (folders.empty()) {
        const std::filesystem::path path(file);
        tree_.MapPath("", path.has_parent_path() ? path.parent_path().string() : ".");
        name = path.filename().string();
      } else if (std::string shadow; tree_.DiskFileToVirtualFile(file, &name, &shadow) !=
                                     compiler::DiskSourceTree::SUCCESS) {
        name = file;  // as an import would name it
      }
      const FileDescriptor* const read = pool_.FindFileByName(name);
      if (read == nullptr) {
        return {StatusCode::kInvalidArgument,
                errors_.text().empty() ? fmt::format("{}: no such file", file) : errors_.text()};
      }
      for (int i = 0; i < read->service_count(); ++i) {
        services_.push_back(read->service(i)->full_name());
      }
    }
    return {};
  }

  Result<std::vector<std::string>> Services() override { return services_; }
  Status Find(const std::string& symbol) override {
    if (pool_.FindFileContainingSymbol(symbol) != nullptr) return {};
    return {StatusCode::kNotFound,
            fmt::format("the files of --proto do not define '{}'; their services: {}", symbol,
                        fmt::join(services_, ", "))};
  }
  [[nodiscard]] const DescriptorPool& pool() const override { return pool_; }

 private:
  compiler::DiskSourceTree tree_;
  // What comes with protobuf: google/protobuf/timestamp.proto and so on.
  google::protobuf::DescriptorPoolDatabase known_;
  compiler::SourceTreeDescriptorDatabase database_;
  FileErrors errors_;
  DescriptorPool pool_;
  std::vector<std::string> services_;
};

}  // namespace

void AddProtoFlags(CLI::App* command, ProtoFlags* flags, const std::string& help) {
  command->add_option("--proto", flags->files, help)->type_name("FILE")->allow_extra_args(false);
  command->add_option("-I", flags->folders, "Folder where imports are looked up (that of FILE)")
      ->type_name("DIR")
      ->allow_extra_args(false);
}

bool HasProtos(const ProtoFlags& flags) {
  if (flags.files.empty() && !flags.folders.empty()) WrongUsage("-I without --proto");
  return !flags.files.empty();
}

Result<std::unique_ptr<Definitions>> ReadProtoFiles(const ProtoFlags& flags) {
  auto read = std::make_unique<ProtoFiles>();
  if (Status status = read->Read(flags.files, flags.folders); !status.ok()) return status;
  return std::unique_ptr<Definitions>(std::move(read));
}

Status AddFiles(const google::protobuf::FileDescriptorSet& set, DescriptorPool& pool) {
  for (const google::protobuf::FileDescriptorProto& file : set.file()) {
    if (pool.FindFileByName(file.name()) != nullptr) continue;
    PoolErrors errors;
    if (pool.BuildFileCollectingErrors(file, &errors) == nullptr) {
      return {StatusCode::kInvalidArgument,
              fmt::format("the descriptors are not correct: {}", errors.text())};
    }
  }
  return {};
}

}  // namespace ivmq::tool
