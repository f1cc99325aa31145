// Names of a .proto file in C++: those that are given another form, and those that are refused.
#include "names.h"

#include <cctype>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "generate.h"

namespace ivmq::plugin {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kHeader[] = "x.ivmq.pb.h";
constexpr char kSource[] = "x.ivmq.pb.cc";

// ---- Other forms ----

TEST(NamesTest, AKeywordAMacroAndAReservedNameGetAnUnderscore) {
  for (const char* const name : {"delete", "class", "and", "co_await", "char8_t", "requires",
                                 "typeof", "NULL", "errno", "EOF", "assert", "linux", "major",
                                 "TRUE", "EPERM", "SIGINT", "TEST", "__LINE__", "_Bool"}) {
    EXPECT_EQ(MethodName(name), std::string(name) + "_");
    EXPECT_EQ(ServiceName(name, false), std::string(name) + "_");
  }
}

TEST(NamesTest, OtherNamesStayAsTheyAre) {
  for (const char* const name :
       {"Echo", "echo", "final", "override", "import", "module", "DELETE", "GET", "_x", "x_", "X",
        "stdin", "NewFoo", "AsyncFoo", "Classes", "methods", "AddMethod", "int32_t", "FILE"}) {
    EXPECT_EQ(MethodName(name), name);
    EXPECT_EQ(ServiceName(name, false), name);
  }
}

TEST(NamesTest, WhatGeneratedClassesCallTheirOwnIsNotTakenFromThem) {
  for (const char* const name : {"Stub", "StubInterface", "async", "async_interface", "Service",
                                 "CallbackService", "stub_channel_", "stub_async_"}) {
    EXPECT_EQ(MethodName(name), std::string(name) + "_");
  }
  for (const char* const name : {"Stub", "StubInterface", "NewStub", "Service", "CallbackService",
                                 "service_full_name", "async", "std", "ivmq", "google"}) {
    EXPECT_EQ(ServiceName(name, false), std::string(name) + "_");
  }
}

TEST(NamesTest, AServiceWithoutANamespaceLeavesCTheirTypes) {
  for (const char* const name : {"FILE", "tm", "stat", "int32_t", "sigaction"}) {
    EXPECT_EQ(ServiceName(name, true), std::string(name) + "_");
  }
}

TEST(NamesTest, OnTheWireNamesAreThoseOfTheFile) {
  auto made = GenerateProto3(
      "package acme;\n"
      "message M {}\n"
      "service class { rpc delete(M) returns (M); }\n");
  ASSERT_TRUE(made.ok) << made.error;
  EXPECT_THAT(made.files[kHeader],
              AllOf(HasSubstr("class class_ final"), HasSubstr("return \"acme.class\";"),
                    HasSubstr("Status delete_(")));
  EXPECT_THAT(made.files[kSource], HasSubstr("\"/acme.class/delete\""));
}

TEST(NamesTest, TheBarePointerOfAStreamGetsOutOfTheWayOfAMethod) {
  auto made = GenerateProto3(
      "message M {}\n"
      "service Names {\n"
      "  rpc Watch(M) returns (stream M);\n"
      "  rpc WatchRaw(M) returns (stream M);\n"
      "  rpc WatchRaw_(M) returns (M);\n"
      "}\n",
      "generate_mock_code=true");
  ASSERT_TRUE(made.ok) << made.error;
  EXPECT_THAT(made.files["x_mock.ivmq.pb.h"],
              AllOf(HasSubstr(", WatchRaw__, "), HasSubstr(", WatchRawRaw, ")));
}

TEST(NamesTest, AFileWithoutServicesIncludesItsMessagesAndNothingThatMightBeCalledLikeThem) {
  auto made = GenerateProto3("package ivmq.rpc;\nmessage Status {}\n");
  ASSERT_TRUE(made.ok) << made.error;
  EXPECT_THAT(made.files[kHeader],
              AllOf(HasSubstr("#include \"x.pb.h\""), Not(HasSubstr("ivmq/rpc/"))));
}

// ---- Include guards ----

TEST(NamesTest, NoTwoFilesShareAnIncludeGuard) {
  const std::vector<std::string> files = {"user/api.h",
                                          "user_api.h",
                                          "user-api.h",
                                          "User_Api.h",
                                          "user_2fapi.h",
                                          "user__api.h",
                                          "user/api_h",
                                          "user api.h",
                                          "\x01"
                                          "f.h",
                                          "\x1f.h",
                                          "\xc3\xa9.h",
                                          "\xc3\xa8.h",
                                          "_c3_a9.h"};
  std::set<std::string> guards;
  for (const std::string& file : files) {
    const std::string guard = GuardOf(file);
    EXPECT_TRUE(guards.insert(guard).second) << guard << " of " << file << " is another file's";
    for (const char c : guard) {
      EXPECT_TRUE(c == '_' || std::isalnum(static_cast<unsigned char>(c)) != 0) << guard;
    }
  }
}

// ---- Refusals ----

// The file is refused for a reason with these words, and nothing is made.
void ExpectRefused(const std::string& text, const std::vector<std::string>& words,
                   const std::string& parameter = "") {
  const auto made = GenerateProto3(text, parameter);
  EXPECT_FALSE(made.ok) << text;
  EXPECT_THAT(made.files, IsEmpty()) << text;
  for (const std::string& word : words) EXPECT_THAT(made.error, HasSubstr(word)) << text;
}

TEST(NamesTest, TwoMethodsOfOneNameInCppAreRefused) {
  ExpectRefused(
      "message M {}\n"
      "service Store {\n"
      "  rpc delete(M) returns (M);\n"
      "  rpc delete_(M) returns (M);\n"
      "}\n",
      {"line 5: rpc delete_: ", "taken by rpc delete", "rename"});
}

TEST(NamesTest, TwoServicesOfOneNameInCppAreRefused) {
  ExpectRefused("service class {}\nservice class_ {}\n",
                {"line 3: service class_: ", "taken by service class", "rename"});
  ExpectRefused("service Foo {}\nservice MockFooStub {}\n",
                {"line 3: service MockFooStub: ", "taken by service Foo"},
                "generate_mock_code=true");
  EXPECT_TRUE(GenerateProto3("service Foo {}\nservice MockFooStub {}\n").ok);
}

TEST(NamesTest, AServiceThatIsCalledAsCodeOfAMessageIsRefused) {
  constexpr char kMessages[] =
      "package acme;\nmessage Outer { message Inner {} enum Kind { A = 0; } }\n"
      "enum Color { RED = 0; }\n";
  for (const auto& [service, taken_by] : std::vector<std::pair<std::string, std::string>>{
           {"Outer_Inner", "message acme.Outer.Inner"},
           {"Outer_Kind", "enum acme.Outer.Kind"},
           {"Color_Name", "enum acme.Color"},
           {"OuterDefaultTypeInternal", "message acme.Outer"}}) {
    const std::string text = kMessages + ("service " + service + " {}\n");
    ExpectRefused(text, {"line 5: service " + service, "taken by " + taken_by, "rename"});
    EXPECT_TRUE(GenerateProto3(text, "services_namespace=calls").ok);
  }
}

TEST(NamesTest, MessagesOfImportedFilesOfThePackageCountToo) {
  const auto made = Generate(
      {{"a.proto", "syntax = \"proto3\"; package acme; message A { message B {} }"},
       {"b.proto", "syntax = \"proto3\"; import public \"a.proto\";"},
       {"c.proto", "syntax = \"proto3\"; package acme; import \"b.proto\"; service A_B {}"}},
      "c.proto");
  EXPECT_FALSE(made.ok);
  EXPECT_THAT(made.error, HasSubstr("message acme.A.B"));
}

TEST(NamesTest, APackageThatCannotBeANamespaceIsRefused) {
  for (const char* const package : {"class", "acme.delete", "acme.co_await.v1", "std", "acme.std",
                                    "acme.NULL", "errno.v1", "index", "time.v1", "read"}) {
    const std::string statement = std::string("package ") + package;
    ExpectRefused(statement + ";\nservice Foo {}\n", {"line 2: " + statement, "choose another"});
    EXPECT_TRUE(GenerateProto3(statement + ";\n").ok) << "without services nothing is named so";
  }
}

TEST(NamesTest, OtherPackagesAreTaken) {
  for (const char* const package :
       {"ivmq.demo", "acme.ivmq", "google", "acme.google", "internal", "testing", "acme.internal",
        "ivmqrpc", "acme.index", "acme.time", "linux", "TEST", "final"}) {
    const auto made = GenerateProto3(std::string("package ") + package + "; service Foo {}\n");
    EXPECT_TRUE(made.ok) << made.error;
  }
}

TEST(NamesTest, APackageOfALibraryIsRefused) {
  for (const char* const package : {"ivmq", "ivmq.rpc", "ivmq.rpc.internal", "google.protobuf"}) {
    const std::string statement = std::string("package ") + package;
    ExpectRefused(statement + ";\nservice Foo {}\n", {"line 2: " + statement, "choose another"});
  }
  ExpectRefused("package testing;\nservice Foo {}\n", {"line 2: package testing", "choose another"},
                "generate_mock_code=true");
  ExpectRefused("package google;\nservice protobuf {}\n", {"line 3: service protobuf"});
}

TEST(NamesTest, AServicesNamespaceThatCannotBeOneIsRefused) {
  for (const char* const name :
       {"class", "a::delete", "std", "a b", "1a", "a::", "a.b", "NULL", "read"}) {
    ExpectRefused("service Foo {}\n", {"services_namespace", name, "choose another"},
                  std::string("services_namespace=") + name);
  }
  ExpectRefused("package acme;\nmessage Outer {}\nservice Foo {}\n",
                {"services_namespace=Outer", "message acme.Outer"}, "services_namespace=Outer::x");
}

TEST(NamesTest, AMessageThatProtocCallsLikeSomethingElseIsRefused) {
  ExpectRefused(
      "package acme;\n"
      "message co_await {}\n"
      "message M {}\n"
      "service Foo { rpc Bar(M) returns (co_await); }\n",
      {"line 5: rpc Bar: ", "acme.co_await", "rename"});
  EXPECT_TRUE(
      GenerateProto3("message delete {}\nservice Foo { rpc Bar(delete) returns (delete); }").ok)
      << "protoc calls it delete_";
}

TEST(NamesTest, AFileThatCannotBeIncludedIsRefused) {
  for (const char* const name : {"a\"b.proto", "a\nb.proto", "a\\b.proto", "a?\?/b.proto"}) {
    const auto made = Generate({{name, "syntax = \"proto3\";"}}, name);
    EXPECT_FALSE(made.ok) << name;
    EXPECT_THAT(made.error, AllOf(HasSubstr("name of the file"), HasSubstr("rename")));
  }
  for (const char* const name : {"a b.proto", "a'b.proto", "\xc3\xa9.proto", "a.b.proto"}) {
    EXPECT_TRUE(Generate({{name, "syntax = \"proto3\";"}}, name).ok) << name;
  }
}

// ---- Options of the file ----

TEST(FileOptionsTest, MessagesWithoutReflectionAreRefused) {
  ExpectRefused(
      "option optimize_for = LITE_RUNTIME;\n"
      "message M {}\n"
      "service Foo {\n"
      "  rpc Bar(M) returns (M);\n"
      "}\n",
      {"line 5: rpc Bar: ", "message M", "x.proto", "LITE_RUNTIME", "remove"});
  EXPECT_TRUE(GenerateProto3("option optimize_for = CODE_SIZE;\n"
                             "message M {}\n"
                             "service Foo { rpc Bar(M) returns (M); }\n")
                  .ok);
}

TEST(FileOptionsTest, ServicesOfProtocThatWouldHaveTheSameNameAreRefused) {
  const std::string text = "option cc_generic_services = true;\nservice Foo {}\n";
  ExpectRefused(text, {"cc_generic_services", "remove", "services_namespace"});
  EXPECT_TRUE(GenerateProto3(text, "services_namespace=calls").ok);
}

TEST(NamesTest, AllReasonsAreSaidEachOnce) {
  const auto made = GenerateProto3(
      "option optimize_for = LITE_RUNTIME;\n"
      "message M {}\n"
      "service class { rpc a(M) returns (M); }\n"
      "service class_ {}\n");
  EXPECT_THAT(made.error, AllOf(HasSubstr("line 4: rpc a"), HasSubstr("\nx.proto: line 5: ")));
  EXPECT_THAT(made.error.substr(made.error.find("LITE_RUNTIME") + 1),
              Not(HasSubstr("LITE_RUNTIME")));
}

}  // namespace
}  // namespace ivmq::plugin
