// Comments of a .proto file, which become comments of the generated code, whatever they contain.
#include "comments.h"

#include <string>
#include <string_view>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "generate.h"

namespace ivmq::plugin {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST(CommentsTest, LinesStayAsTheyAre) {
  EXPECT_THAT(CommentLines(""), IsEmpty());
  EXPECT_THAT(CommentLines("\n"), ElementsAre(""));
  EXPECT_THAT(CommentLines(" one\n\n  two"), ElementsAre(" one", "", "  two"));
  EXPECT_THAT(CommentLines(" /* $var$ */ \"a\\b\" // #x\n"),
              ElementsAre(" /* $var$ */ \"a\\b\" // #x"));
  EXPECT_THAT(CommentLines(" \u00e9 \u4f60 \U0001f600\n"),
              ElementsAre(" \u00e9 \u4f60 \U0001f600"));
  const std::string longest(1 << 20, 'x');
  EXPECT_THAT(CommentLines(longest), ElementsAre(longest));
}

TEST(CommentsTest, NoLineGoesOnInTheNextOne) {
  EXPECT_THAT(CommentLines("a\\\nb\\ \nc\\\t \nd\\\r\ne\\\f\\ \v\nf?\?/\ng?\?/ \r\n\\"),
              ElementsAre("a\\.", "b\\.", "c\\.", "d\\.", "e\\?\\.", "f?\?/.", "g?\?/.", "\\."));
}

TEST(CommentsTest, NoLineEndsBeforeItsEnd) {
  EXPECT_THAT(CommentLines("a\rint b;\n"), ElementsAre("a?int b;"));
  EXPECT_THAT(CommentLines("a\r\nb\r\n"), ElementsAre("a", "b"));
  EXPECT_THAT(CommentLines("a\u2028b\u2029c\u0085d\n"), ElementsAre("a?b?c?d"));
}

TEST(CommentsTest, WhatIsNoTextIsNotPassedOn) {
  EXPECT_THAT(CommentLines("\x1b[31m\x7f\t."), ElementsAre("?[31m?\t."));
  EXPECT_THAT(CommentLines(std::string_view("a\0b", 3)), ElementsAre("a?b"));
  EXPECT_THAT(CommentLines("\u202ea\u2066b\u200f"), ElementsAre("?a?b?"))
      << "marks that show code in another order than compilers read it";
}

TEST(CommentsTest, BytesThatAreNoUtf8AreNotPassedOn) {
  EXPECT_THAT(CommentLines("\xff.\xc3.\xe4\xbd.\x80."), ElementsAre("?.?.??.?."));
  EXPECT_THAT(CommentLines("\xc0\x80\xed\xa0\x80\xf4\x90\x80\x80"), ElementsAre("?????????"))
      << "longer than need be, a surrogate, beyond Unicode";
  EXPECT_THAT(CommentLines("\xf0\x9f\x98"), ElementsAre("???")) << "cut off";
}

TEST(CommentsTest, ThoseOfServicesAndMethodsStandBesideTheirClassesAndFunctions) {
  auto made = GenerateProto3(
      "message M {}\n"
      "// A disk.\r\n"
      "// C:\\tmp\\ \n"
      "service Disk {\n"
      "  /* Reads.\n"
      "   * D:\\\n"
      "   */\n"
      "  rpc Read(M) returns (M);\n"
      "}\n");
  ASSERT_TRUE(made.ok) << made.error;
  const std::string& header = made.files["x.ivmq.pb.h"];
  EXPECT_THAT(header, AllOf(HasSubstr("// A disk.\n// C:\\tmp\\.\nclass Disk final {"),
                            HasSubstr("    // Reads.\n    // D:\\.\n"
                                      "    virtual ::ivmq::rpc::Status Read("),
                            Not(HasSubstr("\r"))));
}

}  // namespace
}  // namespace ivmq::plugin
