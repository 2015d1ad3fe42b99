// The error paths of the cursor.
#include "gguf/cursor.h"

namespace spectralkv {

std::string printable(std::string_view text) {
  constexpr std::size_t kLongest = 80;
  constexpr char kHex[] = "0123456789abcdef";
  std::string result;
  for (const char c : text.substr(0, kLongest)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      result += c;
    } else {
      result += "\\x";
      result += kHex[byte >> 4];
      result += kHex[byte & 15];
    }
  }
  if (text.size() > kLongest) result += "...";
  return result;
}

std::string Cursor::subject() const {
  return kind_ == nullptr ? std::string() : concat(kind_, " '", printable(name_), "': ");
}

std::string_view Cursor::name(const char* what) {
  constexpr std::uint64_t kLongest = 65535;
  const std::uint64_t start = position_;
  const auto length = number<std::uint64_t>(what);
  if (length == 0 || length > kLongest)
    fault("gguf", "a ", what, " of ", length, " bytes at byte ", start, ", expected 1 to ", kLongest);
  return {reinterpret_cast<const char*>(take(length, what)), static_cast<std::size_t>(length)};
}

void Cursor::need_items(std::uint64_t count, std::uint64_t min_bytes, const char* what) const {
  if (count <= left() / min_bytes) return;
  fault("gguf", "declares ", count, " ", what, ", at least ", min_bytes, " bytes each, but only ", left(),
        " bytes are left after byte ", position_);
}

void Cursor::end_of_file(std::uint64_t bytes, const char* what) const {
  fault("gguf", "the file ends too early: ", what, " at byte ", position_, " needs ", bytes,
        " bytes, but the file has ", bytes_.size());
}

void Cursor::over_budget() const {
  fault("gguf", "names and metadata take more than ", kMemoryLimit >> 20, " MiB of memory at byte ",
        position_);
}

}  // namespace spectralkv
