// "KEY=TYPE:VALUE" and numbers become entries of metadata.
#include "cli/override_rows.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace spectralkv {
namespace {

void put(std::vector<GgufEntry>& entries, std::string key, const char* type, GgufValue value) {
  std::erase_if(entries, [&](const GgufEntry& entry) { return entry.key == key; });
  entries.push_back({std::move(key), type, std::move(value)});
}

void add_entry(std::vector<GgufEntry>& entries, const std::string& text) {
  const std::size_t equals = text.find('='), colon = text.find(':', std::min(equals, text.size()));
  if (equals == std::string::npos || equals == 0 || colon == std::string::npos)
    throw UsageError(concat("expected KEY=TYPE:VALUE, not '", text, "'"));
  const std::string key = text.substr(0, equals), type = text.substr(equals + 1, colon - equals - 1);
  const std::string value = text.substr(colon + 1);
  if (type == "int")
    put(entries, key, "i64",
        parse_int(value, std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()));
  else if (type == "float")
    put(entries, key, "f64", parse_number(value, -kAnyNumber, kAnyNumber));
  else if (type == "bool" && (value == "true" || value == "false"))
    put(entries, key, "bool", value == "true");
  else if (type == "str")
    put(entries, key, "str", value);
  else
    throw UsageError(concat("expected int:N, float:X, bool:true, bool:false or str:TEXT behind '", key,
                            "=', not '", text.substr(equals + 1), "'"));
}

// Behind a comma another entry begins, unless what follows is no KEY=TYPE:.
void add_entries(std::vector<GgufEntry>& entries, const std::string& text) {
  std::string entry;
  for (const std::string& part : split_list(text)) {
    const std::size_t equals = part.find('=');
    const bool begins = equals != std::string::npos && part.find(':', equals) != std::string::npos;
    if (!begins && !entry.empty()) {
      entry += "," + part;
      continue;
    }
    if (!entry.empty()) add_entry(entries, entry);
    entry = part;
  }
  add_entry(entries, entry);
}

}  // namespace

std::vector<Option> override_rows(Overrides& o) {
  // One number, for the key's end.
  const auto number = [&o](const char* name, const char* key, double least, const char* help) {
    return Option{{name}, "X", help, [&o, key, least](const std::string& text) {
                    put(o.rope, key, "f64", parse_number(text, least, kAnyNumber));
                  }};
  };
  constexpr double kLeast = std::numeric_limits<double>::min();
  return {
      {{"--override-kv"},
       "KEY=TYPE:VALUE,...",
       "metadata in the place of the file's; types: int, float, bool, str; may be given several times",
       [&o](const std::string& text) { add_entries(o.entries, text); }},
      {{"--rope-scaling"},
       "TYPE",
       "none, linear or yarn, in place of what the file says",
       [&o](const std::string& text) {
         if (text != "none" && text != "linear" && text != "yarn")
           fail_choice({"none", "linear", "yarn"}, text);
         put(o.rope, "scaling.type", "str", text);
       }},
      number("--rope-scale", "scaling.factor", kLeast,
             "the context is X times as long as the model was trained for"),
      {{"--rope-freq-scale"},
       "X",
       "the same by its inverse",
       [&o](const std::string& text) {
         put(o.rope, "scaling.factor", "f64", 1 / parse_number(text, 1e-9, kAnyNumber));
       }},
      number("--rope-freq-base", "freq_base", kLeast, "RoPE's base"),
      {{"--yarn-orig-ctx"},
       "N",
       "the context that the model was trained for, for YaRN",
       [&o](const std::string& text) {
         put(o.rope, "scaling.original_context_length", "i64", parse_int(text, 1, std::int64_t{1} << 31));
       }},
      number("--yarn-ext-factor", "scaling.yarn_ext_factor", 0, "YaRN's share of extrapolation"),
      number("--yarn-attn-factor", "scaling.yarn_attn_factor", 0, "YaRN's factor of attention"),
      number("--yarn-beta-slow", "scaling.yarn_beta_slow", 0, "YaRN's slow end"),
      number("--yarn-beta-fast", "scaling.yarn_beta_fast", 0, "YaRN's fast end"),
  };
}

std::vector<GgufEntry> settled_overrides(const Overrides& overrides, const std::string& path) {
  std::vector<GgufEntry> entries = overrides.entries;
  if (overrides.rope.empty()) return entries;
  const Gguf file(path);
  const std::string prefix = file.get_string("general.architecture") + ".rope.";
  const auto given = [&](const char* key) {
    return std::any_of(overrides.rope.begin(), overrides.rope.end(),
                       [&](const auto& e) { return e.key == key; });
  };
  // As llama.cpp takes a file that names no kind of scaling.
  if (given("scaling.factor") && !given("scaling.type") && !file.has(prefix + "scaling.type"))
    put(entries, prefix + "scaling.type", "str", std::string("linear"));
  for (const GgufEntry& entry : overrides.rope)
    put(entries, prefix + entry.key, entry.type_name.c_str(), entry.value);
  return entries;
}

}  // namespace spectralkv
