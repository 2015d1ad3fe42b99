// Fuzzes files of token ids and texts: each is refused, or holds ids of which none is negative, or a text
// that has no byte order mark. driver.cc runs it without libFuzzer.
//
// An input is a byte, which chooses .npy, ids as text, or a text, and the file.
#include <cstdlib>
#include <fstream>

#include "base/error.h"
#include "cli/text_encoding.h"
#include "cli/text_input.h"
#include "fuzz/fuzz.h"
#include "support/gguf_builder.h"

namespace spectralkv {
namespace {

std::string npy(const std::string& type, const std::string& shape, const std::string& values,
                int version = 1) {
  std::string header = "{'descr': '" + type + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  header.resize(118 - (version == 1 ? 0 : 2), ' ');
  header.back() = '\n';
  const std::string length = version == 1 ? test::raw(static_cast<std::uint16_t>(header.size()))
                                          : test::raw(static_cast<std::uint32_t>(header.size()));
  return std::string("\0\x93NUMPY", 7) + static_cast<char>(version) + '\0' + length + header + values;
}

struct Fixture {
  test::TempFolder folder;
  std::string array = folder.write("ids.npy", ""), text = folder.write("ids.txt", "");
};

}  // namespace
}  // namespace spectralkv

std::vector<std::string> fuzz_seeds() {
  using namespace spectralkv;
  using test::raw;
  return {npy("<i4", "2,", raw(1) + raw(2)),
          npy("<u4", "1,", raw(7u)),
          npy("<i8", "3,", raw(std::int64_t{1}) + raw(std::int64_t{2}) + raw(std::int64_t{3})),
          npy("<u8", "1,", raw(std::uint64_t{1}), 2),
          npy("<f4", "1,", raw(1.0f)),
          npy("<i4", "1, 1", raw(1)),
          "\1[1, 2,3]\n4;5 2147483647",
          "\1-1",
          "\2plain caf\u00e9",
          "\2\xef\xbb\xbfwith a mark",
          std::string("\2\xff\xfe\x61\0\x62\0", 7),
          "\2latin \xe9 caf\xe9"};
}

std::vector<std::string> fuzz_words() {
  return {"\x93NUMPY", "'descr': '",   "'shape': (", "'fortran_order': True",
          "<i4",       "<u4",          "<i8",        "<u8",
          ">i4",       "|b1",          "2147483648", "9223372036854775808",
          "-1",        "\xef\xbb\xbf", "\xff\xfe",   "\xfe\xff"};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace spectralkv;
  static const Fixture f;
  if (size == 0) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    if (data[0] % 3 == 2) {
      std::string warning;
      const std::string text = plain_text(bytes, "'fuzz.txt'", warning);
      if (text.starts_with("\xef\xbb\xbf") && !bytes.starts_with("\xef\xbb\xbf\xef\xbb\xbf")) std::abort();
      return 0;
    }
    const std::string& path = data[0] % 3 == 0 ? f.array : f.text;
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    const std::vector<Token> ids = read_token_file(path, {});
    if (ids.size() > bytes.size()) std::abort();
    for (const Token id : ids)
      if (id < 0) std::abort();
  } catch (const Error&) {
    // Refused: what nearly every input deserves.
  }
  return 0;
}
