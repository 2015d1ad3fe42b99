// Metadata entries: key, u32 type, value. An array is u32 element type, u64 count, elements; arrays of arrays
// are refused.
#include <array>
#include <limits>

#include "gguf/part.h"

namespace spectralkv {
namespace {

// The specification's value types, by number.
enum ValueType : std::uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  str,
  arr,
  u64,
  i64,
  f64,
  kTypeCount
};

struct TypeFacts {
  const char* name;
  std::uint64_t min_bytes;  // the least that one value takes in the file
};

constexpr std::array<TypeFacts, kTypeCount> kTypes = {{{"u8", 1},
                                                       {"i8", 1},
                                                       {"u16", 2},
                                                       {"i16", 2},
                                                       {"u32", 4},
                                                       {"i32", 4},
                                                       {"f32", 4},
                                                       {"bool", 1},
                                                       {"str", 8},
                                                       {"arr", 12},
                                                       {"u64", 8},
                                                       {"i64", 8},
                                                       {"f64", 8}}};

std::uint32_t read_type(Cursor& in, const char* what) {
  const auto type = in.number<std::uint32_t>(what);
  if (type >= kTypeCount)
    in.fault("gguf", what, " is ", type, ", expected 0 to ", kTypeCount - 1, " (byte ", in.position() - 4,
             ")");
  return type;
}

bool read_bool(Cursor& in) {
  const auto byte = in.number<std::uint8_t>("a bool");
  if (byte > 1)
    in.fault("gguf", "a bool holds ", int{byte}, ", expected 0 or 1 (byte ", in.position() - 1, ")");
  return byte == 1;
}

std::string read_string(Cursor& in) {
  const std::string_view text = in.text("a string");
  in.spend(text.size());
  return std::string(text);
}

// n numbers of type From in the file, widened to To.
template <class From, class To>
std::vector<To> read_numbers(Cursor& in, std::uint64_t n) {
  const std::byte* source = in.take(n * sizeof(From), "an array");
  in.spend(n * sizeof(To));
  std::vector<To> values(static_cast<std::size_t>(n));
  for (To& value : values) {
    From number;
    std::memcpy(&number, source, sizeof number);
    source += sizeof number;
    if constexpr (std::is_same_v<From, std::uint64_t>)
      if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
        in.fault("gguf", "an array of u64 holds ", number, ", more than a signed 64-bit number can");
    value = static_cast<To>(number);
  }
  return values;
}

GgufValue read_array(Cursor& in, std::uint32_t type, std::uint64_t n) {
  switch (type) {
    case u8:
      return read_numbers<std::uint8_t, std::int64_t>(in, n);
    case i8:
      return read_numbers<std::int8_t, std::int64_t>(in, n);
    case u16:
      return read_numbers<std::uint16_t, std::int64_t>(in, n);
    case i16:
      return read_numbers<std::int16_t, std::int64_t>(in, n);
    case u32:
      return read_numbers<std::uint32_t, std::int64_t>(in, n);
    case i32:
      return read_numbers<std::int32_t, std::int64_t>(in, n);
    case u64:
      return read_numbers<std::uint64_t, std::int64_t>(in, n);
    case i64:
      return read_numbers<std::int64_t, std::int64_t>(in, n);
    case f32:
      return read_numbers<float, double>(in, n);
    case f64:
      return read_numbers<double, double>(in, n);
    case boolean: {
      in.spend(n / 8);
      std::vector<bool> values(static_cast<std::size_t>(n));
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = read_bool(in);
      return values;
    }
    default: {  // str
      in.spend(n * sizeof(std::string));
      std::vector<std::string> values;
      values.reserve(static_cast<std::size_t>(n));
      for (std::uint64_t i = 0; i < n; ++i) values.push_back(read_string(in));
      return values;
    }
  }
}

GgufValue read_scalar(Cursor& in, std::uint32_t type) {
  switch (type) {
    case u8:
      return std::uint64_t{in.number<std::uint8_t>("a u8")};
    case i8:
      return std::int64_t{in.number<std::int8_t>("an i8")};
    case u16:
      return std::uint64_t{in.number<std::uint16_t>("a u16")};
    case i16:
      return std::int64_t{in.number<std::int16_t>("an i16")};
    case u32:
      return std::uint64_t{in.number<std::uint32_t>("a u32")};
    case i32:
      return std::int64_t{in.number<std::int32_t>("an i32")};
    case u64:
      return in.number<std::uint64_t>("a u64");
    case i64:
      return in.number<std::int64_t>("an i64");
    case f32:
      return double{in.number<float>("an f32")};
    case f64:
      return in.number<double>("an f64");
    case boolean:
      return read_bool(in);
    default:
      return read_string(in);
  }
}

void read_value(Cursor& in, GgufEntry& entry) {
  const std::uint32_t type = read_type(in, "the value type");
  if (type != arr) {
    entry.type_name = kTypes[type].name;
    entry.value = read_scalar(in, type);
    return;
  }
  const std::uint32_t element = read_type(in, "the array's element type");
  if (element == arr) in.fault("gguf", "is an array of arrays, which is not supported");
  entry.type_name = concat("arr[", kTypes[element].name, "]");
  const auto n = in.number<std::uint64_t>("the array's length");
  in.need_items(n, kTypes[element].min_bytes, "array elements");
  entry.value = read_array(in, element, n);
}

}  // namespace

std::vector<GgufEntry> read_metadata(Cursor& in, std::uint64_t n_entries) {
  // The least an entry takes: a key of one byte (8 + 1), a type (4) and a value of one byte.
  in.need_items(n_entries, 14, "metadata entries");
  in.spend(n_entries * (sizeof(GgufEntry) + sizeof(std::size_t)));
  std::vector<GgufEntry> metadata(static_cast<std::size_t>(n_entries));
  for (GgufEntry& entry : metadata) {
    in.about(nullptr, {});
    const std::string_view key = in.name("metadata key");
    in.about("metadata key", key);
    in.spend(key.size());
    entry.key = key;
    read_value(in, entry);
  }
  return metadata;
}

}  // namespace spectralkv
