// docs/guarantees.md names a test for each of its promises, and the tests exist.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace ivmq {
namespace {

namespace fs = std::filesystem;

std::string Read(const fs::path& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file.is_open()) << path;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Suite and Suite.Name of all tests, and the names of the programs that are tests by themselves.
std::set<std::string> TestsOfTheProject() {
  std::set<std::string> names;
  const std::regex test(R"(\bTEST(?:_F|_P)?\(\s*(\w+)\s*,\s*(\w+)\s*\))");
  const std::regex program(R"(\b(?:add_test\(\s*NAME\s+|ivmq_campaign\()(\w+))");
  for (const auto& entry : fs::recursive_directory_iterator(IVMQ_SOURCE_DIR "/tests")) {
    const fs::path& path = entry.path();
    const bool is_cmake = path.filename() == "CMakeLists.txt";
    if (path.extension() != ".cc" && !is_cmake) continue;
    const std::string text = Read(path);
    for (std::sregex_iterator at(text.begin(), text.end(), is_cmake ? program : test), end;
         at != end; ++at) {
      names.insert((*at)[1]);
      if (!is_cmake) names.insert((*at)[1].str() + "." + (*at)[2].str());
    }
  }
  return names;
}

struct Promise {
  std::string text;  // a paragraph, an item of a list or a row of a table
  std::vector<std::string> tests;
};

std::vector<std::string> TestsIn(const std::string& text) {
  std::vector<std::string> tests;
  const std::regex name(R"(`([A-Z]\w*Test(?:\.\w+)?|\w+_campaign)`)");
  for (std::sregex_iterator at(text.begin(), text.end(), name), end; at != end; ++at) {
    tests.push_back((*at)[1]);
  }
  return tests;
}

// What stands in sections that promise something. "Not promised" and the introduction do not.
std::vector<Promise> Promises() {
  std::istringstream document(Read(IVMQ_SOURCE_DIR "/docs/guarantees.md"));
  std::vector<Promise> promises;
  std::string open;  // what goes on in the next line
  bool counts = false;
  const auto close = [&] {
    // A sentence that leads to a list or a table promises what that says.
    if (!open.empty() && !open.ends_with(':')) promises.push_back({open, TestsIn(open)});
    open.clear();
  };
  for (std::string line; std::getline(document, line);) {
    const bool is_row = line.starts_with("|");
    if (line.empty() || is_row || line.starts_with("- ") || line.starts_with("#")) close();
    if (line.starts_with("## ")) counts = line != "## Not promised";
    if (!counts || line.empty() || line.starts_with("#")) continue;
    if (!is_row) {
      open += open.empty() ? line : "\n" + line;
    } else if (line.starts_with("|---")) {
      promises.pop_back();  // the heads of the columns
    } else {
      promises.push_back({line, TestsIn(line)});
    }
  }
  close();
  return promises;
}

TEST(GuaranteesTest, EachPromiseNamesATestThatExists) {
  const std::set<std::string> tests = TestsOfTheProject();
  ASSERT_TRUE(tests.contains("GuaranteesTest.EachPromiseNamesATestThatExists"));
  const std::vector<Promise> promises = Promises();
  ASSERT_GT(promises.size(), 50U);
  for (const Promise& promise : promises) {
    EXPECT_FALSE(promise.tests.empty()) << "no test is named for:\n" << promise.text;
    for (const std::string& test : promise.tests) {
      EXPECT_TRUE(tests.contains(test)) << "there is no test " << test << ", named for:\n"
                                        << promise.text;
    }
  }
}

}  // namespace
}  // namespace ivmq
