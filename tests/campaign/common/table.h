// What a campaign prints at its end: figures, and promises with how often each was broken.
#ifndef IVMQ_TESTS_CAMPAIGN_COMMON_TABLE_H_
#define IVMQ_TESTS_CAMPAIGN_COMMON_TABLE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ivmq::campaign {

// One column of figures, or several. Thread-compatible.
class Table {
 public:
  using Values = std::vector<std::uint64_t>;  // one for each column

  explicit Table(std::string_view title, const std::vector<std::string>& columns = {""});

  void Heading(std::string_view text);
  void Figure(std::string_view what, const Values& values);
  void Figure(std::string_view what, std::uint64_t value) { Figure(what, Values{value}); }
  // A figure that must be 0.
  void Promise(std::string_view what, const Values& values);
  void Promise(std::string_view what, std::uint64_t value) { Promise(what, Values{value}); }
  // A figure without which the campaign has shown nothing: it must not be 0.
  void Needed(std::string_view what, const Values& values);
  void Needed(std::string_view what, std::uint64_t value) { Needed(what, Values{value}); }

  // Whether all promises so far were kept.
  [[nodiscard]] bool holds() const noexcept { return holds_; }
  void Print() const;

 private:
  std::string text_;
  bool holds_ = true;
};

}  // namespace ivmq::campaign

#endif  // IVMQ_TESTS_CAMPAIGN_COMMON_TABLE_H_
