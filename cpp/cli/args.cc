// Parsing of option tables, and the help that is written from them.
#include "cli/args.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace spectralkv {
namespace {

// from_chars knows no leading plus.
std::string_view without_plus(const std::string& text) {
  const bool plus = text.size() > 1 && text[0] == '+' && text[1] != '-' && text[1] != '+';
  return std::string_view(text).substr(plus ? 1 : 0);
}

// The bounds; the widest ones go without saying, except to a number beyond them (`all`).
template <class T>
std::string range_text(T min, T max, bool all) {
  if (all) return concat(" from ", min, " to ", max);
  const bool low = min > std::numeric_limits<T>::lowest(), high = max < std::numeric_limits<T>::max();
  if (low && high) return concat(" from ", min, " to ", max);
  if (low) return concat(" of at least ", min);
  if (high) return concat(" of at most ", max);
  return "";
}

// Levenshtein's distance.
std::size_t edits(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

const Option* find_option(const std::vector<Option>& options, const std::string& name) {
  for (const auto& option : options)
    if (std::find(option.names.begin(), option.names.end(), name) != option.names.end()) return &option;
  return nullptr;
}

[[noreturn]] void fail_unknown(const std::vector<Option>& options, const std::string& name) {
  std::vector<std::string> known{"--help"};
  for (const auto& option : options) known.insert(known.end(), option.names.begin(), option.names.end());
  const std::string nearest = nearest_word(name, known);
  throw UsageError(concat("unknown option '", name, "'",
                          nearest.empty() ? "" : concat("; did you mean '", nearest, "'?")));
}

// Whether `text` is one of the words of "[on|off]".
bool is_word_of(const std::string& optional, const std::string& text) {
  const std::string inner = optional.substr(1, optional.size() - 2);
  for (std::size_t at = 0; at <= inner.size();) {
    const std::size_t end = std::min(inner.find('|', at), inner.size());
    if (inner.compare(at, end - at, text) == 0) return true;
    at = end + 1;
  }
  return false;
}

// What begins in the left column, and its text in the right one, both wrapped.
std::string help_entry(std::string line, const std::string& text) {
  constexpr std::size_t kIndent = 34, kWidth = 100;
  std::string out;
  if (line.size() + 2 > kIndent) {
    out += line + "\n";
    line.clear();
  }
  line.resize(kIndent, ' ');
  bool first_word = true;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find(' ', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    if (!first_word && line.size() + 1 + word.size() > kWidth) {
      out += line + "\n";
      line.assign(kIndent, ' ');
      first_word = true;
    }
    line += (first_word ? "" : " ") + word;
    first_word = false;
    begin = end + 1;
  }
  return out + line + "\n";
}

// Numbers, and options whose value happens to be a lone "-" (standard input), look like options but are
// values.
bool looks_like_option(const std::string& arg) {
  return arg.size() > 1 && arg[0] == '-';
}

}  // namespace

std::int64_t parse_int(const std::string& text, std::int64_t min, std::int64_t max) {
  const std::string_view digits = without_plus(text);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  const bool too_large = error == std::errc::result_out_of_range;
  const bool whole = error == std::errc() && end == digits.data() + digits.size();
  if (!whole || value < min || value > max)
    throw UsageError(
        concat("expected a whole number", range_text(min, max, too_large), ", not '", text, "'"));
  return value;
}

double parse_number(const std::string& text, double min, double max) {
  const std::string_view digits = without_plus(text);
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  const bool whole = error == std::errc() && end == digits.data() + digits.size() && std::isfinite(value);
  if (!whole || value < min || value > max)
    throw UsageError(concat("expected a number", range_text(min, max, false), ", not '", text, "'"));
  return value;
}

std::function<void(const std::string&)> set_text(std::string& target) {
  return [&target](const std::string& text) { target = text; };
}

std::function<void(const std::string&)> set_path(std::string& target) {
  return [&target](const std::string& path) {
    if (path.empty()) throw UsageError("the path is empty");
    target = path;
  };
}

std::function<void(const std::string&)> set_int(std::int64_t& target, std::int64_t min, std::int64_t max) {
  return [&target, min, max](const std::string& text) { target = parse_int(text, min, max); };
}

std::function<void(const std::string&)> set_int(int& target, int min, int max) {
  return
      [&target, min, max](const std::string& text) { target = static_cast<int>(parse_int(text, min, max)); };
}

std::function<void(const std::string&)> set_number(double& target, double min, double max) {
  return [&target, min, max](const std::string& text) { target = parse_number(text, min, max); };
}

std::function<void(const std::string&)> set_flag(bool& target, bool value) {
  return [&target, value](const std::string&) { target = value; };
}

void fail_choice(const std::vector<std::string>& names, const std::string& text) {
  std::string list;
  for (std::size_t i = 0; i < names.size(); ++i)
    list += (i == 0 ? "" : i + 1 < names.size() ? ", " : " or ") + names[i];
  throw UsageError(concat("expected ", list, ", not '", text, "'"));
}

std::function<void(const std::string&)> append_text(std::vector<std::string>& target) {
  return [&target](const std::string& text) { target.push_back(text); };
}

std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= text.size(); at += parts.back().size() + 1)
    parts.push_back(text.substr(at, text.find(',', at) - at));
  return parts;
}

