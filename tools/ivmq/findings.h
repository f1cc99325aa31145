// What `ivmq doctor` finds, one line each, with the commands that mend what is wrong.
#ifndef IVMQ_TOOLS_IVMQ_FINDINGS_H_
#define IVMQ_TOOLS_IVMQ_FINDINGS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "output.h"

namespace ivmq::tool {

// Thread-compatible. Texts may hold what others wrote: they are made printable.
class Findings {
 public:
  // Commands for a shell; a comment says where one runs if not here.
  using Remedies = std::vector<std::string>;

  void Ok(const std::string& subject, const std::string& text);
  // Works, but could be better, or should be known.
  void Note(const std::string& subject, const std::string& text, Remedies remedies = {});
  // Must be mended before it works.
  void Problem(const std::string& subject, const std::string& text, Remedies remedies = {});

  // No problem was found.
  [[nodiscard]] bool usable() const;
  [[nodiscard]] std::string Text() const;
  [[nodiscard]] Json ToJson() const;

 private:
  struct Finding {
    const char* level;
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
