// What is passed to the plugin, and which files it makes of it.
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "generate.h"

namespace ivmq::plugin {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::Not;

class OptionsTest : public ::testing::Test {
 protected:
  bool Generate(const std::string& parameter) {
    made_ = plugin::Generate({{"old.proto",
                               "syntax = \"proto2\";\n"
                               "package old.ivmq.rpc;\n"
                               "message M {}\n"
                               "service Keeper { rpc Keep(M) returns (M); }\n"
                               "service Second {}\n"}},
                             "old.proto", parameter);
    return made_.ok;
  }

  Generated made_;
};

TEST_F(OptionsTest, WithoutOptionsAHeaderAndASourceAreMade) {
  ASSERT_TRUE(Generate("")) << made_.error;
  EXPECT_THAT(made_.files, ElementsAre(Key("old.ivmq.pb.cc"), Key("old.ivmq.pb.h")));
  EXPECT_THAT(made_.files["old.ivmq.pb.h"],
              AllOf(HasSubstr("namespace old::ivmq::rpc {"), HasSubstr("class Keeper final {"),
                    HasSubstr("class Second final {")));
}

TEST_F(OptionsTest, AServicesNamespaceLiesWithinThePackages) {
  ASSERT_TRUE(Generate("services_namespace=calls::of")) << made_.error;
  EXPECT_THAT(made_.files["old.ivmq.pb.h"], HasSubstr("namespace old::ivmq::rpc::calls::of {"));
  EXPECT_THAT(made_.files["old.ivmq.pb.cc"], HasSubstr("\"/old.ivmq.rpc.Keeper/Keep\""));
}

TEST_F(OptionsTest, MocksAreMadeIfAskedFor) {
  ASSERT_TRUE(Generate("generate_mock_code=true,services_namespace=calls")) << made_.error;
  EXPECT_THAT(made_.files,
              ElementsAre(Key("old.ivmq.pb.cc"), Key("old.ivmq.pb.h"), Key("old_mock.ivmq.pb.h")));
  EXPECT_THAT(made_.files["old_mock.ivmq.pb.h"], HasSubstr("class MockKeeperStub"));
  ASSERT_TRUE(Generate("generate_mock_code=false")) << made_.error;
  EXPECT_THAT(made_.files, Not(ElementsAre(Key("old_mock.ivmq.pb.h"))));
}

TEST_F(OptionsTest, UnknownOptionsAreRefusedAndNothingIsMade) {
  for (const char* const parameter :
       {"nope", "nope=1", "generate_mock_code=maybe", "generate_mock_code", "Services_namespace=a",
        "services_namespace=a,nope"}) {
    EXPECT_FALSE(Generate(parameter)) << parameter;
    EXPECT_THAT(made_.error,
                AllOf(HasSubstr("unknown option"), HasSubstr("services_namespace=NAME")))
        << parameter;
    EXPECT_THAT(made_.files, IsEmpty()) << parameter;
  }
}

}  // namespace
}  // namespace ivmq::plugin
