// The catalogue of ivmq explain, its page, and the messages that it knows.
#include "catalogue.h"

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>

#include "exit_code.h"

namespace ivmq::tool {
namespace {

namespace fs = std::filesystem;

const fs::path kSource = IVMQ_SOURCE_DIR;

std::string Read(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// Without the ends of literals that go on in the next line.
std::string Joined(const std::string& source) {
  std::string joined;
  for (std::size_t i = 0; i < source.size(); ++i) {
    const std::size_t next = source[i] == '"' ? source.find_first_not_of(" \n", i + 1) : i;
    if (next != i && next != std::string::npos && source[next] == '"' &&
        source.substr(i, next - i).find('\n') != std::string::npos) {
      i = next;
    } else {
      joined += source[i];
    }
  }
  return joined;
}

// The sources, with literals that belong together joined.
std::string Literals() {
  std::string all;
  for (const char* const folder : {"core", "transports", "proto", "tools"}) {
    for (const auto& file : fs::recursive_directory_iterator(kSource / folder)) {
      if (file.path().extension() != ".cc") continue;
      all += Joined(Read(file.path()));
    }
  }
  return all;
}

TEST(CatalogueTest, IdsAreUniqueAndCanBeTyped) {
  std::set<std::string_view> ids;
  for (const Entry& entry : Catalogue()) {
    EXPECT_TRUE(ids.insert(entry.id).second) << entry.id;
    EXPECT_TRUE(std::regex_match(std::string(entry.id), std::regex("[a-z0-9-]+"))) << entry.id;
    EXPECT_EQ(FindEntry(entry.id), &entry);
  }
}

TEST(CatalogueTest, EntriesStandByTheirSymptomsAndAreSentences) {
  std::set<Symptom> seen;
  const Entry* last = nullptr;
  for (const Entry& entry : Catalogue()) {
    if (last == nullptr || last->symptom != entry.symptom) {
      EXPECT_TRUE(seen.insert(entry.symptom).second) << entry.id;
    }
    last = &entry;
    for (const std::string_view text : {entry.meaning, entry.why, entry.remedy}) {
      ASSERT_FALSE(text.empty()) << entry.id;
      EXPECT_TRUE(text.ends_with('.') || text.ends_with('`')) << entry.id << ": " << text;
    }
  }
}

TEST(CatalogueTest, EveryMessageIsOneOfTheSources) {
  const std::string literals = Literals();
  for (const Entry& entry : Catalogue()) {
    for (const std::string_view message : entry.messages) {
      std::istringstream parts{std::string(message)};
      for (std::string part; std::getline(parts, part, '*');) {
        const bool is_of_system =
            part == "No such file or directory" || part == "Permission denied";
        if (is_of_system) continue;
        EXPECT_NE(literals.find(part), std::string::npos) << entry.id << ": " << message;
      }
    }
  }
}

TEST(CatalogueTest, AMessageFindsTheEntryThatKnowsMostOfIt) {
  const auto id = [](std::string_view text) {
    const Entry* const entry = EntryOfMessage(text);
    return entry == nullptr ? "" : entry->id;
  };
  EXPECT_EQ(id("ivmq: shm:/x: there is no such file; make one with `ivmq format shm:/x`"),
            "no-region-file");
  EXPECT_EQ(id("NOBODY LISTENS: the server that created this socket has ended"), "server-ended");
  EXPECT_EQ(id("the name 'bob' is held by slot 3, incarnation 1"), "name-taken");
  EXPECT_EQ(id("refused pid 7 (qemu), uid 3: its user is not among --allow-uid"),
            "user-not-allowed");
  EXPECT_EQ(id("hello"), "");
}

TEST(CatalogueTest, WordsFindWhatIsClose) {
  const auto like = EntriesLike("the guest firmware maps the memory uncached", 3);
  ASSERT_FALSE(like.empty());
  EXPECT_EQ(like.front()->id, "uncached");
  EXPECT_TRUE(EntriesLike("zzz", 3).empty());
}

TEST(CatalogueTest, EveryExitStatusHasAnEntry) {
  for (const int code : {kExitFailed, kExitUsage, kExitNotFound, kExitTimedOut, kExitDropped,
                         kExitDamaged, kExitInterrupted}) {
    EXPECT_NE(FindEntry("exit-" + std::to_string(code)), nullptr) << code;
  }
}

TEST(CatalogueTest, ThePageIsTheCatalogue) {
  EXPECT_TRUE(Read(kSource / "docs" / "troubleshooting.md") == CatalogueAsMarkdown())
      << "ivmq explain --markdown > docs/troubleshooting.md";
}

}  // namespace
}  // namespace ivmq::tool
