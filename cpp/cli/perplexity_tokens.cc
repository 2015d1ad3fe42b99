// .npy, .npz and text files of token ids. Files are untrusted.
#include "cli/perplexity_tokens.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string_view>

#include "base/error.h"
#include "cli/perplexity_inflate.h"
#include "cli/streams.h"

namespace spectralkv {
namespace {

constexpr std::size_t kMostBytes = std::size_t{1} << 30;  // of an unpacked array

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

struct Member {
  std::string name;
  std::uint16_t method = 0;
  std::size_t packed = 0, size = 0, head = 0;  // head: where its local header stands
};

// The central directory of a zip archive, found from its end record.
std::vector<Member> list_members(std::string_view data, const std::string& path) {
  const std::size_t end = data.rfind(std::string_view("PK\5\6", 4));
  check(end != std::string_view::npos, "cli", "'", path, "' is no .npz file");
  const auto count = number_at<std::uint16_t>(data, end + 10, path);
  std::size_t at = number_at<std::uint32_t>(data, end + 16, path);
  std::vector<Member> members;
  for (int i = 0; i < count; ++i) {
    check(number_at<std::uint32_t>(data, at, path) == 0x02014b50, "cli", "'", path, "' is damaged");
    Member m;
    m.method = number_at<std::uint16_t>(data, at + 10, path);
    m.packed = number_at<std::uint32_t>(data, at + 20, path);
    m.size = number_at<std::uint32_t>(data, at + 24, path);
    m.head = number_at<std::uint32_t>(data, at + 42, path);
    const std::size_t name = number_at<std::uint16_t>(data, at + 28, path);
    m.name = data.substr(std::min(at + 46, data.size()), name);
    at += 46 + name + number_at<std::uint16_t>(data, at + 30, path) +
          number_at<std::uint16_t>(data, at + 32, path);
    members.push_back(std::move(m));
  }
  return members;
}

std::vector<Token> parse_npz(std::string_view data, const std::string& path) {
  const std::vector<Member> members = list_members(data, path);
  const Member* chosen = members.size() == 1 ? members.data() : nullptr;
  std::string names;
  for (const Member& m : members) {
    if (m.name == "ids.npy" || (m.name == "tokens.npy" && chosen == nullptr)) chosen = &m;
    names += (names.empty() ? "" : ", ") + m.name;
  }
  check(chosen != nullptr, "cli", "'", path, "' has no array 'ids' or 'tokens'; it has ", names);
  const std::size_t start = chosen->head + 30 + number_at<std::uint16_t>(data, chosen->head + 26, path) +
                            number_at<std::uint16_t>(data, chosen->head + 28, path);
  check(start <= data.size() && chosen->packed <= data.size() - start && chosen->size <= kMostBytes, "cli",
        "'", path, "' is cut off or damaged");
  const std::string_view packed = data.substr(start, chosen->packed);
  const std::string inner = path + "[" + chosen->name + "]";
  if (chosen->method == 0) return parse_npy(packed, inner);
  check(chosen->method == 8, "cli", "'", path, "': '", chosen->name,
        "' is packed in a way that is not known (", chosen->method,
        "); np.savez or np.save write what can be read");
  const auto text = inflate(packed, chosen->size);
  check(text.has_value(), "cli", "'", path, "': '", chosen->name, "' is damaged");
  return parse_npy(*text, inner);
}

std::vector<Token> parse_text(std::string_view data, const std::string& path) {
  constexpr std::string_view kBetween = " \t\r\n,;[]";
  std::vector<Token> tokens;
  for (std::size_t at = 0; (at = data.find_first_not_of(kBetween, at)) != std::string_view::npos;) {
    const std::size_t end = std::min(data.find_first_of(kBetween, at), data.size());
    std::int64_t value = 0;
    const auto [stop, error] = std::from_chars(data.data() + at, data.data() + end, value);
    check(error == std::errc() && stop == data.data() + end, "cli", "'", path,
          "': expected token ids, found '", data.substr(at, std::min<std::size_t>(end - at, 40)), "'");
    tokens.push_back(to_token(value, path));
    at = end;
  }
  return tokens;
}

}  // namespace

std::vector<Token> read_token_file(const std::string& path) {
  const std::string data = read_text_file(path);
  if (path.ends_with(".npy")) return parse_npy(data, path);
  if (path.ends_with(".npz")) return parse_npz(data, path);
  return parse_text(data, path);
}

}  // namespace spectralkv
