// Runs a fuzz target where there is no libFuzzer: mutates the target's seeds, blindly, for some seconds.
//
//   fuzz_NAME SECONDS [SEED]    an input that ends the program is kept as fuzz_failure.bin
//   fuzz_NAME FILE              reads that input once
#include <sanitizer/common_interface_defs.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "fuzz/fuzz.h"

namespace {

std::string current;  // the input being read
std::string failure;  // where it is kept; a target may change the folder

void keep_current() {
  std::ofstream(failure, std::ios::binary)
      .write(current.data(), static_cast<std::streamsize>(current.size()));
  std::fprintf(stderr, "the input is kept: %s\n", failure.c_str());
}

// Inputs of a few changes each: bits, bytes, small and large numbers, pieces cut out, doubled or exchanged,
// words.
std::string mutated(std::string input, const std::string& other, const std::vector<std::string>& words,
                    std::mt19937_64& random) {
  const auto below = [&](std::size_t n) {
    return static_cast<std::size_t>(random() % std::max<std::size_t>(n, 1));
  };
  for (std::size_t changes = 1 + below(6); changes > 0 && !input.empty(); --changes) {
    const std::size_t at = below(input.size()), n = 1 + below(std::min<std::size_t>(input.size() - at, 64));
    switch (below(9)) {
      case 0:
        input[at] = static_cast<char>(input[at] ^ (1 << below(8)));
        break;
      case 1:
        input[at] = static_cast<char>(random());
        break;
      case 2:
        for (std::size_t i = at; i < at + n; ++i) input[i] = below(2) == 0 ? '\0' : '\xff';
        break;
      case 3:
        input.erase(at, n);
        break;
      case 4:
        input.insert(at, input.substr(at, n));
        break;
      case 5:
        input.replace(at, n, other.substr(below(other.size()), n));
        break;
      case 6:
        input.insert(at, words[below(words.size())]);
        break;
      case 7: {
        const std::string& word = words[below(words.size())];
        input.replace(at, word.size(), word);
        break;
      }
      default:
        input.resize(at);
    }
  }
  return input;
}

void read_current() {
  // In memory of its own size, so that the sanitizer sees a read behind the end.
  const std::vector<std::uint8_t> bytes(current.begin(), current.end());
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fputs("usage: SECONDS [SEED], or FILE\n", stderr);
    return 2;
  }
  failure = std::filesystem::absolute("fuzz_failure.bin").string();
  __sanitizer_set_death_callback(keep_current);
  std::signal(SIGABRT, [](int) {
    keep_current();
    std::_Exit(1);
  });
  char* end = nullptr;
  const double seconds = std::strtod(argv[1], &end);
  if (*end != '\0') {
    std::ifstream file(argv[1], std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "no such file: %s\n", argv[1]);
      return 2;
    }
    current.assign(std::istreambuf_iterator<char>(file), {});
    read_current();
    return 0;
  }
  const auto seeds = fuzz_seeds(), words = fuzz_words();
  for (const std::string& seed : seeds) {
    current = seed;
    read_current();
  }
  std::mt19937_64 random(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : std::random_device()());
  const auto start = std::chrono::steady_clock::now();
  long long count = 0;
  while (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < seconds) {
    const std::string& seed = seeds[random() % seeds.size()];
    const auto restructured = random() % 2 == 0 ? fuzz_restructured(seed, random()) : std::nullopt;
    current = restructured ? *restructured : mutated(seed, seeds[random() % seeds.size()], words, random);
    read_current();
    ++count;
  }
  std::printf("%lld inputs from %zu seeds\n", count, seeds.size());
  return 0;
}
