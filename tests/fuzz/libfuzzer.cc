// Gives libFuzzer what a target begins with: fuzz_NAME --begin FOLDER writes the seeds, a file each, and the
// words as FOLDER.dict. Half of its changes are those that the format knows, if it does.
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "fuzz/fuzz.h"

namespace {

void write_words(const std::string& path) {
  std::ofstream out(path);
  for (const std::string& word : fuzz_words()) {
    out << '"';
    for (const char c : word) {
      const auto byte = static_cast<unsigned char>(c);
      char escaped[5];
      std::snprintf(escaped, sizeof escaped, "\\x%02x", unsigned{byte});
      if (std::isalnum(byte) != 0)
        out << c;
      else
        out << escaped;
    }
    out << "\"\n";
  }
}

}  // namespace

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most,
                                               unsigned seed) {
  if (seed % 2 == 0)
    if (const auto made = fuzz_restructured({reinterpret_cast<const char*>(data), size}, seed / 2);
        made && made->size() <= most) {
      std::copy(made->begin(), made->end(), data);
      return made->size();
    }
  return LLVMFuzzerMutate(data, size, most);
}

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  if (*argc != 3 || std::string_view((*argv)[1]) != "--begin") return 0;
  const std::string folder = (*argv)[2];
  std::filesystem::create_directories(folder);
  int number = 0;
  for (const std::string& seed : fuzz_seeds())
    std::ofstream(folder + "/seed" + std::to_string(number++), std::ios::binary)
        .write(seed.data(), static_cast<std::streamsize>(seed.size()));
  write_words(folder + ".dict");
  std::exit(0);
}
