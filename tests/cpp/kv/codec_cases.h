// The codecs, shapes and blocks that the contract of codecs is checked on.
#pragma once

#include <algorithm>
#include <cctype>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "kv/codecs.h"
#include "kv/codecs/scalar_residual.h"
#include "kv/codecs/shared_tables.h"
#include "kv/codecs/trellis_residual.h"
#include "support/compare.h"

namespace spectralkv::testing_support {

constexpr std::int64_t kHeadDims[] = {64, 80, 96, 112, 128, 256};
constexpr std::int64_t kTokenCounts[] = {1, 5, 31, 124, 128};

// A row at each of its widths.
inline std::vector<std::string> widths_of(const CodecRow& row) {
  std::vector<std::string> all;
  for (int bits = row.min_bits; bits <= row.max_bits; ++bits)
    all.push_back(bits == 0 ? concat(row.name) : concat(row.name, ":", bits));
  return all;
}

// Specs of one row of the table, options and widths mixed; a row that is not named here is tested at each of
// its widths.
inline std::vector<std::string> specs_of(const CodecRow& codec) {
  const std::string_view row = codec.name;
  if (row == "q8_0" || row == "q4_0") return {concat(row), concat(row, ",rotation=hadamard")};
  if (row == "turboquant")
    return {"turboquant:1",
            "turboquant:2,rotation=hadamard",
            "turboquant:3,scale=unbiased",
            "turboquant:4",
            "turboquant:5",
            "turboquant:6,paper",
            "turboquant:7,scale=length",
            "turboquant:8,scale=least_squares"};
  if (row == "eoptshrinkq")
    return {"eoptshrinkq:1,factor_bits=1",
            "eoptshrinkq:2",
            "eoptshrinkq:2,paper",
            "eoptshrinkq:1.5,metric=off",
            "eoptshrinkq:2,quantiser=scalar",
            "eoptshrinkq:2,paper,quantiser=trellis",
            "eoptshrinkq:3,loss=nuclear,factor_bits=3,rotation=hadamard",
            "eoptshrinkq:4,loss=operator,scale=unbiased,factor_bits=8",
            "eoptshrinkq:5,loop=open,factor_bits=5,sink=0"};
  if (row == "kivi") return {"kivi:2", "kivi:3,sink=4", "kivi:4", "kivi:8"};
  return widths_of(codec);
}

inline std::vector<std::string> all_specs() {
  std::vector<std::string> all;
  for (const CodecRow& row : codec_table())
    for (auto& spec : specs_of(row)) all.push_back(std::move(spec));
  return all;
}

inline std::vector<std::string> every_width() {
  std::vector<std::string> all;
  for (const CodecRow& row : codec_table())
    for (auto& spec : widths_of(row)) all.push_back(std::move(spec));
  return all;
}

// Every row once, at 2 bits where that is a choice; rows that stand for another one are left out.
inline std::vector<std::string> every_codec() {
  std::vector<std::string> all;
  for (const CodecRow& row : codec_table()) {
    std::string spec = row.min_bits > 0 ? concat(row.name, ":", std::max(2, row.min_bits)) : concat(row.name);
    if (build_codec(spec, 64).text == spec) all.push_back(std::move(spec));
  }
  return all;
}

// Those of them that have blocks, with a layout of the caller's.
inline std::vector<std::string> every_lossy_codec(std::string_view layout) {
  std::vector<std::string> all;
  for (const std::string& spec : every_codec())
    if (build_codec(spec, 64).lossy) all.push_back(concat(spec, ",", layout));
  return all;
}

// Each of `first`, then each of `more`.
inline std::vector<std::string> joined(std::vector<std::string> first, const std::vector<std::string>& more) {
  first.insert(first.end(), more.begin(), more.end());
  return first;
}

// What products in whole numbers know of levels: the largest, and what rounding to bytes moves one by, for
// rows of length 1. least_bits: 1 of a head that was given its width. Codes of 2 to 4 bits and trellis codes
// are multiplied so (kv/codecs/scalar_residual.h, trellis_residual.h); whoever else is may lose nothing by
// it.
struct LevelsInBytes {
  double top = 0, rounding = 0;
};
inline std::optional<LevelsInBytes> levels_in_bytes(const std::string& text, std::int64_t d,
                                                    int least_bits = 2) {
  CodecSpec spec(text);
  if ((spec.name() != "turboquant" && spec.name() != "eoptshrinkq") || *spec.mean_bits() < least_bits ||
      *spec.mean_bits() > 4)
    return std::nullopt;
  const bool trellis = build_codec(text, d).in_states.find("quantiser=trellis") != std::string::npos;
  if (trellis && trellis_has(static_cast<int>(*spec.mean_bits())))
    return LevelsInBytes{127 * trellis_unit(d), 0};
  const Codebook& book = shared_unit_codebook(static_cast<int>(d), static_cast<int>(*spec.mean_bits()));
  const ByteLevels bytes = byte_levels(book);
  LevelsInBytes levels{static_cast<double>(book.levels.back()), 0};
  for (std::size_t i = 0; i < book.levels.size(); ++i)
    levels.rounding = std::max(levels.rounding, std::fabs(static_cast<double>(book.levels[i]) -
                                                          static_cast<double>(bytes.unit) * bytes.bytes[i]));
  return levels;
}

// A spec as the name of a test.
inline std::string test_name(std::string spec) {
  for (char& c : spec)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  return spec;
}

// [n, d]: three directions that all tokens share, and noise of deviation 1.
inline std::vector<float> low_rank_and_noise(std::int64_t n, std::int64_t d, std::uint64_t seed) {
  const auto N = static_cast<std::size_t>(n), D = static_cast<std::size_t>(d);
  auto block = normals(seed, N * D);
  for (std::size_t i = 0; i < 3; ++i) {
    const auto u = normals(seed + 100 + i, N), v = normals(seed + 200 + i, D);
    const float size = 3.0f / static_cast<float>(i + 1);
    for (std::size_t t = 0; t < N; ++t)
      for (std::size_t c = 0; c < D; ++c) block[t * D + c] += size * u[t] * v[c];
  }
  return block;
}

struct NamedBlock {
  const char* name;
  std::vector<float> values;
};

inline std::vector<NamedBlock> blocks_of(std::int64_t n, std::int64_t d) {
  const auto size = static_cast<std::size_t>(n * d), row = static_cast<std::size_t>(d);
  std::vector<NamedBlock> blocks = {{"low rank", low_rank_and_noise(n, d, 5)},
                                    {"zeros", std::vector<float>(size, 0.0f)},
                                    {"spike", normals(6, size)},
                                    {"near the end of f16", normals(7, size)},
                                    {"tiny", normals(8, size, 1e-6)},
                                    {"one row repeated", std::vector<float>(size)}};
  blocks[2].values[size / 2] = 1e4f;
  for (float& x : blocks[3].values) x = std::copysign(6e4f, x);
  const auto one = normals(9, row);
  for (std::size_t i = 0; i < size; ++i) blocks[5].values[i] = one[i % row];
  return blocks;
}

// The encoded block and what it decodes to.
struct Coded {
  std::vector<std::byte> bytes;
  std::vector<float> rows;  // [n, d] in codec space
};

inline Coded code(const Codec& codec, ConstMatrix block, CodecWork& work, const SealContext& context = {}) {
  Coded coded;
  coded.bytes.resize(static_cast<std::size_t>(codec.max_bytes(block.rows)));
  const std::int64_t used = codec.encode(block, context, coded.bytes.data(), work);
  EXPECT_GT(used, 0) << codec.spec();
  EXPECT_LE(used, codec.max_bytes(block.rows)) << codec.spec();
  coded.bytes.resize(static_cast<std::size_t>(used));
  coded.bytes.shrink_to_fit();  // so that the sanitizer sees a read behind the end
  coded.rows.resize(static_cast<std::size_t>(block.rows * block.cols));
  codec.decode(coded.bytes.data(), block.rows, {coded.rows.data(), block.rows, block.cols});
  return coded;
}

// |Y - decoded|^2 / |Y|^2 in head space, of a block [n, head_dim].
inline double relative_error(const Codec& codec, std::int64_t n, const std::vector<float>& block) {
  const std::int64_t d = codec.head_dim();
  CodecWork work;
  const Coded coded = code(codec, {block.data(), n, d}, work);
  std::vector<float> back(block.size());
  codec.leave({coded.rows.data(), n, d}, {back.data(), n, d});
  double error = 0, size = 0;
  for (std::size_t i = 0; i < block.size(); ++i) {
    const double x = static_cast<double>(block[i]), e = x - static_cast<double>(back[i]);
    error += e * e;
    size += x * x;
  }
  return error / size;
}
inline double relative_error(const std::string& spec, std::int64_t n, std::int64_t d,
                             const std::vector<float>& block) {
  return relative_error(*build_codec(spec, d).codec, n, block);
}

}  // namespace spectralkv::testing_support
