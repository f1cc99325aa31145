#include "findings.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "text.h"

namespace ivmq::tool {
namespace {

constexpr const char* kOk = "ok";
constexpr const char* kNote = "note";
constexpr const char* kProblem = "problem";

}  // namespace

Cause Cause::Of(const Status& status) {
  Cause cause;
  if (const Entry* const entry = EntryOfMessage(status.message())) cause.id_ = entry->id;
  return cause;
}

void Findings::Ok(const std::string& subject, const std::string& text) {
  findings_.push_back({kOk, "", subject, text, {}});
}

void Findings::Note(Cause cause, const std::string& subject, const std::string& text,
                    Remedies remedies) {
  findings_.push_back({kNote, cause.id(), subject, text, std::move(remedies)});
}

void Findings::Problem(Cause cause, const std::string& subject, const std::string& text,
                       Remedies remedies) {
  findings_.push_back({kProblem, cause.id(), subject, text, std::move(remedies)});
}

void Findings::Problem(const std::string& subject, const Status& status, Remedies remedies) {
  Problem(Cause::Of(status), subject, status.message(), std::move(remedies));
}

bool Findings::usable() const {
  return std::none_of(findings_.begin(), findings_.end(),
                      [](const Finding& finding) { return finding.level == kProblem; });
}

std::string Findings::Text() const {
  std::string text;
  for (const Finding& finding : findings_) {
    text += fmt::format("{:<8} {}: {}{}\n", finding.level, Printable(finding.subject),
                        Printable(finding.text),
                        finding.id.empty() ? "" : fmt::format(" [{}]", finding.id));
    for (const std::string& remedy : finding.remedies) {
      text += fmt::format("{:11}{}\n", "", Printable(remedy));
    }
  }
  return text;
}

Json Findings::ToJson() const {
  Json list = Json::array();
  for (const Finding& finding : findings_) {
    list.push_back({{"level", finding.level},
                    {"id", finding.id.empty() ? Json(nullptr) : Json(finding.id)},
                    {"subject", finding.subject},
                    {"text", finding.text},
                    {"remedies", finding.remedies}});
  }
  return {{"usable", usable()}, {"findings", std::move(list)}};
}

std::string ShellWord(const std::string& word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:,./@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace ivmq::tool
