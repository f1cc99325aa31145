#include "names.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <unordered_set>

#include <google/protobuf/compiler/cpp/names.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

namespace ivmq::plugin {
namespace {

using Words = std::unordered_set<std::string_view>;

Words Split(std::string_view text) {
  constexpr std::string_view kBlanks = " \n";
  Words words;
  while (true) {
    const std::size_t begin = text.find_first_not_of(kBlanks);
    if (begin == std::string_view::npos) return words;
    text.remove_prefix(begin);
    const std::string_view word = text.substr(0, text.find_first_of(kBlanks));
    words.insert(word);
    text.remove_prefix(word.size());
  }
}

constexpr std::string_view kKeywords =
    "alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t "
    "char32_t class compl concept const consteval constexpr constinit const_cast continue co_await "
    "co_return co_yield decltype default delete do double dynamic_cast else enum explicit export "
    "extern false float for friend goto if inline int long mutable namespace new noexcept not "
    "not_eq nullptr operator or or_eq private protected public register reinterpret_cast requires "
    "return short signed sizeof static static_assert static_cast struct switch template this "
    "thread_local throw true try typedef typeid typename typeof union unsigned using virtual void "
    "volatile wchar_t while xor xor_eq";

constexpr std::string_view kMacros =
#include "macros.inc"
    ;
constexpr std::string_view kMockMacros =
#include "mock_macros.inc"
    ;
// Of other common headers, and of GNU's dialect of the language.
constexpr std::string_view kOtherMacros =
    "FALSE TRUE i386 linux major makedev minor setjmp sigsetjmp unix";

constexpr std::array<std::string_view, 9> kMacroPrefixes = {
    "GMOCK_", "GOOGLE", "GTEST_", "IVMQ_", "PROTOBUF_", "SYS_", "__", "_m_", "_mm_"};

// What Stub, Service and the classes in them call their own.
constexpr std::string_view kMethods =
    "CallbackService Service Stub StubInterface async async_interface stub_async_ stub_channel_";

// What the class of a service has for members, and namespaces that code beside it has to reach.
constexpr std::string_view kServices =
    "CallbackService NewStub Service Stub StubInterface async async_interface google ivmq "
    "service_full_name std testing";

constexpr std::string_view kGlobals =
#include "globals.inc"
    ;
// Of other common headers: types only, since a class can stand beside a function.
constexpr std::string_view kOtherGlobals = "DIR flock iovec sigaction sigset_t sigval stat statx";

bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
bool IsAlphanumeric(char c) {
  return IsUpper(c) || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

// Of C++20, and what compilers make one without -std=c++20.
bool IsKeyword(std::string_view name) {
  static const Words keywords = Split(kKeywords);
  return keywords.contains(name);
}

}  // namespace

bool IsReserved(std::string_view name) {
  static const Words macros = Split(kMacros);
  static const Words mock_macros = Split(kMockMacros);
  static const Words other_macros = Split(kOtherMacros);
  return IsKeyword(name) || macros.contains(name) || mock_macros.contains(name) ||
         other_macros.contains(name) || (name.size() > 1 && name[0] == '_' && IsUpper(name[1])) ||
         std::ranges::any_of(kMacroPrefixes,
                             [&](std::string_view prefix) { return name.starts_with(prefix); });
}

std::string UnusablePart(std::string_view name) {
  static const Words macros = Split(kMacros);
  static const Words globals = Split(kGlobals);
  for (bool outermost = true; !name.empty(); outermost = false) {
    const std::size_t end = name.find("::");
    const std::string_view part = name.substr(0, end);
    if (part == "std" || IsKeyword(part) || macros.contains(part) ||
        (outermost && globals.contains(part))) {
      return std::string(part);
    }
    name.remove_prefix(end == std::string_view::npos ? name.size() : end + 2);
  }
  return "";
}

std::string MethodName(std::string name) {
  static const Words own = Split(kMethods);
  if (IsReserved(name)) name += '_';
  while (own.contains(name)) name += '_';
  return name;
}

std::string ServiceName(std::string name, bool global) {
  static const Words own = Split(kServices);
  static const Words globals = Split(kGlobals);
  static const Words other_globals = Split(kOtherGlobals);
  if (IsReserved(name)) name += '_';
  while (own.contains(name) ||
         (global && (globals.contains(name) || other_globals.contains(name)))) {
    name += '_';
  }
  return name;
}

std::string NamespaceOf(const std::string& package) {
  if (package.empty()) return "";
  google::protobuf::FileDescriptorProto file;
  file.set_name("x.proto");
  file.set_package(package);
  file.add_message_type()->set_name("M");
  google::protobuf::DescriptorPool pool;
  std::string name =
      google::protobuf::compiler::cpp::QualifiedClassName(pool.BuildFile(file)->message_type(0));
  constexpr std::string_view kBefore = "::";
  constexpr std::string_view kAfter = "::M";
  return name.substr(kBefore.size(), name.size() - kBefore.size() - kAfter.size());
}

std::string GuardOf(std::string_view file) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string guard = "IVMQ_GENERATED_";
  for (const char c : file) {
    if (IsAlphanumeric(c)) {
      guard += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      guard += '_';
      guard += kDigits[byte >> 4U];
      guard += kDigits[byte & 15U];
    }
  }
  return guard;
}

}  // namespace ivmq::plugin
