// Attention in double over what a cache of the CPU holds, and what a device may differ by.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpp/cuda/cache_cases.h"
#include "formats/row_scales.h"
#include "formats/trellis.h"
#include "kv/codecs/factor_codes.h"
#include "kv/codecs/scalar_residual.h"
#include "kv/codecs/shared_tables.h"
#include "kv/codecs/trellis_residual.h"

namespace spectralkv::cache_cases {

constexpr double kHalfEps = 0x1p-11;  // f16 unit roundoff

// Norms of what makes a token of a block: of its residual, and of its components of up to 4 bits, whose
// errors have nothing in common.
struct TokenParts {
  double narrow = 0, residual = 0;
};
inline std::vector<TokenParts> parts_of(const Codec& codec, const std::byte* bytes, std::int64_t n) {
  std::vector<TokenParts> parts(static_cast<std::size_t>(n));
  const CodecForm form = codec.form();
  const bool trellis = form.kind == CodecForm::Kind::trellis;
  if (form.kind != CodecForm::Kind::codes && !trellis) return parts;
  const auto d = static_cast<int>(codec.head_dim());
  const auto* const block = reinterpret_cast<const std::uint8_t*>(bytes);
  const SkvScalarFormat format{d, form.bits, form.order};
  const SkvFactors factors = skv_factors(FactorCodes(form.factor_bits).plain_width(), block);
  const SkvLowRankPart at = skv_low_rank_part(d, parts.size(), factors);
  const std::uint8_t* const residual = block + at.residual;
  const std::uint8_t* const codes = residual + skv_scale_bytes(residual, parts.size());
  const double unit = std::ldexp(1.0, static_cast<std::int8_t>(block[1]));
  const auto half = [&](std::size_t offset) {
    return unit * static_cast<double>(
                      skv_f16_to_f32(static_cast<std::uint16_t>(block[offset] | block[offset + 1] << 8)));
  };
  for (int i = 0; i < factors.rank; ++i) {
    const int width = skv_factor_width(factors, i);
    if (width > 4) continue;
    const auto& levels = shared_gaussian_codebook(width).levels;
    const std::size_t before = skv_factor_bits_before(factors, i);
    const auto level = [&](std::size_t column, int length, int j) {
      return static_cast<double>(levels[skv_packed_code(block + column, length, width, j)]);
    };
    double right = 0;
    for (int j = 0; j < d; ++j) right += std::pow(level(at.right + before * at.right_bit, d, j), 2);
    right = std::sqrt(right) * std::fabs(half(at.shares + 2 * static_cast<std::size_t>(i)));
    for (std::size_t t = 0; t < parts.size(); ++t)
      parts[t].narrow = std::hypot(
          parts[t].narrow, right * std::fabs(level(at.left + before * at.left_bit,
                                                   static_cast<int>(at.left_bit) * 8, static_cast<int>(t))));
  }
  const auto& levels = shared_unit_codebook(d, form.bits).levels;
  const auto level_at = [&](std::size_t t, std::size_t j) {
    if (!trellis) return static_cast<double>(levels[skv_scalar_code(format, codes, parts.size(), t, j)]);
    const bool keys = form.order == kSkvTokenTiles;
    return trellis_unit(d) *
           skv_trellis_level(skv_trellis_index(codes, keys ? static_cast<std::size_t>(d) : parts.size(),
                                               keys ? t : j, keys ? j : t));
  };
  for (std::size_t t = 0; t < parts.size(); ++t) {
    double squares = 0;
    for (std::size_t j = 0; j < static_cast<std::size_t>(d); ++j) squares += std::pow(level_at(t, j), 2);
    parts[t].residual = std::sqrt(squares) * unit * static_cast<double>(skv_row_scale(residual, t));
  }
  return parts;
}

// Attention of the newest token in double over what the CPU's cache holds, decoded.
struct Reference {
  std::vector<float> out;
  // Of |difference| / |out|: what single precision may lose; what f16 moves, in which the device has the
  // levels of narrow components and their weights; and what the residual's 8-bit weights on the CPU move at
  // most: half a step for each sealed token, relative to the heaviest, in directions that have nothing in
  // common.
  double tolerance = 0, f16_rounding = 0, weight_rounding = 0;
};
inline Reference reference(const Case& c, const Inputs& in, const Cache& cache) {
  const LayerStore& store = cache.layer(0);
  const LayerFormat& layer = *store.format;
  const std::int64_t t = cache.n_tokens() - 1, d = c.d, sealed = layer.layout.sealed_for(t);
  EXPECT_EQ(sealed, std::ssize(store.k.blocks)) << "a case whose last tokens seal no block";
  Reference result;
  double k_top = 0, k_narrow = 0, v_top = 0, q_top = 0, spread = 0, out_least = INFINITY;
  std::vector<float> rows(static_cast<std::size_t>(layer.layout.block * d + store.tail_capacity * d));
  for (std::int64_t h = 0; h < c.heads; ++h) {
    const auto kv = static_cast<std::size_t>(h / (c.heads / c.kv_heads));
    std::vector<float> q(in.q.begin() + (t * c.heads + h) * d, in.q.begin() + (t * c.heads + h + 1) * d),
        entered(q);
    layer.k.codec(h / (c.heads / c.kv_heads)).enter({q.data(), 1, d}, {entered.data(), 1, d});
    q_top = std::max({q_top, norm_of(q), norm_of(entered)});
    struct Token {
      double logit;
      std::vector<float> value;
      bool sealed;
      TokenParts parts;  // of the value
    };
    std::vector<Token> tokens;
    const auto take = [&](bool keys, const Codec& codec, const std::byte* bytes, std::int64_t n,
                          std::int64_t position, bool in_codec_space, std::size_t& at) {
      codec.decode(bytes, n, {rows.data(), n, d});
      const auto parts = parts_of(codec, bytes, n);
      for (std::int64_t i = 0; i < n; ++i) {
        if (c.sliding > 0 && position + i <= t - c.sliding) continue;
        const std::vector<float> row(rows.begin() + i * d, rows.begin() + (i + 1) * d);
        if (keys) {
          double dot = 0;
          const auto& x = in_codec_space ? entered : q;
          for (std::size_t j = 0; j < row.size(); ++j)
            dot += static_cast<double>(x[j]) * static_cast<double>(row[j]);
          tokens.push_back({dot / std::sqrt(static_cast<double>(d)), {}, in_codec_space, {}});
          k_top = std::max(k_top, norm_of(row));
          k_narrow = std::max(k_narrow, parts[static_cast<std::size_t>(i)].narrow);
        } else {
          tokens[at].parts = parts[static_cast<std::size_t>(i)];
          tokens[at++].value = row;
          v_top = std::max(v_top, norm_of(row));
        }
      }
    };
    for (const bool keys : {true, false}) {
      const SideFormat& format = keys ? layer.k : layer.v;
      const SideStore& side = keys ? store.k : store.v;
      std::size_t at = 0;
      for (std::int64_t b = 0; b < sealed; ++b) {
        const std::int64_t n = layer.layout.block_tokens(b);
        take(keys, format.codec(h / (c.heads / c.kv_heads)),
             side.blocks[static_cast<std::size_t>(b)].head(kv).data(), n, layer.layout.block_begin(b), true,
             at);
      }
      const auto head = static_cast<std::int64_t>(kv);
      if (sealed > 0 && layer.layout.sink > 0)
        take(keys, *format.exact, side.sinks.data() + format.exact->max_bytes(head * layer.layout.sink),
             layer.layout.sink, 0, false, at);
      take(keys, *format.exact, side.tail.data() + format.exact->max_bytes(head * store.tail_capacity),
           t + 1 - sealed * layer.layout.block, sealed * layer.layout.block, false, at);
    }
    double top = -INFINITY, sum = 0, heaviest = 0, n_sealed = 0, narrow = 0;
    for (const Token& token : tokens) top = std::max(top, token.logit);
    std::vector<double> mixed[2] = {std::vector<double>(static_cast<std::size_t>(d)),
                                    std::vector<double>(static_cast<std::size_t>(d))};
    for (const Token& token : tokens) {
      const double p = std::exp(token.logit - top);
      sum += p;
      n_sealed += token.sealed;
      heaviest = std::max(heaviest, p * token.parts.residual);
      narrow += p * token.parts.narrow;
      for (std::size_t j = 0; j < token.value.size(); ++j)
        mixed[token.sealed ? 0 : 1][j] += p * static_cast<double>(token.value[j]);
    }
    std::vector<float> coded(mixed[0].begin(), mixed[0].end()), left(coded.size());
    layer.v.codec(h / (c.heads / c.kv_heads)).leave({coded.data(), 1, d}, {left.data(), 1, d});
    std::vector<float> head_out;
    for (std::size_t j = 0; j < left.size(); ++j)
      head_out.push_back(static_cast<float>((static_cast<double>(left[j]) + mixed[1][j]) / sum));
    out_least = std::min(out_least, norm_of(head_out));
    std::vector<float> out_in_codec(head_out);
    layer.v.codec(h / (c.heads / c.kv_heads)).enter({head_out.data(), 1, d}, {out_in_codec.data(), 1, d});
    for (const Token& token : tokens) {
      std::vector<float> from(token.value);
      for (std::size_t j = 0; j < from.size(); ++j) from[j] -= (token.sealed ? out_in_codec : head_out)[j];
      spread = std::max(spread, norm_of(from));
    }
    result.f16_rounding = std::max(result.f16_rounding, 3 * kHalfEps * narrow / (sum * norm_of(head_out)));
    result.weight_rounding =
        std::max(result.weight_rounding, std::sqrt(n_sealed) * heaviest / (510 * sum * norm_of(head_out)));
    result.out.insert(result.out.end(), head_out.begin(), head_out.end());
  }
  // An error e of a logit moves the output by at most e times how far values are from it; a logit is a sum of
  // d products, after a rotation of d more, whose roundings add up like a random walk's; the exponential errs
  // by a few units of its argument.
  const double root = std::sqrt(static_cast<double>(d)), count = static_cast<double>(t + 2 * d + 64);
  result.tolerance = testing_support::kEps *
                     ((2 * root + 4) * q_top * k_top / root * spread + std::sqrt(count) * v_top) / out_least;
  // Levels of both columns, each to half a unit of f16; for values (above) weights too.
  result.f16_rounding += 2 * kHalfEps * q_top * k_narrow / root * spread / out_least;
  return result;
}

}  // namespace spectralkv::cache_cases
