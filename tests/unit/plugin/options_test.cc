// What is passed to the plugin, and which files it makes of it.
#include <map>
#include <memory>
#include <string>

#include <gmock/gmock.h>
#include <google/protobuf/compiler/code_generator.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <gtest/gtest.h>

#include "generator.h"
#include "old.pb.h"
#include "parts/shared.pb.h"

namespace ivmq::plugin {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::Not;

// Keeps what is generated.
class Files final : public google::protobuf::compiler::GeneratorContext {
 public:
  google::protobuf::io::ZeroCopyOutputStream* Open(const std::string& name) override {
    return new google::protobuf::io::StringOutputStream(&files[name]);
  }
  std::map<std::string, std::string> files;
};

class OptionsTest : public ::testing::Test {
 protected:
  bool Generate(const std::string& parameter) {
    files_.files.clear();
    error_.clear();
    return Generator().Generate(old::ivmq::rpc::Status::descriptor()->file(), parameter, &files_,
                                &error_);
  }

  Files files_;
  std::string error_;
};

TEST_F(OptionsTest, WithoutOptionsAHeaderAndASourceAreMade) {
  ASSERT_TRUE(Generate("")) << error_;
  EXPECT_THAT(files_.files, ElementsAre(Key("old.ivmq.pb.cc"), Key("old.ivmq.pb.h")));
  EXPECT_THAT(files_.files["old.ivmq.pb.h"],
              AllOf(HasSubstr("namespace old::ivmq::rpc {"), HasSubstr("class Keeper final {"),
                    HasSubstr("class Second final {")));
}

TEST_F(OptionsTest, AServicesNamespaceLiesWithinThePackages) {
  ASSERT_TRUE(Generate("services_namespace=calls::of")) << error_;
  EXPECT_THAT(files_.files["old.ivmq.pb.h"], HasSubstr("namespace old::ivmq::rpc::calls::of {"));
  EXPECT_THAT(files_.files["old.ivmq.pb.cc"], HasSubstr("\"/old.ivmq.rpc.Keeper/Keep\""));
}

TEST_F(OptionsTest, MocksAreMadeIfAskedFor) {
  ASSERT_TRUE(Generate("generate_mock_code=true,services_namespace=calls")) << error_;
  EXPECT_THAT(files_.files,
              ElementsAre(Key("old.ivmq.pb.cc"), Key("old.ivmq.pb.h"), Key("old_mock.ivmq.pb.h")));
  EXPECT_THAT(files_.files["old_mock.ivmq.pb.h"], HasSubstr("class MockKeeperStub"));
  ASSERT_TRUE(Generate("generate_mock_code=false")) << error_;
  EXPECT_THAT(files_.files, Not(ElementsAre(Key("old_mock.ivmq.pb.h"))));
}

TEST_F(OptionsTest, UnknownOptionsAreRefusedAndNothingIsMade) {
  for (const char* const parameter :
       {"nope", "nope=1", "generate_mock_code=maybe", "generate_mock_code", "Services_namespace=a",
        "services_namespace=a,nope"}) {
    EXPECT_FALSE(Generate(parameter)) << parameter;
    EXPECT_THAT(error_, AllOf(HasSubstr("unknown option"), HasSubstr("services_namespace=NAME")))
        << parameter;
    EXPECT_THAT(files_.files, IsEmpty()) << parameter;
  }
}

TEST_F(OptionsTest, CommentsOfTheFileGoWithTheCode) {
  // A backslash at a line's end would make the next one a comment, too.
  // Descriptors of a program have no comments: those of protoc do.
  google::protobuf::FileDescriptorProto file;
  testparts::Shared::descriptor()->file()->CopyTo(&file);
  auto* const service = file.add_service();
  service->set_name("Commented");
  auto* const method = service->add_method();
  method->set_name("Get");
  method->set_input_type(".ivmq.testparts.Shared");
  method->set_output_type(".ivmq.testparts.Shared");
  auto* const location = file.mutable_source_code_info()->add_location();
  for (const int at : {6, 0, 2, 0}) location->add_path(at);
  for (const int at : {1, 2, 3}) location->add_span(at);
  location->set_leading_comments(" First line\n ends so: \\\n");
  google::protobuf::DescriptorPool pool;
  const auto* const built = pool.BuildFile(file);
  ASSERT_NE(built, nullptr);
  ASSERT_TRUE(Generator().Generate(built, "", &files_, &error_)) << error_;
  EXPECT_THAT(files_.files["parts/shared.ivmq.pb.h"],
              AllOf(HasSubstr("// First line\n"), HasSubstr("// ends so: \\.\n")));
}

}  // namespace
}  // namespace ivmq::plugin
