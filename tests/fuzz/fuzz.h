// What a fuzz target gives to libFuzzer (libfuzzer.cc) or, without it, to driver.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

// Whole inputs to begin with, good ones that the target accepts.
std::vector<std::string> fuzz_seeds();

// Pieces of inputs that mean something to the reader, to be put anywhere.
std::vector<std::string> fuzz_words();

// The input with a few changes that its format knows, other ones for each seed; nothing for a target without
// such a format, or an input that is none. In gguf_structure.cc or no_structure.cc.
std::optional<std::string> fuzz_restructured(const std::string& input, std::uint64_t seed);

// Reads one input; aborts when what was accepted does not hold.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
