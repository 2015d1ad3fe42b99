// One exception type for every fault that a user, a file or a caller's argument can cause.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace spectralkv {

// What Python (and an exit message) should make of an error.
enum class ErrorKind { value, file_not_found, memory, os, interrupted };

// The arguments printed one after the other.
template <class... Args>
std::string concat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return out.str();
}

// Where a check was written.
struct SourceLine {
  const char* file;
  int line;
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, std::string_view room, const std::string& message, SourceLine where)
      : std::runtime_error(concat("[", room, "] ", message)), kind_(kind), where_(where) {}
  // An error that already names its room, from the other side of a library's border.
  Error(ErrorKind kind, const std::string& what, SourceLine where)
      : std::runtime_error(what), kind_(kind), where_(where) {}
  ErrorKind kind() const { return kind_; }
  const SourceLine& where() const { return where_; }

 private:
  ErrorKind kind_;
  SourceLine where_;
};

// Names the room that complains; a string literal converts, and keeps the line that wrote it.
struct Room {
  const char* name;
  SourceLine where;
  // NOLINTNEXTLINE(google-explicit-constructor): check(ok, "gguf", ...) is the point of this type.
  // (Builtins, because clang before 16 does not compile libstdc++'s source_location.)
  Room(const char* n, const char* file = __builtin_FILE(), int line = __builtin_LINE())
      : name(n), where{file, line} {}
};

template <class... Args>
[[noreturn]] void fail(ErrorKind kind, Room room, const Args&... args) {
  throw Error(kind, room.name, concat(args...), room.where);
}

// check(n > 0, "gguf", "tensor '", name, "': expected ...") throws a value error when the condition is false.
template <class... Args>
inline void check(bool ok, Room room, const Args&... args) {
  if (!ok) [[unlikely]]
    fail(ErrorKind::value, room, args...);
}

}  // namespace spectralkv
