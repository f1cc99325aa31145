// What `ivmq doctor` finds, one line each, with the commands that mend what is wrong.
#ifndef IVMQ_TOOLS_IVMQ_FINDINGS_H_
#define IVMQ_TOOLS_IVMQ_FINDINGS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ivmq/status.h"

#include "catalogue_entries.h"
#include "output.h"

namespace ivmq::tool {

// The id of an entry of the catalogue. One that is in no entry does not compile.
class Cause {
 public:
  consteval Cause(const char* id) : id_(id) {  // NOLINT(google-explicit-constructor)
    bool known = false;
    for (const Entry& entry : kCatalogue) known = known || entry.id == id_;
    if (!known) throw "tools/ivmq/catalogue_entries.h has no entry of this id";
  }
  // The entry of an error of the library; empty if the catalogue has none.
  static Cause Of(const Status& status);

  [[nodiscard]] std::string_view id() const noexcept { return id_; }

 private:
  Cause() = default;
  std::string_view id_;
};

// Thread-compatible. Texts may hold what others wrote: they are made printable.
class Findings {
 public:
  // Commands for a shell; a comment says where one runs if not here.
  using Remedies = std::vector<std::string>;

  void Ok(const std::string& subject, const std::string& text);
  // Works, but could be better, or should be known.
  void Note(Cause cause, const std::string& subject, const std::string& text,
            Remedies remedies = {});
  // Must be mended before it works.
  void Problem(Cause cause, const std::string& subject, const std::string& text,
               Remedies remedies = {});
  // The same for an error of the library.
  void Problem(const std::string& subject, const Status& status, Remedies remedies = {});

  // No problem was found.
  [[nodiscard]] bool usable() const;
  [[nodiscard]] std::string Text() const;
  [[nodiscard]] Json ToJson() const;

 private:
  struct Finding {
    const char* level;
    std::string_view id;  // empty: it is none of the catalogue
    std::string subject;
    std::string text;
    Remedies remedies;
  };
  std::vector<Finding> findings_;
};

// `word` as a shell reads it back, quoted if need be.
std::string ShellWord(const std::string& word);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_FINDINGS_H_
