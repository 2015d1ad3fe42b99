// Changes GGUF files as their format has it: keys, types, values, counts, shapes and offsets, with all that
// stands around them right again, so that what is behind the container's own checks is reached.
#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <limits>
#include <optional>
#include <random>

#include "fuzz/fuzz.h"
#include "support/gguf_builder.h"

namespace {

using spectralkv::test::Kind;
using spectralkv::test::raw;
using spectralkv::test::raw_text;

constexpr std::size_t kLongest = 1 << 20;  // bytes of data that a shape may ask for

struct Entry {
  std::string key;
  std::uint32_t type;
  std::string payload;
};

struct File {
  std::uint32_t version = 3;
  std::vector<Entry> entries;
  std::vector<spectralkv::test::GgufBuilder::Tensor> tensors;
};

// Bytes that a number of a type takes; 0 for texts and arrays.
std::size_t width(std::uint32_t type) {
  constexpr std::array<std::size_t, 13> kWidths{1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return type < kWidths.size() ? kWidths[type] : 0;
}

// Reads as far as the bytes go; a file that says otherwise is no file.
class Reader {
 public:
  explicit Reader(const std::string& bytes) : rest_(bytes), size_(bytes.size()) {}

  std::string_view take(std::uint64_t n) {
    if (n > rest_.size()) {
      failed_ = true;
      n = rest_.size();
    }
    const std::string_view taken = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return taken;
  }
  template <class T>
  T number() {
    T value{};
    const std::string_view bytes = take(sizeof value);
    if (bytes.size() == sizeof value) std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
  std::string text() { return std::string(take(number<std::uint64_t>())); }
  std::size_t position() const { return size_ - rest_.size(); }
  std::size_t left() const { return rest_.size(); }
  bool failed() const { return failed_; }

 private:
  std::string_view rest_;
  std::size_t size_;
  bool failed_ = false;
};

std::string read_payload(Reader& in, std::uint32_t type) {
  if (type == static_cast<std::uint32_t>(Kind::str)) return raw_text(in.text());
  if (type != static_cast<std::uint32_t>(Kind::arr)) return std::string(in.take(width(type)));
  const auto element = in.number<std::uint32_t>();
  const auto n = in.number<std::uint64_t>();
  std::string payload = raw(element) + raw(n);
  if (element != static_cast<std::uint32_t>(Kind::str))
    return payload + std::string(in.take(std::min<std::uint64_t>(n, in.left() + 1) * width(element)));
  for (std::uint64_t i = 0; i < n && !in.failed(); ++i) payload += raw_text(in.text());
  return payload;
}

std::optional<File> parsed(const std::string& bytes) {
  Reader in(bytes);
  File file;
  if (in.take(4) != "GGUF") return std::nullopt;
  file.version = in.number<std::uint32_t>();
  const auto n_tensors = in.number<std::uint64_t>(), n_entries = in.number<std::uint64_t>();
  for (std::uint64_t i = 0; i < n_entries && !in.failed(); ++i) {
    Entry entry{in.text(), in.number<std::uint32_t>(), {}};
    entry.payload = read_payload(in, entry.type);
    file.entries.push_back(std::move(entry));
  }
  for (std::uint64_t i = 0; i < n_tensors && !in.failed(); ++i) {
    auto& tensor = file.tensors.emplace_back();
    tensor.name = in.text();
    const auto n_dims = in.number<std::uint32_t>();
    for (std::uint32_t d = 0; d < n_dims && !in.failed(); ++d)
      tensor.dims.push_back(in.number<std::uint64_t>());
    tensor.type = in.number<std::uint32_t>();
    tensor.offset = in.number<std::uint64_t>();
  }
  if (in.failed()) return std::nullopt;
  const std::size_t begin = (in.position() + 31) / 32 * 32;
  for (auto& tensor : file.tensors) {  // up to the next one's
    std::uint64_t end = bytes.size() - std::min(begin, bytes.size());
    for (const auto& other : file.tensors)
      if (*other.offset > *tensor.offset) end = std::min(end, *other.offset);
    if (*tensor.offset < end) tensor.data = bytes.substr(begin + *tensor.offset, end - *tensor.offset);
  }
  for (auto& tensor : file.tensors) tensor.offset.reset();
  return file;
}

class Changer {
 public:
  Changer(File& file, std::uint64_t seed) : file_(file), random_(seed) {}

  void change() {
    const bool entries = !file_.entries.empty(), tensors = !file_.tensors.empty();
    if (entries && (!tensors || below(3) != 0))
      change_entry();
    else if (tensors)
      change_tensor();
  }

  std::string built() {
    spectralkv::test::GgufBuilder out;
    out.version = file_.version;
    for (const Entry& entry : file_.entries) out.entry(entry.key, entry.type, entry.payload);
    for (const auto& tensor : file_.tensors) out.tensor(tensor);
    switch (below(24)) {  // seldom: what the container says of itself
      case 0:
        out.version = static_cast<std::uint32_t>(number());
        break;
      case 1:
        out.n_entries = number();
        break;
      case 2:
        out.n_tensors = number();
        break;
      case 3:
        out.alignment = std::uint64_t{1} << below(8);
        out.u32("general.alignment", static_cast<std::uint32_t>(out.alignment));
        break;
      default:
        break;
    }
    return out.build();
  }

 private:
  std::size_t below(std::size_t n) {
    return static_cast<std::size_t>(random_() % std::max<std::size_t>(n, 1));
  }

  std::uint64_t number() {
    constexpr std::uint64_t kNumbers[] = {
        0,       1,         2,          3,          7,          8,         31,         32,
        33,      64,        127,        128,        255,        256,       1000,       65535,
        1 << 20, INT32_MAX, UINT32_MAX, 1ull << 32, 1ull << 40, INT64_MAX, 1ull << 63, UINT64_MAX};
    return kNumbers[below(std::size(kNumbers))];
  }

  std::string text() {
    const auto words = fuzz_words();
    switch (below(4)) {
      case 0:
        return {};
      case 1:
        return words[below(words.size())];
      case 2:
        return std::string(1 + below(300), static_cast<char>(random_()));
      default:
        return file_.entries.empty() ? "a" : file_.entries[below(file_.entries.size())].key;
    }
  }

  // A value of a type: whole numbers and floating-point ones that others stumble over.
  std::string value(std::uint32_t type) {
    constexpr double kFloats[] = {0.0,
                                  -0.0,
                                  1.0,
                                  -1.0,
                                  0.5,
                                  1e-45,
                                  1e38,
                                  1e308,
                                  10000.0,
                                  -1e9,
                                  1e9,
                                  1e-30,
                                  std::numeric_limits<double>::infinity(),
                                  std::numeric_limits<double>::quiet_NaN()};
    const double real = kFloats[below(std::size(kFloats))];
    switch (static_cast<Kind>(type)) {
      case Kind::str:
        return raw_text(text());
      case Kind::f32:
        return raw(static_cast<float>(real));
      case Kind::f64:
        return raw(real);
      case Kind::boolean:
        return raw(static_cast<std::uint8_t>(below(8) == 0 ? 2 : below(2)));
      case Kind::arr:
        return array(static_cast<std::uint32_t>(below(13)), below(40));
      default:
        return raw(number()).substr(0, std::max<std::size_t>(width(type), 1));
    }
  }

  std::string array(std::uint32_t element, std::size_t n) {
    std::string payload = raw(element) + raw(static_cast<std::uint64_t>(n));
    const bool nested = element == static_cast<std::uint32_t>(Kind::arr);  // refused at once: no need of more
    for (std::size_t i = 0; i < n; ++i) payload += value(nested ? 0 : element);
    return payload;
  }

  void change_entry() {
    auto& entries = file_.entries;
    Entry& entry = entries[below(entries.size())];
    switch (below(8)) {
      case 0:
        entries.erase(entries.begin() + static_cast<std::ptrdiff_t>(below(entries.size())));
        break;
      case 1:
        entries.push_back(entry);
        break;
      case 2:
        entry.key = text();
        break;
      case 3:
        std::swap(entry.payload, entries[below(entries.size())].payload);
        break;
      case 4:
        entry.type = static_cast<std::uint32_t>(below(14));
        entry.payload = value(entry.type);
        break;
      default:
        if (entry.type == static_cast<std::uint32_t>(Kind::arr))
          change_array(entry);
        else
          entry.payload = value(entry.type);
    }
  }

  // Elements go, come, or have other values; seldom the number of them is another than that.
  void change_array(Entry& entry) {
    Reader in(entry.payload);
    const auto element = in.number<std::uint32_t>();
    const auto n = in.number<std::uint64_t>();
    std::vector<std::string> items;
    for (std::uint64_t i = 0; i < std::min(n, std::uint64_t{65536}) && in.left() > 0; ++i)
      items.push_back(read_payload(in, element));
    const std::size_t at = below(items.size() + 1), many = 1 + below(4);
    for (std::size_t i = 0; i < many; ++i) {
      const std::size_t kind = items.empty() ? 0 : below(3);
      const auto place = items.begin() + static_cast<std::ptrdiff_t>(std::min(at, items.size()));
      if (kind == 0)
        items.insert(place, value(element));
      else if (kind == 1)
        items.erase(items.begin() + static_cast<std::ptrdiff_t>(below(items.size())));
      else
        items[below(items.size())] = value(element);
    }
    entry.payload = raw(element) + raw(below(16) == 0 ? number() : static_cast<std::uint64_t>(items.size()));
    for (const std::string& item : items) entry.payload += item;
  }

  void change_tensor() {
    auto& tensors = file_.tensors;
    auto& tensor = tensors[below(tensors.size())];
    switch (below(8)) {
      case 0:
        tensors.erase(tensors.begin() + static_cast<std::ptrdiff_t>(below(tensors.size())));
        break;
      case 1:
        tensors.push_back(tensor);
        break;
      case 2:
        tensor.name = below(2) == 0 ? text() : tensors[below(tensors.size())].name;
        break;
      case 3:
        tensor.type = static_cast<std::uint32_t>(below(48));
        break;
      case 4:
        tensor.offset = below(2) == 0 ? number() : 32 * below(64);
        break;
      case 5:
        if (!tensor.data.empty())
          for (std::size_t i = 0; i < 1 + below(8); ++i)
            tensor.data[below(tensor.data.size())] = static_cast<char>(below(4) == 0 ? 0xff : random_());
        break;
      default:
        change_shape(tensor);
    }
  }

  // Another shape, and mostly as much data as it takes at four bytes a value.
  void change_shape(spectralkv::test::GgufBuilder::Tensor& tensor) {
    auto& dims = tensor.dims;
    const std::size_t kind = below(4);
    if (kind == 0)
      dims.push_back(1 + below(3));
    else if (kind == 1 && !dims.empty())
      dims.pop_back();
    else if (!dims.empty())
      dims[below(dims.size())] = below(3) == 0 ? number() : 1 + below(300);
    std::uint64_t values = 4;
    for (const std::uint64_t dim : dims)
      if (__builtin_mul_overflow(values, dim, &values)) values = UINT64_MAX;
    if (values <= kLongest && below(4) != 0) tensor.data.resize(static_cast<std::size_t>(values), '\x3c');
  }

  File& file_;
  std::mt19937_64 random_;
};

}  // namespace

std::optional<std::string> fuzz_restructured(const std::string& input, std::uint64_t seed) {
  auto file = parsed(input);
  if (!file) return std::nullopt;
  Changer changer(*file, seed);
  for (std::uint64_t changes = 1 + seed % 4; changes > 0; --changes) changer.change();
  return changer.built();
}
