// How a block's codes C [n tokens, head_dim] are stored and multiplied. A code stands for levels[code]; token
// t has a factor norms[t] of its own.
#pragma once

#include <cstdint>
#include <memory>

#include "formats/coded_block.h"
#include "kv/codec.h"
#include "quant/lloyd_max.h"

namespace spectralkv {

class ResidualCodes {
 public:
  virtual ~ResidualCodes() = default;
  virtual std::int64_t bytes(std::int64_t n) const = 0;
  // codes: [n, head_dim]; out: [bytes(n)].
  virtual void store(const std::uint8_t* codes, std::int64_t n, std::uint8_t* out) const = 0;
  // out [n, head_dim] = the levels times the norms.
  virtual void decode(const std::uint8_t* in, std::int64_t n, const float* norms, Matrix out) const = 0;

  // Which of the two products the layout is made for; only those may be asked for. norms: [n].
  virtual bool scores() const = 0;
  virtual bool mixes() const = 0;
  // s[i][t] += norms[t] <q_i, C_t>. They may use slots 0 and 1 of `work`.
  virtual void add_score(const std::uint8_t* in, std::int64_t n, const float* norms, const Queries& q,
                         Matrix s, CodecWork& work) const = 0;
  // acc_i += sum over t of p[i][t] norms[t] C_t.
  virtual void add_mix(const std::uint8_t* in, std::int64_t n, const float* norms, ConstMatrix p, Matrix acc,
                       CodecWork& work) const = 0;
};

// Which of the orders of formats/coded_block.h codes of that width take.
SkvCodeOrder code_order(int bits, KvSide side);

// Codes of 2, 3 and 4 bits lie in tiles (formats/codetiles.h), keys with tokens as rows and values with
// channels as rows, and are multiplied as whole numbers: levels rounded to bytes, queries to bytes, weights
// to 16 bits. Codes of other widths lie in rows (formats/bitpack.h) and are multiplied in f32.
std::unique_ptr<ResidualCodes> make_residual_codes(const Codebook& codebook, std::int64_t head_dim,
                                                   KvSide side);

// A codebook's levels as bytes: level[i] is near unit * bytes[i].
struct ByteLevels {
  float unit = 0;
  std::int8_t bytes[16] = {};
};
// The unit in which the levels (of 2 to 4 bits) come nearest to whole numbers up to 127.
ByteLevels byte_levels(const Codebook& codebook);

}  // namespace spectralkv
