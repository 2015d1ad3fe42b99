// What benches share: a command line of --name NUMBER and words, and a main that says what went wrong.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"

namespace spectralkv::bench {

// Sets the numbers that are named, each at least 1; gives the other words in their order.
inline std::vector<std::string> read_arguments(int argc, char** argv,
                                               const std::map<std::string, std::int64_t*>& numbers) {
  std::vector<std::string> words;
  for (int i = 1; i < argc; ++i) {
    const auto number = numbers.find(argv[i]);
    if (number != numbers.end() && i + 1 < argc)
      *number->second = std::max(1ll, std::atoll(argv[++i]));
    else
      words.emplace_back(argv[i]);
  }
  return words;
}

// Of words "MODEL [TYPE]": both, TYPE where it is given. A value error with the usage for others.
inline void take_model(const char* program, const std::vector<std::string>& words, std::string& model,
                       std::string& type) {
  check(!words.empty() && words.size() <= 2, "bench", "usage: ", program,
        " MODEL [TYPE] [--OPTION NUMBER]...");
  model = words[0];
  if (words.size() == 2) type = words[1];
}

inline int run(int (*program)(int, char**), int argc, char** argv) {
  try {
    return program(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}

}  // namespace spectralkv::bench
