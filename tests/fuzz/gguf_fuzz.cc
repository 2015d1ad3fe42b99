// Fuzzes the GGUF reader: what it accepts must hold. driver.cc runs this without libFuzzer,
// tests/checks/fuzz.sh with it as well, where there is one.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "base/error.h"
#include "fuzz/fuzz.h"
#include "gguf/gguf.h"
#include "support/tiny_model.h"

std::vector<std::string> fuzz_seeds() {
  std::vector<std::string> seeds;
  for (const auto& row : spectralkv::test::tiny_architectures()) {
    spectralkv::test::TinyModel model;
    model.n_layers = 1;
    model.n_embd = 8;
    model.n_heads = model.n_kv_heads = 1;
    model.n_ff = 8;
    model.arch = row.name;
    seeds.push_back(model.bytes());
  }
  return seeds;
}

std::vector<std::string> fuzz_words() {
  return {"GGUF",
          "general.architecture",
          "general.alignment",
          "general.file_type",
          "split.count",
          "split.no",
          "split.tensors.count",
          "tokenizer.ggml.tokens",
          "token_embd.weight",
          std::string("\x08\0\0\0", 4),
          std::string("\x09\0\0\0", 4),
          std::string("\xff\xff\xff\xff\xff\xff\xff\x7f", 8),
          std::string("\0\0\0\0\0\0\0\x80", 8),
          std::string("\0\0\0\0\1\0\0\0", 8)};
}

namespace {

void read(std::span<const std::byte> bytes, spectralkv::Gguf::Types types) {
  try {
    const auto file = spectralkv::Gguf::from_bytes(bytes, "fuzz.gguf", types);
    // What was accepted must hold: every tensor lies in the input and is found by its name.
    for (const spectralkv::GgufTensor& tensor : file.tensors()) {
      const std::byte* const end = bytes.data() + bytes.size();
      if (tensor.data < bytes.data() || tensor.bytes < 1 || tensor.bytes > end - tensor.data) std::abort();
      if (file.find_tensor(tensor.name) != &tensor) std::abort();
    }
    for (const spectralkv::GgufEntry& entry : file.metadata())
      if (file.find_value(entry.key) != &entry.value) std::abort();
  } catch (const spectralkv::Error&) {
    // Refused: what nearly every input deserves.
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  for (const auto types : {spectralkv::Gguf::Types::ours, spectralkv::Gguf::Types::any})
    read(std::as_bytes(std::span(data, size)), types);
  return 0;
}
