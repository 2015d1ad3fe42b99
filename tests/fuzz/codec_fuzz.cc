// Fuzzes the blocks of every codec of the table: what `valid` accepts is decoded, scored and mixed without a
// read beyond it. driver.cc runs it without libFuzzer.
//
// An input is four bytes, which choose codec, head dim, tokens and side, and the block.
#include <algorithm>
#include <cstdlib>
#include <iterator>

#include "base/error.h"
#include "base/random.h"
#include "fuzz/fuzz.h"
#include "kv/codecs.h"

namespace spectralkv {
namespace {

constexpr std::int64_t kHeadDims[] = {64, 80, 128};
constexpr std::size_t kHead = 4;

struct Target {
  BuiltCodec built;
  std::int64_t d, n;
};

std::vector<std::string> specs() {
  std::vector<std::string> all;
  for (const CodecRow& row : codec_table())
    for (int bits = row.min_bits; bits <= row.max_bits; ++bits)
      all.push_back(bits == 0 ? std::string(row.name) : concat(row.name, ":", bits));
  return all;
}

Target target_of(const std::uint8_t* head) {
  static const auto all = specs();
  const std::int64_t d = kHeadDims[head[1] % std::size(kHeadDims)], n = 1 + head[2] % 128;
  return {build_codec(all[head[0] % all.size()], d, head[3] % 2 == 0 ? KvSide::keys : KvSide::values), d, n};
}

}  // namespace
}  // namespace spectralkv

std::vector<std::string> fuzz_seeds() {
  using namespace spectralkv;
  std::vector<std::string> seeds;
  CodecWork work;
  for (std::size_t spec = 0; spec < specs().size(); ++spec)
    for (const std::uint8_t n : {std::uint8_t{4}, std::uint8_t{127}}) {
      const std::uint8_t head[kHead] = {static_cast<std::uint8_t>(spec), static_cast<std::uint8_t>(spec % 3),
                                        n, static_cast<std::uint8_t>(spec % 2)};
      const Target t = target_of(head);
      std::vector<float> rows(static_cast<std::size_t>(t.n * t.d));
      for (std::size_t i = 0; i < rows.size(); ++i)  // noise, and a direction that all rows share
        rows[i] =
            static_cast<float>(random_normal(1, i) + 4 * random_normal(2, i % static_cast<std::size_t>(t.d)));
      std::string seed(reinterpret_cast<const char*>(head), kHead);
      seed.resize(kHead + static_cast<std::size_t>(t.built.codec->max_bytes(t.n)));
      std::vector<std::byte> block(seed.size() - kHead);
      const auto used = t.built.codec->encode({rows.data(), t.n, t.d}, {}, block.data(), work);
      seed.resize(kHead + static_cast<std::size_t>(used));
      std::copy_n(reinterpret_cast<const char*>(block.data()), used, seed.begin() + kHead);
      seeds.push_back(std::move(seed));
    }
  return seeds;
}

std::vector<std::string> fuzz_words() {
  // Half and single floats that are not finite, negative, or very small; counts beyond a block.
  return {std::string("\0\x7c", 2),   std::string("\0\xfc", 2),           std::string("\0\x7e", 2),
          std::string("\1\0", 2),     std::string("\0\0\x80\x7f", 4),     std::string("\0\0\xc0\x7f", 4),
          std::string("\1\0\0\0", 4), std::string("\xff\xff\xff\xff", 4), std::string("\x80\0\0\0", 4)};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace spectralkv;
  if (size < kHead) return 0;
  const Target t = target_of(data);
  const Codec& codec = *t.built.codec;
  // As a cache holds it: aligned, and not a byte more.
  const std::vector<std::byte> block(reinterpret_cast<const std::byte*>(data) + kHead,
                                     reinterpret_cast<const std::byte*>(data) + size);
  const auto bytes = static_cast<std::int64_t>(block.size());
  if (bytes == 0 || bytes > codec.max_bytes(t.n) || !codec.valid(block.data(), t.n, bytes)) return 0;
  constexpr std::int64_t kRows = 3;
  const std::vector<float> ones(static_cast<std::size_t>(kRows * (t.d + t.n)), 1.0f);
  std::vector<float> rows(static_cast<std::size_t>(t.n * t.d)), scores(static_cast<std::size_t>(kRows * t.n)),
      mixed(static_cast<std::size_t>(kRows * t.d));
  CodecWork work;
  codec.decode(block.data(), t.n, {rows.data(), t.n, t.d});
  codec.score(block.data(), t.n, ConstMatrix(ones.data(), kRows, t.d), {scores.data(), kRows, t.n}, work);
  codec.mix(block.data(), t.n, {ones.data(), kRows, t.n}, {mixed.data(), kRows, t.d}, work);
  if (!(codec.paper_bits(block.data(), t.n, bytes) > 0)) std::abort();
  return 0;
}
