// JSON text.
#include "cli/json.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "base/shown.h"
#include "tokenizer/tokenizer.h"

namespace spectralkv {

std::string json_string(std::string_view text) {
  Utf8Stream utf8;
  std::string clean = utf8.put(text);
  clean += utf8.finish();
  std::string out = "\"";
  for (std::size_t at = 0; at < clean.size(); ++at) {
    const char c = clean[at];
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (const Obeyed obeyed = obeyed_at_start(std::string_view(clean).substr(at)); obeyed.length > 0) {
          char escape[8];
          std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(obeyed.code & 0xffffu));
          out += escape;
          at += obeyed.length - 1;
        } else {
          out += c;
        }
    }
  }
  return out + "\"";
}

std::string json_number(double value) {
  if (!std::isfinite(value)) return "null";
  char text[40];
  for (int digits = 6; digits <= 17; ++digits) {  // the shortest that reads back as the same number
    std::snprintf(text, sizeof text, "%.*g", digits, value);
    if (std::strtod(text, nullptr) == value) break;
  }
  return text;
}

void JsonWriter::add_raw(std::string_view key, const std::string& json) {
  push_raw(json_string(key) + ": " + json);
}

void JsonWriter::push_raw(const std::string& json) {
  compact_ += (compact_.empty() ? "" : ", ") + json;
  if (!lines_.empty()) lines_ += ",\n";
  lines_ += "  ";
  for (const char c : json) {
    lines_ += c;
    if (c == '\n') lines_ += "  ";  // a line break outside of strings: those are escaped
  }
}

std::string JsonWriter::compact() const {
  return brackets_[0] + compact_ + brackets_[1];
}

std::string JsonWriter::lines() const {
  if (lines_.empty()) return brackets_;
  return std::string(1, brackets_[0]) + "\n" + lines_ + "\n" + brackets_[1];
}

}  // namespace spectralkv
