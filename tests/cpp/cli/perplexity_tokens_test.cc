// Token files: text, .npy, .npz; wrong ones are refused.
#include "cli/perplexity_tokens.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "cli/perplexity_inflate.h"
#include "support/gguf_builder.h"

namespace spectralkv {
namespace {

using test::raw;

std::string npy(const std::string& type, const std::string& shape, const std::string& values) {
  std::string header = "{'descr': '" + type + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  header.resize(117, ' ');
  header += "\n";
  return std::string("\x93NUMPY\1\0", 8) + raw(static_cast<std::uint16_t>(header.size())) + header + values;
}

// One stored member.
std::string npz(const std::string& name, const std::string& data) {
  const auto size = static_cast<std::uint32_t>(data.size());
  const auto length = static_cast<std::uint16_t>(name.size());
  const std::string sizes =
      raw(std::uint32_t{0}) + raw(size) + raw(size) + raw(length) + raw(std::uint16_t{0});
  const std::string local = std::string("PK\3\4") + std::string(10, '\0') + sizes + name + data;
  const std::string central =
      std::string("PK\1\2") + std::string(12, '\0') + sizes + std::string(14, '\0') + name;
  return local + central + std::string("PK\5\6") + std::string(6, '\0') + raw(std::uint16_t{1}) +
         raw(static_cast<std::uint32_t>(central.size())) + raw(static_cast<std::uint32_t>(local.size())) +
         std::string(2, '\0');
}

TEST(TokenFile, ReadsTextAndArrays) {
  const test::TempFolder folder;
  const std::vector<Token> want{5, 0, 49151};
  const std::string i4 = raw(5) + raw(0) + raw(49151);
  const std::string i8 = raw(std::int64_t{5}) + raw(std::int64_t{0}) + raw(std::int64_t{49151});
  EXPECT_EQ(read_token_file(folder.write("a.txt", "[5, 0,\n 49151]\n")), want);
  EXPECT_EQ(read_token_file(folder.write("a.npy", npy("<i4", "3,", i4))), want);
  EXPECT_EQ(read_token_file(folder.write("b.npy", npy("<i8", "3,", i8))), want);
  EXPECT_EQ(read_token_file(folder.write("a.npz", npz("whatever.npy", npy("<i8", "3,", i8)))), want);
}

TEST(TokenFile, RefusesOthers) {
  const test::TempFolder folder;
  const auto refused = [&](const std::string& name, const std::string& bytes) {
    EXPECT_THROW(read_token_file(folder.write(name, bytes)), Error) << name;
  };
  refused("a.txt", "1 2 x");
  refused("b.txt", "1 -2");
  refused("a.npy", npy("<f4", "2,", raw(1.0f) + raw(2.0f)));
  refused("b.npy", npy("<i4", "1, 2", raw(1) + raw(2)));
  refused("c.npy", npy("<i4", "3,", raw(1) + raw(2)));
  refused("d.npy", "x");
  const std::string whole = npz("ids.npy", npy("<i4", "2,", raw(1) + raw(2)));
  for (std::size_t n = 1; n < whole.size(); ++n) {
    try {
      read_token_file(folder.write("cut.npz", whole.substr(0, n)));
    } catch (const Error&) {
    }
  }
}

TEST(Inflate, ReadsAllKindsOfBlocks) {
  // Made with Python's zlib: raw deflate of "abcabcabcabcabcabcabc" with fixed codes, and the same stored.
  const std::string text = "abcabcabcabcabcabcabc";
  EXPECT_EQ(inflate(std::string("\x4b\x4c\x4a\x4e\xc4\x40\x00", 7), 21), text);
  EXPECT_EQ(inflate(std::string("\x01\x15\x00\xea\xff", 5) + text, 21), text);
  EXPECT_FALSE(inflate(std::string("\x01\x15\x00\xea\xff", 5) + text, 20).has_value());
  EXPECT_FALSE(inflate("\x4b\x4c\x4a", 21).has_value());
}

}  // namespace
}  // namespace spectralkv
