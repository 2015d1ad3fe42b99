// Files of token ids, which are untrusted, and texts.
#include "cli/text_input.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string_view>

#include "base/error.h"
#include "cli/streams.h"
#include "gguf/cursor.h"

namespace spectralkv {
namespace {

// Little-endian number at a place of the text; the file is refused when it ends before.
template <class T>
T number_at(std::string_view data, std::size_t at, const std::string& path) {
  check(at <= data.size() && sizeof(T) <= data.size() - at, "cli", "'", path, "' is cut off or damaged");
  T value;
  std::memcpy(&value, data.data() + at, sizeof value);
  return value;
}

Token to_token(std::int64_t value, const std::string& path) {
  check(value >= 0 && value <= std::numeric_limits<Token>::max(), "cli", "'", path, "': ", value,
        " is no token id");
  return static_cast<Token>(value);
}

template <class T>
std::vector<Token> widen(std::string_view data, const std::string& path) {
  std::vector<Token> tokens;
  for (std::size_t at = 0; at < data.size(); at += sizeof(T))
    tokens.push_back(to_token(static_cast<std::int64_t>(number_at<T>(data, at, path)), path));
  return tokens;
}

// NumPy's format: "\x93NUMPY", version, length of the header (u16, from version 2 on u32), the header as a
// Python dict, the values.
std::vector<Token> parse_npy(std::string_view data, const std::string& path) {
  check(data.substr(0, 6) == "\x93NUMPY", "cli", "'", path, "' is no .npy file");
  const bool wide = number_at<std::uint8_t>(data, 6, path) >= 2;
  const std::size_t length =
      wide ? number_at<std::uint32_t>(data, 8, path) : number_at<std::uint16_t>(data, 8, path);
  const std::size_t start = wide ? 12 : 10;
  check(length <= data.size() - start, "cli", "'", path, "' is cut off or damaged");
  const std::string_view header = data.substr(start, length), values = data.substr(start + length);

  // The text behind "'key': ", up to a comma or bracket that ends it.
  const auto field = [&](std::string_view key, std::string_view ends) {
    const std::size_t at = header.find(key);
    check(at != std::string_view::npos, "cli", "'", path, "': the array's header names no ", key);
    const std::string_view rest = header.substr(at + key.size());
    return rest.substr(0, rest.find_first_of(ends));
  };
  const std::string_view type = field("'descr': '", "'"), shape = field("'shape': (", ")");
  const std::size_t comma = shape.find(',');
  check(comma != std::string_view::npos && shape.find_first_of("0123456789", comma) == std::string_view::npos,
        "cli", "'", path, "': token ids are an array of one dimension, this one has shape (", shape, ")");
  const std::size_t width = type == "<i4" || type == "<u4" ? 4 : 8;
  check(values.size() % width == 0 && std::to_string(values.size() / width) == shape.substr(0, comma), "cli",
        "'", path, "': the array's length is wrong");
  if (type == "<i4") return widen<std::int32_t>(values, path);
  if (type == "<u4") return widen<std::uint32_t>(values, path);
  if (type == "<i8" || type == "<u8") return widen<std::int64_t>(values, path);
  fail(ErrorKind::value, "cli", "'", path, "': token ids are 32- or 64-bit integers, this array holds '",
       type, "'");
}

std::vector<Token> parse_text(std::string_view data, const std::string& path) {
  constexpr std::string_view kBetween = " \t\r\n,;[]";
  std::vector<Token> tokens;
  for (std::size_t at = 0; (at = data.find_first_not_of(kBetween, at)) != std::string_view::npos;) {
    const std::size_t end = std::min(data.find_first_of(kBetween, at), data.size());
    std::int64_t value = 0;
    const auto [stop, error] = std::from_chars(data.data() + at, data.data() + end, value);
    check(error == std::errc() && stop == data.data() + end, "cli", "'", path,
          "': expected token ids, found '", printable(data.substr(at, std::min<std::size_t>(end - at, 40))),
          "'");
    tokens.push_back(to_token(value, path));
    at = end;
  }
  return tokens;
}

}  // namespace

std::vector<Option> input_rows(TextInput& input) {
  return {
      {{"-f", "--file"}, "PATH", "the text; \"-\" for standard input", set_text(input.file)},
      {{"--tokens"},
       "PATH",
       "token ids in place of a text: .npy, .txt, or, with the Python package, .npz (array ids)",
       set_text(input.tokens),
       Peer::ours},
  };
}

void check_input(const TextInput& input) {
  if (input.file.empty() == input.tokens.empty()) throw UsageError("give one of -f and --tokens");
}

std::vector<Token> read_input(const TextInput& input, const Tokenizer& tokenizer, const CliHooks& hooks) {
  return input.tokens.empty() ? tokenizer.encode_prompt(read_text_file(input.file), false)
                              : read_token_file(input.tokens, hooks);
}

std::vector<Token> read_token_file(const std::string& path, const CliHooks& hooks) {
  if (!path.ends_with(".npy") && !path.ends_with(".npz")) return parse_text(read_text_file(path), path);
  const std::string data = read_whole_file(path);
  if (path.ends_with(".npy")) return parse_npy(data, path);
  check(static_cast<bool>(hooks.unpack_npz), "cli", "'", path,
        "' is an archive, which the standalone binary does not read: save its array as .npy (numpy.save), or "
        "use the Python package (`python3 -m pip install .` in spectralkv's folder, and then `python3 -m "
        "spectralkv` for `spectralkv`)");
  return parse_npy(hooks.unpack_npz(path, data), path);
}

}  // namespace spectralkv
