// Valid files: every metadata kind, tensors, typed access, split models, and the time a large vocabulary
// takes.
#include "gguf/gguf.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "support/gguf_builder.h"

namespace spectralkv::gguf_test {
namespace {

using test::GgufBuilder;
using test::Kind;
using test::raw;
using test::TempFolder;

Gguf read(const std::string& bytes) {
  return Gguf::from_bytes(std::as_bytes(std::span(bytes)), "test.gguf");
}

// The message of the error that `work` throws, "" when it throws none.
template <class F>
std::string error_of(const F& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

bool mentions(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Gguf, ReadsEveryScalarKind) {
  GgufBuilder builder;
  builder.u8("a.u8", 255).entry("a.i8", Kind::i8, raw(std::int8_t{-128})).u16("a.u16", 65535);
  builder.entry("a.i16", Kind::i16, raw(std::int16_t{-32768})).u32("a.u32", 0xffffffffu).i32("a.i32", -5);
  builder.u64("a.u64", ~0ull).entry("a.i64", Kind::i64, raw(std::numeric_limits<std::int64_t>::min()));
  builder.f32("a.f32", 0.5f)
      .entry("a.f64", Kind::f64, raw(0.1))
      .boolean("a.yes", true)
      .boolean("a.no", false);
  builder.str("a.str", std::string("\0\xff z", 4)).str("a.empty", "");
  const std::string bytes = builder.build();
  const Gguf file = read(bytes);
  EXPECT_EQ(file.version(), 3u);
  EXPECT_EQ(file.alignment(), 32u);
  EXPECT_EQ(file.file_bytes(), static_cast<std::int64_t>(bytes.size()));
  ASSERT_EQ(file.metadata().size(), 14u);
  EXPECT_EQ(file.metadata()[0].key, "a.u8");
  EXPECT_EQ(file.metadata()[0].type_name, "u8");
  EXPECT_EQ(*file.find_value("a.u8"), GgufValue(std::uint64_t{255}));
  EXPECT_EQ(*file.find_value("a.i8"), GgufValue(std::int64_t{-128}));
  EXPECT_EQ(*file.find_value("a.u16"), GgufValue(std::uint64_t{65535}));
  EXPECT_EQ(*file.find_value("a.i16"), GgufValue(std::int64_t{-32768}));
  EXPECT_EQ(*file.find_value("a.u32"), GgufValue(std::uint64_t{0xffffffffu}));
  EXPECT_EQ(*file.find_value("a.i32"), GgufValue(std::int64_t{-5}));
  EXPECT_EQ(*file.find_value("a.u64"), GgufValue(~std::uint64_t{0}));
  EXPECT_EQ(*file.find_value("a.i64"), GgufValue(std::numeric_limits<std::int64_t>::min()));
  EXPECT_EQ(*file.find_value("a.f32"), GgufValue(0.5));
  EXPECT_EQ(*file.find_value("a.f64"), GgufValue(0.1));
  EXPECT_EQ(*file.find_value("a.yes"), GgufValue(true));
  EXPECT_EQ(*file.find_value("a.no"), GgufValue(false));
  EXPECT_EQ(file.get_string("a.str"), std::string("\0\xff z", 4));
  EXPECT_EQ(file.get_string("a.empty"), "");
  EXPECT_EQ(file.find_value("a.none"), nullptr);
}

TEST(Gguf, ReadsEveryArrayKind) {
  GgufBuilder builder;
  builder.numbers<std::uint8_t>("u8", Kind::u8, {0, 255}).numbers<std::int8_t>("i8", Kind::i8, {-1, 1});
  builder.numbers<std::uint16_t>("u16", Kind::u16, {65535}).numbers<std::int16_t>("i16", Kind::i16, {-2});
  builder.numbers<std::uint32_t>("u32", Kind::u32, {0xffffffffu})
      .numbers<std::int32_t>("i32", Kind::i32, {-3, 3, 0});
  builder.numbers<std::uint64_t>("u64", Kind::u64, {0x7fffffffffffffffull});
  builder.numbers<std::int64_t>("i64", Kind::i64, {std::numeric_limits<std::int64_t>::min()});
  builder.numbers<float>("f32", Kind::f32, {0.5f, -2.0f}).numbers<double>("f64", Kind::f64, {0.1});
  builder.numbers<std::uint8_t>("bool", Kind::boolean, {1, 0, 1})
      .strings("str", {"a", "", std::string(100, 'b')});
  builder.strings("none", {}).numbers<float>("no numbers", Kind::f32, {});
  const std::string bytes = builder.build();
  const Gguf file = read(bytes);
  using Ints = std::vector<std::int64_t>;
  EXPECT_EQ(file.get_ints("u8"), (Ints{0, 255}));
  EXPECT_EQ(file.get_ints("i8"), (Ints{-1, 1}));
  EXPECT_EQ(file.get_ints("u16"), Ints{65535});
  EXPECT_EQ(file.get_ints("i16"), Ints{-2});
  EXPECT_EQ(file.get_ints("u32"), Ints{0xffffffff});
  EXPECT_EQ(file.get_ints("i32"), (Ints{-3, 3, 0}));
  EXPECT_EQ(file.get_ints("u64"), Ints{0x7fffffffffffffff});
  EXPECT_EQ(file.get_ints("i64"), Ints{std::numeric_limits<std::int64_t>::min()});
  EXPECT_EQ(file.get_floats("f32"), (std::vector<double>{0.5, -2.0}));
  EXPECT_EQ(file.get_floats("f64"), std::vector<double>{0.1});
  EXPECT_EQ(file.get_floats("i32"), (std::vector<double>{-3, 3, 0}));
  EXPECT_EQ(*file.find_value("bool"), GgufValue(std::vector<bool>{true, false, true}));
  EXPECT_EQ(file.get_strings("str"), (std::vector<std::string>{"a", "", std::string(100, 'b')}));
  EXPECT_TRUE(file.get_strings("none").empty());
  EXPECT_TRUE(file.get_floats("no numbers").empty());
  EXPECT_EQ(file.metadata()[11].type_name, "arr[str]");
}

TEST(Gguf, TypedAccessNamesWhatItFound) {
  GgufBuilder builder;
  builder.u32("n", 7)
      .str("s", "x")
      .f32("nan", NAN)
      .u64("huge", ~0ull)
      .boolean("b", true)
      .strings("list", {"x"});
  const std::string bytes = builder.build();
  const Gguf file = read(bytes);
  EXPECT_EQ(file.get_int("n", 1, 7), 7);
  EXPECT_EQ(file.get_int("none", 1, 7, -9), -9);
  EXPECT_EQ(file.get_float("n"), 7.0);
  EXPECT_EQ(file.get_float("none", 2.5), 2.5);
  EXPECT_TRUE(file.get_bool("b", false));
  EXPECT_TRUE(file.get_bool("none", true));
  EXPECT_EQ(file.get_string("none", "fallback"), "fallback");
  const auto expect = [&](const std::string& error, const std::vector<std::string>& parts) {
    for (const std::string& part : parts) EXPECT_TRUE(mentions(error, part)) << error << "\nlacks " << part;
  };
  expect(error_of([&] { file.get_int("n", 8, 9); }), {"test.gguf", "'n'", "is 7", "8 to 9"});
  expect(error_of([&] { file.get_int("n", 8, 9, 8); }), {"'n'", "is 7"});
  expect(error_of([&] { file.get_int("huge", 0, 9); }), {"is 18446744073709551615"});
  expect(error_of([&] { file.get_int("none", 0, 9); }), {"'none'", "missing", "an integer"});
  expect(error_of([&] { file.get_int("s", 0, 9); }), {"'s'", "has type str", "an integer"});
  expect(error_of([&] { file.get_float("nan"); }), {"'nan'", "nan", "finite"});
  expect(error_of([&] { file.get_float("s", 1.0); }), {"'s'", "has type str", "a number"});
  expect(error_of([&] { file.get_bool("n", false); }), {"'n'", "has type u32", "a bool"});
  expect(error_of([&] { file.get_string("n"); }), {"'n'", "a string"});
  expect(error_of([&] { file.get_strings("s"); }), {"'s'", "an array of strings"});
  expect(error_of([&] { file.get_ints("list"); }), {"'list'", "arr[str]", "an array of integers"});
  expect(error_of([&] { file.get_floats("n"); }), {"'n'", "u32", "an array of numbers"});
  expect(error_of([&] { file.weight("w\n"); }), {"'w\\x0a'", "missing"});
}

TEST(Gguf, PlacesTensors) {
  for (const std::uint32_t alignment : {8u, 32u, 4096u}) {
    GgufBuilder builder;
    builder.alignment = alignment;
    builder.u32("general.alignment", alignment);
    builder.f32_tensor("vector", {3}, {1, 2, 3}).f32_tensor("matrix", {2, 3}, {1, 2, 3, 4, 5, 6});
    builder.tensor({"quantized", {64, 2}, 8, std::string(4 * 34, 'q'), {}, {}});
    builder.f32_tensor("four", {1, 2, 1, 3}, {9, 8, 7, 6, 5, 4});
    const std::string bytes = builder.build();
    const Gguf file = read(bytes);
    EXPECT_EQ(file.alignment(), alignment);
    ASSERT_EQ(file.tensors().size(), 4u);
    const WeightView vector = file.weight("vector"), matrix = file.weight("matrix");
    EXPECT_EQ(vector.rows, 1);
    EXPECT_EQ(vector.cols, 3);
    EXPECT_EQ(matrix.rows, 3);
    EXPECT_EQ(matrix.cols, 2);
    float last = 0;
    std::memcpy(&last, matrix.row(2) + 4, sizeof last);
    EXPECT_EQ(last, 6.0f);
    const WeightView quantized = file.weight("quantized");
    EXPECT_EQ(quantized.type, DType::q8_0);
    EXPECT_EQ(quantized.bytes(), 136);
    EXPECT_EQ(quantized.row(1)[67], std::byte{'q'});
    const GgufTensor* const four = file.find_tensor("four");
    ASSERT_NE(four, nullptr);
    EXPECT_EQ(four->n_values(), 6);
    EXPECT_EQ(four->bytes, 24);
    EXPECT_TRUE(mentions(error_of([&] { file.weight("four"); }), "4 dimensions"));
    EXPECT_EQ(file.find_tensor("five"), nullptr);
  }
}

TEST(Gguf, ReadsVersion2) {
  GgufBuilder builder;
  builder.version = 2;
  const std::string bytes = builder.u32("n", 1).build();
  EXPECT_EQ(read(bytes).version(), 2u);
}

// Part `no` of three, with one tensor each; the keys can be told to lie.
std::string part(int no, int says_no, int says_count, int says_tensors) {
  GgufBuilder builder;
  if (no == 0) builder.str("general.name", "first");
  builder.u16("split.no", static_cast<std::uint16_t>(says_no))
      .u16("split.count", static_cast<std::uint16_t>(says_count));
  builder.i32("split.tensors.count", says_tensors);
  return builder.f32_tensor(concat("t", no), {2}, {static_cast<float>(no), 0}).build();
}

TEST(GgufSplit, OpensAllPartsFromAny) {
  const TempFolder folder;
  std::vector<std::string> paths;
  for (int no = 0; no < 3; ++no)
    paths.push_back(folder.write(concat("m-0000", no + 1, "-of-00003.gguf"), part(no, no, 3, 3)));
  for (const std::string& path : paths) {
    Gguf opened(path);
    const Gguf file = std::move(opened);
    EXPECT_EQ(file.path(), path);
    EXPECT_EQ(file.get_string("general.name"), "first");
    ASSERT_EQ(file.files().size(), 3u);
    ASSERT_EQ(file.tensors().size(), 3u);
    for (int no = 0; no < 3; ++no) {
      const GgufTensor* const tensor = file.find_tensor(concat("t", no));
      ASSERT_NE(tensor, nullptr);
      EXPECT_EQ(tensor->file, no);
      float first = -1;
      std::memcpy(&first, tensor->data, sizeof first);
      EXPECT_EQ(first, static_cast<float>(no));
    }
  }
}

TEST(GgufSplit, RefusesPartsThatDoNotFit) {
  const auto error_with = [](const std::string& second, bool write_third, const std::string& first_name) {
    const TempFolder folder;
    const std::string path = folder.write(first_name, part(0, 0, 3, 3));
    folder.write("m-00002-of-00003.gguf", second);
    if (write_third) folder.write("m-00003-of-00003.gguf", part(2, 2, 3, 3));
    return error_of([&] { Gguf file(path); });
  };
  const std::string name = "m-00001-of-00003.gguf";
  EXPECT_EQ(error_with(part(1, 1, 3, 3), true, name), "");
  const std::string missing = error_with(part(1, 1, 3, 3), false, name);
  EXPECT_TRUE(mentions(missing, "part 3 of 3") && mentions(missing, "m-00003-of-00003.gguf")) << missing;
  EXPECT_TRUE(mentions(error_with(part(1, 1, 3, 3), true, "renamed.gguf"), "-00001-of-00003.gguf"));
  EXPECT_TRUE(
      mentions(error_with(part(1, 2, 3, 3), true, name), "says it is part 3 of 3, expected part 2 of 3"));
  EXPECT_TRUE(mentions(error_with(part(1, 1, 4, 3), true, name), "says it is part 2 of 4"));
  EXPECT_TRUE(mentions(error_with(part(1, 1, 3, 4), true, name), "split.tensors.count is 4"));
  EXPECT_TRUE(mentions(error_with(part(2, 1, 3, 3), true, name), "tensor 't2' occurs twice"));
  EXPECT_TRUE(mentions(error_with(part(1, 7, 3, 3), true, name), "split.no is 7"));
}

TEST(GgufSplit, RefusesAWrongTensorCount) {
  const TempFolder folder;
  const std::string path = folder.write("m-00001-of-00002.gguf", part(0, 0, 2, 3));
  folder.write("m-00002-of-00002.gguf", part(1, 1, 2, 3));
  const std::string error = error_of([&] { Gguf file(path); });
  EXPECT_TRUE(mentions(error, "hold 2 tensors, but split.tensors.count is 3")) << error;
}

TEST(GgufSplit, MissingFilesAreFileNotFound) {
  const TempFolder folder;
  const auto kind_of = [](const std::string& path) {
    try {
      Gguf file(path);
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::value;
  };
  EXPECT_EQ(kind_of(folder.write("m-00001-of-00002.gguf", part(0, 0, 2, 2))), ErrorKind::file_not_found);
  EXPECT_EQ(kind_of("/no/such/file.gguf"), ErrorKind::file_not_found);
}

TEST(Gguf, LargeVocabularyIsQuick) {
  std::vector<std::string> tokens, merges;
  for (int i = 0; i < 150000; ++i) tokens.push_back(concat("token", i));
  for (int i = 0; i < 300000; ++i) merges.push_back(concat("piece", i, " piece", i + 1));
  const std::string bytes = GgufBuilder().strings("tokens", tokens).strings("merges", merges).build();
  const auto start = std::chrono::steady_clock::now();
  const Gguf file = read(bytes);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_EQ(file.get_strings("merges").back(), merges.back());
  RecordProperty("seconds", std::to_string(seconds));
  EXPECT_LT(seconds, 5.0);  // far above what it takes: a guard against quadratic time, also with sanitizers
}

}  // namespace
}  // namespace spectralkv::gguf_test
