// Hints about a mapped file change nothing of what it holds, wherever they point.
#include "base/mapped_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "support/gguf_builder.h"

namespace spectralkv {
namespace {

TEST(MappedFile, HintsChangeNothing) {
  const test::TempFolder folder;
  std::string bytes(3 * 4096 + 17, ' ');
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 31 % 251);
  const MappedFile file(folder.write("file", bytes));
  const auto all = file.bytes();
  const auto whole = [&] {
    return all.size() == bytes.size() &&
           std::equal(all.begin(), all.end(), bytes.begin(),
                      [](std::byte a, char b) { return a == static_cast<std::byte>(b); });
  };
  EXPECT_TRUE(whole());
  for (const std::size_t at :
       {std::size_t{0}, std::size_t{1}, std::size_t{4096}, bytes.size() - 1, bytes.size()})
    for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{4096}, std::size_t{1} << 40}) {
      file.expect(all.data() + at, n);
      file.forget(all.subspan(at, std::min(n, bytes.size() - at)));
      EXPECT_TRUE(whole()) << n << " bytes from " << at;
    }
  EXPECT_TRUE(file.has(all.data()));
  EXPECT_TRUE(file.has(all.data() + bytes.size() - 1));
  EXPECT_FALSE(file.has(all.data() + bytes.size()));
  const std::byte other{};
  EXPECT_FALSE(file.has(&other));
  file.expect(&other, 1);
  file.forget({&other, 1});
}

}  // namespace
}  // namespace spectralkv
