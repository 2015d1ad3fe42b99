// Token files: text and .npy, .npz where a hook unpacks it; wrong ones are refused.
#include "cli/text_input.h"

#include <gtest/gtest.h>

#include "base/error.h"
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

TEST(TokenFile, ReadsTextAndArrays) {
  const test::TempFolder folder;
  const std::vector<Token> want{5, 0, 49151};
  const std::string i4 = raw(5) + raw(0) + raw(49151);
  const std::string i8 = raw(std::int64_t{5}) + raw(std::int64_t{0}) + raw(std::int64_t{49151});
  EXPECT_EQ(read_token_file(folder.write("a.txt", "[5, 0,\n 49151]\n"), {}), want);
  EXPECT_EQ(read_token_file(folder.write("a.npy", npy("<i4", "3,", i4)), {}), want);
  EXPECT_EQ(read_token_file(folder.write("b.npy", npy("<i8", "3,", i8)), {}), want);
}

TEST(TokenFile, RefusesOthers) {
  const test::TempFolder folder;
  const auto refused = [&](const std::string& name, const std::string& bytes) {
    EXPECT_THROW(read_token_file(folder.write(name, bytes), {}), Error) << name;
  };
  refused("a.txt", "1 2 x");
  refused("b.txt", "1 -2");
  refused("a.npy", npy("<f4", "2,", raw(1.0f) + raw(2.0f)));
  refused("b.npy", npy("<i4", "1, 2", raw(1) + raw(2)));
  refused("c.npy", npy("<i4", "3,", raw(1) + raw(2)));
  refused("d.npy", "x");
}

TEST(TokenFile, ArchivesAreForAHook) {
  const test::TempFolder folder;
  const std::string path = folder.write("a.npz", "packed");
  try {
    read_token_file(path, {});
    FAIL() << "read without a hook";
  } catch (const Error& error) {
    const std::string what = error.what();
    EXPECT_NE(what.find(path), std::string::npos) << what;
    EXPECT_NE(what.find("numpy.save"), std::string::npos) << what;
    EXPECT_NE(what.find("Python package"), std::string::npos) << what;
  }
  CliHooks hooks;
  hooks.unpack_npz = [&](const std::string& given, const std::string& archive) {
    EXPECT_EQ(given, path);
    EXPECT_EQ(archive, "packed");
    return npy("<i4", "2,", raw(7) + raw(8));
  };
  EXPECT_EQ(read_token_file(path, hooks), (std::vector<Token>{7, 8}));
  hooks.unpack_npz = [](const std::string&, const std::string&) { return std::string("x"); };
  EXPECT_THROW(read_token_file(path, hooks), Error);
}

}  // namespace
}  // namespace spectralkv
