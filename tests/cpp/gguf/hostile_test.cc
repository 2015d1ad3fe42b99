// Files made to harm: each fault is refused with a message that names it, and nothing reads out of bounds.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>

#include "base/error.h"
#include "base/random.h"
#include "gguf/gguf.h"
#include "support/gguf_builder.h"

namespace spectralkv {
namespace {

using test::GgufBuilder;
using test::Kind;
using test::raw;
using test::raw_text;

Gguf read(std::string_view bytes) {
  return Gguf::from_bytes(std::as_bytes(std::span(bytes)), "bad.gguf");
}

std::string error_of(const std::string& bytes) {
  try {
    read(bytes);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::value) << error.what();
    return error.what();
  }
  return "no error";
}

void expect_error(const GgufBuilder& builder, const std::vector<std::string>& parts) {
  const std::string error = error_of(builder.build());
  EXPECT_TRUE(error.starts_with("[gguf] 'bad.gguf': ")) << error;
  for (const std::string& part : parts)
    EXPECT_NE(error.find(part), std::string::npos) << "error: " << error << "\nlacks: " << part;
}

GgufBuilder with_tensor(GgufBuilder::Tensor tensor) {
  GgufBuilder builder;
  builder.tensor(std::move(tensor));
  return builder;
}

TEST(HostileGguf, HeadIsChecked) {
  GgufBuilder builder;
  builder.magic = "GGML";
  expect_error(builder, {"no GGUF file", "'GGML'", "'GGUF'"});
  builder.magic = std::string(
      "\x7f"
      "EL\x00",
      4);
  expect_error(builder, {"'\\x7fEL\\x00'"});
  builder.magic = "GGUF";
  for (const std::uint32_t version : {0u, 4u, 0xffffffffu}) {
    builder.version = version;
    expect_error(builder, {"version " + std::to_string(version), "expected 2 or 3"});
  }
  builder.version = 1;
  expect_error(builder, {"version 1 is too old"});
  builder.version = 0x03000000u;
  expect_error(builder, {"big-endian", "version 3"});
  EXPECT_NE(error_of("GG").find("ends too early"), std::string::npos);
}

TEST(HostileGguf, CountsBeyondTheFile) {
  for (const std::uint64_t n : {std::uint64_t{1} << 20, std::uint64_t{1} << 60, ~std::uint64_t{0}}) {
    GgufBuilder entries, tensors;
    entries.n_entries = n;
    expect_error(entries, {"declares " + std::to_string(n) + " metadata entries"});
    tensors.n_tensors = n;
    expect_error(tensors, {"declares " + std::to_string(n) + " tensors"});
  }
}

TEST(HostileGguf, StringsBeyondTheFile) {
  for (const std::uint64_t n : {std::uint64_t{100}, std::uint64_t{1} << 62, ~std::uint64_t{0}}) {
    expect_error(GgufBuilder().entry("k", Kind::str, raw(n)),
                 {"metadata key 'k'", "a string", std::to_string(n)});
    // The second element's length.
    expect_error(GgufBuilder().array("k", Kind::str, 2, raw_text("x") + raw(n)),
                 {"metadata key 'k'", std::to_string(n)});
    GgufBuilder key;
    key.n_entries = 1;
    EXPECT_NE(error_of(key.build() + raw(n) + std::string(32, 'k')), "no error");
  }
}

TEST(HostileGguf, ArraysBeyondTheFile) {
  const auto start = std::chrono::steady_clock::now();
  for (std::uint32_t type = 0; type < 13; ++type) {
    if (type == static_cast<std::uint32_t>(Kind::arr)) continue;
    for (const std::uint64_t n : {std::uint64_t{64}, std::uint64_t{1} << 61, ~std::uint64_t{0}})
      expect_error(GgufBuilder().array("k", static_cast<Kind>(type), n, ""),
                   {"metadata key 'k'", "declares " + std::to_string(n) + " array elements"});
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(HostileGguf, MetadataValues) {
  expect_error(GgufBuilder().entry("k", 13u, raw(0ull)), {"'k'", "value type is 13"});
  expect_error(GgufBuilder().array("k", static_cast<Kind>(77), 1, raw(0ull)), {"'k'", "element type is 77"});
  expect_error(GgufBuilder().array("k", Kind::arr, 1, raw(0u) + raw(1ull) + "x"), {"'k'", "array of arrays"});
  expect_error(GgufBuilder().entry("k", Kind::boolean, raw(std::uint8_t{2})), {"'k'", "a bool holds 2"});
  expect_error(GgufBuilder().array("k", Kind::boolean, 2, std::string("\1\xff", 2)),
               {"'k'", "a bool holds 255"});
  expect_error(GgufBuilder().numbers<std::uint64_t>("k", Kind::u64, {1, 1ull << 63}),
               {"'k'", "9223372036854775808", "signed"});
  expect_error(GgufBuilder().u32("k", 1).u32("j", 1).u32("k", 2), {"'k' occurs twice"});
  expect_error(GgufBuilder().u32("", 1), {"metadata key of 0 bytes"});
  expect_error(GgufBuilder().u32(std::string(65536, 'k'), 1), {"metadata key of 65536 bytes"});
}

TEST(HostileGguf, Alignment) {
  for (const std::uint32_t value : {0u, 1u, 4u, 12u, 48u, 0x80000000u, 0xffffffffu, 1u << 21})
    expect_error(GgufBuilder().u32("general.alignment", value),
                 {"general.alignment is " + std::to_string(value), "power of two"});
  expect_error(GgufBuilder().u64("general.alignment", 32),
               {"general.alignment has type u64", "expected u32"});
  expect_error(GgufBuilder().str("general.alignment", "32"), {"has type str"});
  expect_error(GgufBuilder().i32("general.alignment", 32), {"has type i32"});
}

TEST(HostileGguf, Dimensions) {
  const std::string data(64, 'd');
  expect_error(with_tensor({"t", {1, 1, 1, 1, 1}, 0, data, {}, {}}), {"tensor 't'", "has 5 dimensions"});
  expect_error(with_tensor({"t", {}, 0, data, {}, {}}), {"tensor 't'", "has 0 dimensions"});
  expect_error(with_tensor({"t", {1}, 0, data, 0xffffffffu, {}}), {"has 4294967295 dimensions"});
  expect_error(with_tensor({"t", {4, 0}, 0, data, {}, {}}), {"dimension 1 is 0"});
  expect_error(with_tensor({"t", {1ull << 63}, 0, data, {}, {}}), {"dimension 0 is 9223372036854775808"});
  expect_error(with_tensor({"t", {33}, 8, data, {}, {}}), {"row length 33", "q8_0", "block of 32"});
  expect_error(with_tensor({"t", {128, 2}, 12, data, {}, {}}), {"row length 128", "block of 256"});
}

TEST(HostileGguf, SizesThatWrap) {
  const std::string data(64, 'd');
  // The product of the dimensions: 2^64, 2^66, and 2^96.
  expect_error(with_tensor({"t", {1ull << 32, 1ull << 32}, 0, data, {}, {}}),
               {"'t'", "[4294967296, 4294967296]", "overflows"});
  expect_error(with_tensor({"t", {1ull << 62, 16}, 0, data, {}, {}}), {"overflows"});
  expect_error(with_tensor({"t", {1ull << 32, 1ull << 32, 1ull << 32, 1}, 0, data, {}, {}}), {"overflows"});
  // Dimensions times the type's size: 2^62 f32 values are 2^64 bytes, 2^63 / 32 * 34 bytes of q8_0 are beyond
  // 2^63.
  expect_error(with_tensor({"t", {1ull << 62}, 0, data, {}, {}}), {"overflows"});
  expect_error(with_tensor({"t", {(1ull << 63) - 32}, 8, data, {}, {}}), {"overflows"});
  // Bytes that fit in 64 bits, while rounding them up to the alignment or adding the offset would wrap.
  expect_error(with_tensor({"t", {(1ull << 63) - 1, 1}, 1, data, {}, {}}), {"overflows"});
  expect_error(with_tensor({"t", {(1ull << 62) - 1}, 1, data, {}, {}}),
               {"9223372036854775806 bytes", "do not fit"});
  expect_error(with_tensor({"t", {16}, 0, data, {}, ~31ull}), {"offset 18446744073709551584", "do not fit"});
  expect_error(with_tensor({"t", {(1ull << 62) - 1}, 1, data, {}, ~31ull}), {"do not fit"});
}

TEST(HostileGguf, Placement) {
  const std::string data(64, 'd');
  expect_error(with_tensor({"t", {16}, 0, data, {}, 1}),
               {"'t'", "offset 1 is not a multiple of the alignment 32"});
  expect_error(with_tensor({"t", {16}, 0, data, {}, 64}),
               {"64 bytes at offset 64 do not fit", "section of 64 bytes"});
  expect_error(with_tensor({"t", {17}, 0, data, {}, {}}), {"68 bytes at offset 0 do not fit"});
  GgufBuilder same, inside;
  same.tensor({"a", {16}, 0, data, {}, {}}).tensor({"b", {16}, 0, data, {}, 0});
  expect_error(same, {"tensor 'b'", "inside tensor 'a'", "ends at 64"});
  inside.tensor({"a", {8}, 0, data, {}, 32}).tensor({"b", {16}, 0, data, {}, 0});
  expect_error(inside, {"tensor 'a'", "starts at offset 32", "inside tensor 'b'"});
  // A table that ends the file: the data section would start behind it.
  std::string cut = with_tensor({"t", {1}, 0, raw(1.0f), {}, {}}).build();
  cut.resize(24 + 9 + 4 + 8 + 4 + 8);
  EXPECT_NE(error_of(cut).find("the tensor data should start at byte 64"), std::string::npos)
      << error_of(cut);
}

TEST(HostileGguf, Names) {
  GgufBuilder twice;
  twice.f32_tensor("t", {1}, {1}).f32_tensor("u", {1}, {1}).f32_tensor("t", {1}, {1});
  expect_error(twice, {"tensor 't' occurs twice"});
  expect_error(with_tensor({"", {1}, 0, raw(1.0f), {}, {}}), {"tensor name of 0 bytes"});
}

TEST(HostileGguf, WeightTypes) {
  const std::vector<std::pair<std::uint32_t, std::string>> types = {
      {4, "Q4_2"},      {9, "Q8_1"},        {15, "Q8_K"},  {24, "I8"},       {28, "F64"},
      {31, "Q4_0_4_4"}, {36, "IQ4_NL_4_4"}, {40, "NVFP4"}, {1000, "unknown"}};
  for (const auto& [id, name] : types)
    expect_error(with_tensor({"blk.0.w", {256}, id, std::string(1024, 'x'), {}, {}}),
                 {"tensor 'blk.0.w'", "weight type " + std::to_string(id), name, "not supported", "q4_1"});
}

TEST(HostileGguf, SplitKeys) {
  expect_error(GgufBuilder().u16("split.count", 2).u16("split.no", 0), {"part 1 of 2", "opened by its path"});
  expect_error(GgufBuilder().u16("split.count", 2), {"split.no is missing"});
  expect_error(GgufBuilder().u64("split.count", ~0ull), {"split.count is 18446744073709551615"});
  expect_error(GgufBuilder().i32("split.count", -1), {"split.count is -1"});
  expect_error(GgufBuilder().str("split.count", "2"), {"split.count has type str"});
  EXPECT_EQ(error_of(GgufBuilder().u16("split.count", 1).build()), "no error");
}

// Widening an array (a byte becomes eight) stays within the reader's limit, and is refused before memory is
// taken.
TEST(HostileGguf, MemoryIsBounded) {
  const std::uint64_t n = (64u << 20) + 1;
  expect_error(GgufBuilder().array("k", Kind::u8, n, std::string(n, 'x')), {"'k'", "512 MiB"});
}

// A tiny valid file with every part of the format in it.
std::string tiny() {
  GgufBuilder builder;
  builder.str("general.architecture", "llama")
      .u32("general.alignment", 32)
      .f32("eps", 1e-5f)
      .boolean("flag", true);
  builder
      .strings("tokens", {"<s>",
                          "\xe2\x96\x81"
                          "a",
                          "b"})
      .numbers<float>("scores", Kind::f32, {0, -1, -2});
  builder.numbers<std::uint8_t>("flags", Kind::boolean, {1, 0})
      .numbers<std::int32_t>("types", Kind::i32, {3, 1, 1});
  builder.f32_tensor("norm", {4}, {1, 2, 3, 4}).tensor({"w", {32, 2}, 3, std::string(40, 'w'), {}, {}});
  return builder.build();
}

// Touches everything that a caller could: every tensor's first and last byte, every value.
void use(const Gguf& file) {
  std::size_t sum = 0;
  for (const GgufEntry& entry : file.metadata()) sum += file.has(entry.key) ? 1u : 0u;
  EXPECT_EQ(sum, file.metadata().size());
  for (const GgufTensor& tensor : file.tensors()) {
    ASSERT_GE(tensor.bytes, 1);
    sum += static_cast<std::size_t>(tensor.data[0]) + static_cast<std::size_t>(tensor.data[tensor.bytes - 1]);
    EXPECT_EQ(file.find_tensor(tensor.name), &tensor);
    if (tensor.foreign_type.empty())
      EXPECT_EQ(dtype_info(tensor.type).row_bytes(tensor.n_values()), tensor.bytes);
    else
      EXPECT_THROW(file.weight(tensor.name), Error);
  }
  EXPECT_NE(sum, ~std::size_t{0});
}

// Reads from an exact-size heap copy, so that a sanitizer sees the first byte beyond. True when it was
// accepted.
bool survives(std::string_view bytes) {
  const std::vector<std::byte> copy(reinterpret_cast<const std::byte*>(bytes.data()),
                                    reinterpret_cast<const std::byte*>(bytes.data()) + bytes.size());
  try {
    use(Gguf::from_bytes(copy, "mutant.gguf", Gguf::Types::any));
  } catch (const Error&) {  // most mutants
  }
  try {
    use(Gguf::from_bytes(copy, "mutant.gguf"));
    return true;
  } catch (const Error& error) {
    EXPECT_EQ(std::string_view(error.what()).substr(0, 22), "[gguf] 'mutant.gguf': ") << error.what();
    return false;
  }
}

// One with a tensor of every weight type.
std::string of_every_type() {
  GgufBuilder builder;
  builder.str("general.architecture", "llama");
  for (const DTypeInfo& info : all_dtypes()) {
    const auto bytes = static_cast<std::size_t>(2 * info.row_bytes(info.block_values));
    builder.tensor({std::string(info.name),
                    {static_cast<std::uint64_t>(info.block_values), 2},
                    info.gguf_id,
                    std::string(bytes, 'w'),
                    {},
                    {}});
  }
  return builder.build();
}

TEST(HostileGguf, EveryTruncation) {
  for (const std::string& whole : {tiny(), of_every_type()}) {
    const Gguf right = read(whole);
    ASSERT_TRUE(survives(whole));
    // The last tensor is followed by padding, which a file may lack.
    const GgufTensor& last = right.tensors().back();
    const auto needed =
        static_cast<std::size_t>(last.data + last.bytes - reinterpret_cast<const std::byte*>(whole.data()));
    ASSERT_LT(needed, whole.size());
    for (std::size_t n = 0; n < whole.size(); ++n)
      EXPECT_EQ(survives(std::string_view(whole).substr(0, n)), n >= needed) << n << " bytes";
  }
}

// What part of 5000 mutants is accepted: up to four edits each, in the first `within` bytes.
double accepted_mutants(const std::string& whole, std::size_t within) {
  constexpr std::uint64_t kSeed = 20240607;
  constexpr int kMutants = 5000;
  std::uint64_t counter = 0;
  const auto random = [&](std::uint64_t below) { return random_bits(kSeed, counter++) % below; };
  int accepted = 0;
  for (int i = 0; i < kMutants; ++i) {
    std::string mutant = whole;
    for (std::uint64_t edits = 1 + random(4); edits > 0 && !mutant.empty(); --edits) {
      const std::size_t at = random(std::min(mutant.size(), within));
      switch (random(5)) {
        case 0:  // another byte
          mutant[at] = static_cast<char>(random(256));
          break;
        case 1:  // one bit
          mutant[at] = static_cast<char>(mutant[at] ^ (1 << random(8)));
          break;
        case 2: {  // an interesting number over 8 bytes
          const std::uint64_t values[] = {
              0, 1, ~0ull, 1ull << 63, 1ull << 62, 0x7fffffffull, 1ull << 32, mutant.size()};
          const std::string bytes = raw(values[random(std::size(values))]);
          mutant.replace(at, std::min<std::size_t>(8, mutant.size() - at),
                         bytes.substr(0, mutant.size() - at));
          break;
        }
        case 3:  // bytes taken out
          mutant.erase(at, 1 + random(8));
          break;
        default:  // bytes repeated
          mutant.insert(at, mutant.substr(at, 1 + random(16)));
      }
    }
    accepted += survives(mutant) ? 1 : 0;
  }
  return static_cast<double>(accepted) / kMutants;
}

TEST(HostileGguf, RandomMutations) {
  const std::string whole = tiny(), types = of_every_type();
  const double share = accepted_mutants(whole, whole.size());
  EXPECT_GT(share, 0);
  EXPECT_LT(share, 0.5);
  const Gguf right = read(types);
  const auto head =
      static_cast<std::size_t>(right.tensors()[0].data - reinterpret_cast<const std::byte*>(types.data()));
  EXPECT_GT(accepted_mutants(types, head), 0);
}

}  // namespace
}  // namespace spectralkv
