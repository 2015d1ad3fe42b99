// Parses cache specs.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "kv/codecs.h"

namespace spectralkv {
namespace {

std::string_view trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// Takes what stands before the separator (or all) off `rest`.
std::string_view take_until(std::string_view& rest, char separator) {
  const auto at = rest.find(separator);
  const auto head = rest.substr(0, at);
  rest = at == std::string_view::npos ? std::string_view{} : rest.substr(at + 1);
  return trim(head);
}

std::optional<std::int64_t> to_int(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> to_number(std::string_view text) {
  double value = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

}  // namespace

CodecSpec::CodecSpec(std::string_view text) : text_(trim(text)) {
  std::string_view rest = text_;
  std::string_view head = take_until(rest, ',');
  name_ = take_until(head, ':');
  if (name_.empty()) refuse("it names no codec; there are " + codec_list());
  if (text_.find(':') < text_.find(',')) {
    bits_ = to_number(trim(head));
    if (!bits_) refuse(concat("expected a number of bits after '", name_, ":'"));
  }
  for (bool more = text_.find(',') != std::string::npos; more;) {
    more = rest.find(',') != std::string_view::npos;
    std::string_view value = take_until(rest, ',');
    const bool has_value = value.find('=') != std::string_view::npos;
    const std::string option(take_until(value, '='));
    if (option.empty()) refuse("an option is empty");
    if (has_value && trim(value).empty()) refuse(concat("option '", option, "' has no value"));
    if (!options_.emplace(option, trim(value)).second) refuse(concat("option '", option, "' stands twice"));
  }
}

std::optional<std::int64_t> CodecSpec::bits() const {
  if (!bits_) return std::nullopt;
  if (*bits_ != std::floor(*bits_) || std::fabs(*bits_) > 1e6)
    refuse(concat("expected a whole number of bits after '", name_, ":'"));
  return static_cast<std::int64_t>(*bits_);
}

std::int64_t CodecSpec::take_int(std::string_view option, std::int64_t fallback, std::int64_t min,
                                 std::int64_t max) {
  return take_int_or(option, "", 0, fallback, min, max);
}

std::int64_t CodecSpec::take_int_or(std::string_view option, std::string_view word, std::int64_t means,
                                    std::int64_t fallback, std::int64_t min, std::int64_t max) {
  const auto it = options_.find(option);
  if (it == options_.end()) return fallback;
  const bool is_word = !word.empty() && it->second == word;
  const auto value = is_word ? std::optional(means) : to_int(it->second);
  if (!value || (!is_word && (*value < min || *value > max)))
    refuse(concat("option '", option, "' must be ", min, " to ", max, word.empty() ? "" : " or ", word,
                  ", got '", it->second, "'"));
  options_.erase(it);
  return *value;
}

std::string CodecSpec::take_choice(std::string_view option, std::string_view fallback,
                                   std::span<const std::string_view> choices) {
  const auto it = options_.find(option);
  if (it == options_.end()) return std::string(fallback);
  const std::string value = it->second;
  if (std::find(choices.begin(), choices.end(), value) == choices.end()) {
    std::string list;
    for (auto choice : choices) list += (list.empty() ? "" : ", ") + std::string(choice);
    refuse(concat("option '", option, "' must be one of ", list, ", got '", value, "'"));
  }
  options_.erase(it);
  return value;
}

bool CodecSpec::take_flag(std::string_view option) {
  const auto it = options_.find(option);
  if (it == options_.end()) return false;
  if (!it->second.empty()) refuse(concat("option '", option, "' takes no value"));
  options_.erase(it);
  return true;
}

void CodecSpec::finish(std::string_view known) const {
  if (!options_.empty())
    refuse(concat("'", name_, "' has no option '", options_.begin()->first, "'; its options: ", known));
}

void CodecSpec::refuse(const std::string& why) const {
  fail(ErrorKind::value, "kv", "cache type '", text_, "': ", why);
}

std::vector<std::string> split_layers(std::string_view spec, std::int64_t n_layers) {
  const std::string whole(spec);
  std::string_view rest = spec;
  std::vector<std::string> result(static_cast<std::size_t>(n_layers), std::string(take_until(rest, ';')));
  std::vector<bool> named(result.size());
  for (bool more = spec.find(';') != std::string_view::npos; more;) {
    more = rest.find(';') != std::string_view::npos;
    std::string_view clause = take_until(rest, ';');
    constexpr std::string_view kWord = "layers ";
    check(clause.starts_with(kWord) && clause.find('=') != std::string_view::npos, "kv", "cache type '",
          whole, "': expected 'layers FIRST-LAST=TYPE' after ';', got '", clause, "'");
    clause.remove_prefix(kWord.size());
    std::string_view ranges = take_until(clause, '=');
    check(!trim(clause).empty(), "kv", "cache type '", whole, "': no type stands behind 'layers ", ranges,
          "='; there are ", codec_list());
    for (bool another = true; another;) {
      another = ranges.find(',') != std::string_view::npos;
      const auto range = take_until(ranges, ',');
      const auto dash = range.find('-');
      const auto first = to_int(trim(range.substr(0, dash)));
      const auto last = dash == std::string_view::npos ? first : to_int(trim(range.substr(dash + 1)));
      check(first && last && *first >= 0 && *first <= *last && *last < n_layers, "kv", "cache type '", whole,
            "': layers '", range, "' are not within 0 to ", n_layers - 1);
      for (auto l = static_cast<std::size_t>(*first); l <= static_cast<std::size_t>(*last); ++l) {
        check(!named[l], "kv", "cache type '", whole, "': layer ", l, " is named twice");
        named[l] = true;
        result[l] = std::string(trim(clause));
      }
    }
  }
  return result;
}

}  // namespace spectralkv
