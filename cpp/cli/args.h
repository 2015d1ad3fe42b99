// Command line options as a table: each row has its names, what it takes, its help and what it sets.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace spectralkv {

// Wrong usage: exit status 2.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// What llama.cpp's option of the same name is here.
enum class Peer {
  same,
  differs,    // note: how
  no_effect,  // taken, and changes nothing; note: why
  refused,    // note: why
  ours,       // llama.cpp has none of these names
};

struct Option {
  std::vector<std::string> names;  // "-m", "--model"
  // What stands for the value in the help, "PATH"; empty: a flag; "[on|off]": one of these may follow.
  std::string value;
  std::string help;  // one sentence; long ones are wrapped
  std::function<void(const std::string&)>
      set;  // flags get ""; throws UsageError with what is wrong, without the name
  Peer peer = Peer::same;
  std::string note = {};
};

// Setters for the rows. Numbers must be written in full, be finite and lie in [min, max].
std::function<void(const std::string&)> set_text(std::string& target);
std::function<void(const std::string&)> set_path(std::string& target);  // not empty
std::function<void(const std::string&)> set_int(std::int64_t& target, std::int64_t min, std::int64_t max);
std::function<void(const std::string&)> set_int(int& target, int min, int max);
std::function<void(const std::string&)> set_number(double& target, double min, double max);
std::function<void(const std::string&)> set_flag(bool& target, bool value = true);
// What a name stands for; fail_choice is for a text that is none of the names.
[[noreturn]] void fail_choice(const std::vector<std::string>& names, const std::string& text);
template <class T>
std::function<void(const std::string&)> set_choice(T& target,
                                                   std::vector<std::pair<std::string, T>> choices) {
  return [&target, choices = std::move(choices)](const std::string& text) {
    std::vector<std::string> names;
    for (const auto& [name, value] : choices) {
      if (name == text) {
        target = value;
        return;
      }
      names.push_back(name);
    }
    fail_choice(names, text);
  };
}
std::function<void(const std::string&)> append_text(std::vector<std::string>& target);

// The parts of "512,1024".
std::vector<std::string> split_list(const std::string& text);

// The value as a number; UsageError says what was expected.
std::int64_t parse_int(const std::string& text, std::int64_t min, std::int64_t max);
double parse_number(const std::string& text, double min, double max);
constexpr double kAnyNumber = std::numeric_limits<double>::max();  // and its negative: bounds of parse_number

// Applies `--name value` and `--name=value` (long or short name), in order; "--" ends the options. Gives the
// arguments that belong to no option, at most max_positional of them. UsageError names the option, for an
// unknown one the nearest.
std::vector<std::string> parse_args(const std::vector<Option>& options, const std::vector<std::string>& args,
                                    std::size_t max_positional = 0);

// True when the arguments ask for help (-h, --help) before any "--", and not as the value of an option.
bool asks_for_help(const std::vector<Option>& options, const std::vector<std::string>& args);

// One entry for each option, wrapped at 100 columns; those without effect by their names alone, and those
// that are refused not at all.
std::string options_help(const std::vector<Option>& options);

// The entry of `known` nearest to `word` in edits, or "" when none is near.
std::string nearest_word(const std::string& word, const std::vector<std::string>& known);

}  // namespace spectralkv
