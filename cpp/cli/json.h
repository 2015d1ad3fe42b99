// Writes JSON, two spaces a level. Strings that are no UTF-8 are written with U+FFFD.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace spectralkv {

// A string with its quotes.
std::string json_string(std::string_view text);
// A number; JSON has no infinities and no NaN: null.
std::string json_number(double value);

// An object or array, written member by member; nested ones are given as text.
class JsonWriter {
 public:
  // One of "{}" and "[]".
  explicit JsonWriter(const char* brackets) : brackets_(brackets) {}

  // Members of an object.
  void add(std::string_view key, std::string_view text) { add_raw(key, json_string(text)); }
  void add(std::string_view key, const char* text) { add_raw(key, json_string(text)); }
  void add(std::string_view key, std::int64_t value) { add_raw(key, std::to_string(value)); }
  void add(std::string_view key, double value) { add_raw(key, json_number(value)); }
  void add_raw(std::string_view key, const std::string& json);
  // An element of an array.
  void push_raw(const std::string& json);

  // On one line, or with a line for each member.
  std::string compact() const;
  std::string lines() const;

 private:
  const char* brackets_;
  std::string compact_, lines_;
};

}  // namespace spectralkv