std::vector<std::string> parse_args(const std::vector<Option>& options, const std::vector<std::string>& args,
                                    std::size_t max_positional) {
  std::vector<std::string> positional;
  bool options_ended = false;
  for (std::size_t i = 0; i < args.size(); ++i) {
    const std::string& arg = args[i];
    if (options_ended || !looks_like_option(arg)) {
      if (positional.size() == max_positional) throw UsageError(concat("unexpected argument '", arg, "'"));
      positional.push_back(arg);
      continue;
    }
    if (arg == "--") {
      options_ended = true;
      continue;
    }
    const std::size_t equals = arg.find('=');
    const std::string name = arg.substr(0, equals);
    const Option* option = find_option(options, name);
    if (option == nullptr) fail_unknown(options, name);
    if (option->peer == Peer::refused)
      throw UsageError(concat("option '", name, "' is not supported: ", option->note));
    const bool optional = option->value.starts_with('[');
    std::string value;
    if (equals != std::string::npos) {
      if (option->value.empty()) throw UsageError(concat("option '", name, "' takes no value"));
      value = arg.substr(equals + 1);
    } else if (optional) {
      if (i + 1 < args.size() && is_word_of(option->value, args[i + 1])) value = args[++i];
    } else if (!option->value.empty()) {
      const bool missing = i + 1 == args.size() || find_option(options, args[i + 1]) != nullptr;
      if (missing)
        throw UsageError(concat("option '", name, "' needs a value: ", name, " ", option->value,
                                i + 1 < args.size() ? concat(" (or ", name, "=", args[i + 1], ")") : ""));
      value = args[++i];
    }
    try {
      option->set(value);
    } catch (const UsageError& e) {
      throw UsageError(concat("option '", name, "': ", e.what()));
    }
  }
  return positional;
}

bool asks_for_help(const std::vector<Option>& options, const std::vector<std::string>& args) {
  for (std::size_t i = 0; i < args.size(); ++i) {
    if (args[i] == "--") return false;
    if (args[i] == "-h" || args[i] == "--help" || args[i] == "--usage") return true;
    const Option* option = find_option(options, args[i]);
    if (option != nullptr && !option->value.empty() && !option->value.starts_with('[')) ++i;
  }
  return false;
}

std::string options_help(const std::vector<Option>& options) {
  std::string out, idle;
  for (const auto& option : options) {
    std::string names;
    for (const std::string& name : option.names) names += concat(names.empty() ? "" : ", ", name);
    if (option.peer == Peer::no_effect) idle += concat(idle.empty() ? "" : ", ", names);
    if (option.peer == Peer::no_effect || option.peer == Peer::refused) continue;
    if (!option.value.empty()) names += " " + option.value;
    out += help_entry("  " + names, option.help);
  }
  if (!idle.empty()) out += "\ntaken as llama.cpp's, without effect:\n" + help_entry("", idle);
  return out;
}

std::string nearest_word(const std::string& word, const std::vector<std::string>& known) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
  if (word.size() <= 3) best_distance = 2;
  if (word.size() <= 2) return "";  // one letter is near to any other
  for (const auto& candidate : known) {
    const std::size_t distance = edits(word, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace spectralkv
