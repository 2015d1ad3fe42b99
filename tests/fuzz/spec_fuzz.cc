// Fuzzes cache specs: each is refused, or makes a format whose own names make the same one again.
// driver.cc runs it without libFuzzer.
//
// An input is two specs, of keys and of values, with a zero between them.
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "fuzz/fuzz.h"
#include "kv/cache_format.h"

std::vector<std::string> fuzz_seeds() {
  using namespace spectralkv;
  const auto both = [](const std::string& k, const std::string& v) { return k + '\0' + v; };
  std::vector<std::string> seeds{
      both("eoptshrinkq:2,sink=4,window=64,block=64;layers 0-1,3=q8_0", "kivi:2,block=32"),
      both("turboquant:3.5", "f16")};
  for (const CodecRow& row : codec_table())
    for (int bits = row.min_bits; bits <= row.max_bits; ++bits)
      seeds.push_back(bits == 0 ? std::string(row.name) : concat(row.name, ":", bits));
  return seeds;
}

std::vector<std::string> fuzz_words() {
  std::vector<std::string> words{";layers ", "0-1",    ",3",       "=",        ":",
                                 ",block=",  ",sink=", ",window=", ",rank=",   "auto",
                                 "2.5",      "-1",     ",loss=",   "truncate", ",residual="};
  for (const auto& row : spectralkv::codec_table()) words.emplace_back(row.name);
  return words;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace spectralkv;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t zero = input.find('\0');
  const std::string k(input.substr(0, zero)),
      v(zero == std::string_view::npos ? input : input.substr(zero + 1));
  CacheShape shape;
  shape.n_layers = 4;
  shape.n_kv_heads = 2;
  shape.head_dim = 64;
  try {
    const CacheFormat format(shape, k, v);
    const CacheFormat again(shape, format.name_k(), format.name_v());
    if (again.name_k() != format.name_k() || again.name_v() != format.name_v()) std::abort();
    for (const LayerFormat& layer : format.layers())
      if (layer.k.max_bytes(layer.layout.block) < 1 || layer.v.max_bytes(layer.layout.block) < 1)
        std::abort();
  } catch (const Error&) {
    // Refused: what nearly every input deserves.
  }
  return 0;
}
