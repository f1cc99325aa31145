// Compilers take generated code, with their warnings as errors, whatever is called how.
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <google/protobuf/compiler/plugin.pb.h>
#include <gtest/gtest.h>

#include "generate.h"
#include "names.h"
#include "support/random.h"

namespace ivmq::plugin {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string ReadFile(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::vector<std::string> Split(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

// Keywords, macros, names of generated code and of what it uses, and what looks like them.
const std::vector<std::string>& Dangerous() {
  static const std::vector<std::string> words = Split(
      "and char8_t class co_await delete requires typeof errno linux major EPERM TEST __LINE__ "
      "_Bool "
      "final import module override stdin "
      "AddMethod CallbackService NewStub Service Stub StubInterface async async_interface methods "
      "service_full_name stub_channel_ "
      "context done gmock_Call reactor request response stream "
      "Call CallRaw CallRawRaw Names kCallMethod_ "
      "google internal ivmq move rpc std string testing "
      "AsyncFoo Foo Message PrepareAsyncFoo Status WithRawMethod_X");
  return words;
}

constexpr std::size_t kKinds = 4;
std::string Rpc(const std::string& name, std::size_t kind) {
  constexpr const char* kShapes[kKinds] = {"(M) returns (M)", "(stream M) returns (M)",
                                           "(M) returns (stream M)",
                                           "(stream M) returns (stream M)"};
  return "  rpc " + name + kShapes[kind % kKinds] + ";\n";
}

// Each is the name of a service with a method that is called so, too.
std::string ServicesCalled(const std::vector<std::string>& names) {
  std::string text = "message M {}\n";
  for (std::size_t i = 0; i < names.size(); ++i) {
    text += "service " + names[i] + " {\n" + Rpc(names[i], i) + "}\n";
  }
  return text;
}

// Each is the name of methods of two kinds, beside all the others.
std::string MethodsCalled(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t shift = 0; shift < 2; ++shift) {
    text += "service Kind" + std::to_string(shift) + " {\n";
    for (std::size_t i = 0; i < names.size(); ++i) text += Rpc(names[i], i + shift);
    text += "}\n";
  }
  return text;
}

// Some of them together, of other kinds each time.
std::string RandomServices(std::vector<std::string> names, testing::Random& random) {
  std::string text = "message M {}\n";
  for (int i = 0; i < 5; ++i) {
    std::shuffle(names.begin(), names.end(), random);
    text += "service Random" + std::to_string(i) + " {\n";
    for (std::size_t j = 0; j < 8; ++j) text += Rpc(names[j], testing::Below(random, kKinds));
    text += "}\n";
  }
  return text;
}

class GeneratedFilesTest : public ::testing::Test {
 protected:
  GeneratedFilesTest() {
    std::string pattern = std::filesystem::temp_directory_path() / "ivmq_plugin_XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  ~GeneratedFilesTest() override { std::filesystem::remove_all(folder_); }

  void Write(const std::string& name, std::string_view text) const {
    const std::filesystem::path path = folder_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  // Generates for the file and adds what is made to the unit to compile.
  void Add(const std::string& name, const std::string& text, const std::string& parameter = "") {
    protos_[name] = "syntax = \"proto3\";\n" + text;
    const auto made = GenerateAll(protos_, name, parameter);
    ASSERT_TRUE(made.ok) << made.error;
    for (const auto& [path, content] : made.files) {
      Write(path, content);
      // Messages are protoc's business.
      if (path.ends_with(".pb.cc") && !path.ends_with(".ivmq.pb.cc")) continue;
      unit_ += "#include \"" + path + "\"\n";
    }
  }
  // Runs the command in the shell; gives what it says.
  std::string Run(const std::string& command, int* status) const {
    const std::string log = folder_ / "log";
    const int result =
        std::system(("cd '" + folder_.string() + "' && " + command + " >log 2>&1").c_str());
    *status = WIFEXITED(result) ? WEXITSTATUS(result) : -1;
    return ReadFile(log);
  }
  std::filesystem::path folder_;
  Files protos_;
  std::string unit_;
};

// With each compiler that is installed.
class CompileTest : public GeneratedFilesTest, public ::testing::WithParamInterface<std::string> {
 protected:
  // With the macros that GNU's dialect has beside the standard's.
  std::string Compile(const std::string& options) const {
    int status = 0;
    std::string said =
        Run(GetParam() + " -std=gnu++20 -I . " IVMQ_INCLUDES " " + options + " unit.cc", &status);
    EXPECT_EQ(status, 0);
    return said;
  }
};

INSTANTIATE_TEST_SUITE_P(Compilers, CompileTest, ::testing::ValuesIn(Split(IVMQ_COMPILERS)),
                         [](const auto& compiler) {
                           return compiler.param.find("clang") != std::string::npos ? "Clang"
                                                                                    : "Gcc";
                         });

TEST_P(CompileTest, AllNamesAndCommentsAreTakenWithoutAWarning) {
  testing::Random random(testing::TestSeed());
  Add("named.proto", "package named;\n" + ServicesCalled(Dangerous()) + MethodsCalled(Dangerous()));
  Add("random.proto", "package acme.random;\n" + RandomServices(Dangerous(), random),
      "generate_mock_code=true");
  Add("global.proto", ServicesCalled(Split(
                          "delete errno std ivmq google testing FILE tm stat int32_t timespec exit "
                          "read signal Stub Service async")));
  for (const char* const package : {"google", "acme.google", "acme.ivmq.rpc", "acme.rpc.internal",
                                    "internal", "Stub.Service.async"}) {
    Add(std::string(package) + ".proto", std::string("package ") + package + ";\n" +
                                             ServicesCalled({"Status", "Channel", "Message"}));
  }
  // Messages that are called alike, of other files and within others.
  Add("messages/far.proto",
      "package far.acme;\n"
      "message M { message M2 {} message delete { message class {} } optional string text = 1; }\n"
      "message Near {}\n");
  Add("near.proto",
      "package near.acme;\n"
      "import \"messages/far.proto\";\n"
      "message Near { message M2 {} }\n"
      "service M {\n"
      "  rpc Near(far.acme.Near) returns (stream near.acme.Near);\n"
      "  rpc M(stream far.acme.M) returns (far.acme.M.M2);\n"
      "  rpc M2(stream near.acme.Near.M2) returns (stream far.acme.M.delete.class);\n"
      "  rpc Both(near.acme.Near) returns (.far.acme.Near);\n"
      "}\n");
  Add("others.proto",
      "package others;\n"
      "message Stub {}\nmessage Service {}\nmessage async {}\nmessage ivmq {}\nmessage google {}\n"
      "service Others {\n"
      "  rpc Stub(others.Stub) returns (others.Service);\n"
      "  rpc ivmq(stream others.ivmq) returns (stream others.google);\n"
      "  rpc Service(others.async) returns (stream others.async);\n"
      "}\n");
  Add("spaced.proto", "package spaced;\n" + ServicesCalled({"Echo", "std"}),
      "generate_mock_code=true,services_namespace=calls::of");
  Add("empty.proto", "package empty;\nservice Nothing {}\n");
  // Include guards.
  int number = 0;
  for (const char* const name : {"user/api", "user_api", "user-api", "User_Api", "user api"}) {
    const std::string package = "user" + std::to_string(++number);
    Add(std::string(name) + ".proto", "package " + package + ";\n" + ServicesCalled({"Echo"}));
    unit_ += "static_assert(" + package + "::Echo::service_full_name() != nullptr);\n";
  }
  // What a comment must not do.
  Add("comments.proto",
      "package comments;\n"
      "message M {}\n"
      "// Backslash \\\n// blank \\ \n// tab \\\t\n// return \\\r\n// feed \\\f\n// trigraph ?\?/\n"
      "// ?\?/ \n// lone return \rclass Gone {};\n// turned \u202e round\n// none of \xff UTF-8\n"
      "// /* \"quotes' */ #include <none>\n// ends so: \\\n"
      "service Commented {\n"
      "  /* Block \\\n   * with stars \\ \n   *\\\n   ?\?/ */\n"
      "  rpc Block(M) returns (M);\n"
      "  /// Of documentation \\\n"
      "  rpc Slashes(M) returns (stream M);  // behind \\\n"
      "  //\\\n"
      "  rpc Nothing(stream M) returns (M);\n"
      "}\n");
  // What applications write with other forms of names.
  Add("used.proto", "package used;\nmessage M {}\nservice class { rpc delete(M) returns (M); }\n");
  unit_ +=
      "class Own final : public used::class_::Service {\n"
      "  ::ivmq::rpc::Status delete_(::ivmq::rpc::ServerContext*, const used::M*, used::M*) "
      "override;\n"
      "};\n"
      "[[maybe_unused]] static ::ivmq::rpc::Status Use(used::class_::StubInterface& stub,\n"
      "                                                ::ivmq::rpc::ClientContext& context) {\n"
      "  used::M m;\n"
      "  return stub.delete_(&context, m, &m);\n"
      "}\n";
  Write("unit.cc", unit_);
  EXPECT_THAT(Compile("-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -fsyntax-only"),
              IsEmpty());
}

TEST_P(CompileTest, AProgramThatIsPortedFromGrpcIsTakenWithoutAWarning) {
  std::string proto = ReadFile(IVMQ_PORTING "/greeter.proto");
  const std::string syntax = "syntax = \"proto3\";\n";
  ASSERT_TRUE(proto.starts_with(syntax));
  Add("greeter.proto", proto.substr(syntax.size()));
  for (const char* const program : {"client.cc", "server.cc"}) {
    Write("unit.cc", "#include \"" IVMQ_PORTING "/compat/" + std::string(program) + "\"\n");
    EXPECT_THAT(Compile("-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -fsyntax-only"),
                IsEmpty());
  }
}

TEST_P(CompileTest, EachMacroThatGeneratedCodeMeetsIsKnown) {
  Add("x.proto", ServicesCalled({"Echo"}), "generate_mock_code=true");
  Write("unit.cc", unit_);
  std::istringstream macros(Compile("-dM -E"));
  for (std::string line; std::getline(macros, line);) {
    const std::vector<std::string> words = Split(line);  // #define NAME(...) VALUE
    ASSERT_GE(words.size(), 2U) << line;
    const std::string name = words[1].substr(0, words[1].find('('));
    const bool harmless = words.size() == 3 && words[2] == name;
    EXPECT_TRUE(harmless || IsReserved(name)) << name << ": add it to macros.inc";
  }
}

// ---- The program ----

TEST_F(GeneratedFilesTest, ProtocSaysWhatIsRefusedAndWhere) {
  Write("wrong.proto", "syntax = \"proto3\";\n\nservice delete {}\nservice delete_ {}\n");
  int status = 0;
  const std::string said =
      Run(IVMQ_PROTOC " --plugin=" IVMQ_PLUGIN " --ivmq_out=. wrong.proto", &status);
  EXPECT_NE(status, 0);
  EXPECT_THAT(said, HasSubstr("wrong.proto: line 4: service delete_: "));
}

TEST_F(GeneratedFilesTest, ASyntaxThatIsNotKnownIsRefused) {
  google::protobuf::compiler::CodeGeneratorRequest request;
  request.add_file_to_generate("new.proto");
  auto* const file = request.add_proto_file();
  file->set_name("new.proto");
  file->set_syntax("editions");
  Write("request", request.SerializeAsString());
  int status = 0;
  google::protobuf::compiler::CodeGeneratorResponse response;
  ASSERT_TRUE(response.ParseFromString(Run(IVMQ_PLUGIN " <request", &status)));
  EXPECT_EQ(status, 0) << "protoc says what the response says";
  EXPECT_THAT(response.error(),
              AllOf(HasSubstr("new.proto"), HasSubstr("editions"), HasSubstr("proto3")));
}

TEST_F(GeneratedFilesTest, ThePluginSaysHowItIsRun) {
  int status = 0;
  EXPECT_THAT(Run(IVMQ_PLUGIN " --version", &status), HasSubstr("--ivmq_out"));
  EXPECT_NE(status, 0);
  EXPECT_THAT(Run("echo nonsense | " IVMQ_PLUGIN, &status), HasSubstr("--ivmq_out"));
  EXPECT_NE(status, 0);
}

}  // namespace
}  // namespace ivmq::plugin
