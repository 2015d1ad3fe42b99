// What a block's low-rank part leaves, or at rank 0 the block itself, as bytes. The codec of eoptshrinkq.h
// owns what stands before: exponent and factors. A quantiser sees all rows of the residual at once, so that
// it may choose them together.
//
// A new one is a file with a class and a function that specs call, and a row of the codec table:
//
//     BuiltCodec build_trellis(CodecSpec& spec, const CodecPlace& place) {
//       return build_factored(spec, place, true, kTrellis);
//     }
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "kv/codecs.h"

namespace spectralkv {

// Rows live in codec space. What is stored counts in units of 2^e of its block: `unit` below is what 1 stands
// for, and rows on their way to `encode` are in these units, none longer than 2^13. Slots 0 to 2 of a
// CodecWork are the quantiser's, the others its codec's.
class ResidualQuantiser {
 public:
  virtual ~ResidualQuantiser() = default;

  // Most bytes that the residual of n tokens takes, an even number.
  virtual std::int64_t max_bytes(std::int64_t n) const = 0;
  // Writes rows [n, head_dim] and returns the bytes used, an even number. out: at an even address.
  virtual std::int64_t encode(ConstMatrix rows, const SealContext& context, std::byte* out,
                              CodecWork& work) const = 0;
  // out [n, head_dim] = unit times the rows as stored.
  virtual void decode(const std::byte* in, std::int64_t n, float unit, Matrix out) const = 0;
  // Whether `bytes` bytes can be n tokens: then nothing reads beyond them. The default takes max_bytes(n).
  virtual bool valid(const std::byte* in, std::int64_t n, std::int64_t bytes) const;
  // As Codec's, of `bytes` bytes.
  virtual double paper_bits(const std::byte* in, std::int64_t n, std::int64_t bytes) const = 0;
  // About what is lost of a residual's energy.
  virtual double distortion() const = 0;
  // Says in a codec's form what another device has to know; a form that says nothing runs on the CPU alone.
  virtual void describe(CodecForm& form) const;

  // Which of the two products are faster than decoding first; only those are asked for.
  virtual bool scores() const { return false; }
  virtual bool mixes() const { return false; }
  // s[i][t] += unit <q_i, row t>. work.ahead: as for Codec::score; a residual is the last part of a block.
  virtual void add_score(const std::byte* in, std::int64_t n, float unit, const Queries& q, Matrix s,
                         CodecWork& work) const;
  // acc_i += unit sum over t of p[i][t] row t.
  virtual void add_mix(const std::byte* in, std::int64_t n, float unit, ConstMatrix p, Matrix acc,
                       CodecWork& work) const;
};

// A canonical spec: what differs from the defaults, and from those of version 0.1.0, which state files go by.
struct SpecText {
  std::string now, in_states;

  void add(std::string_view more) {
    now += more;
    in_states += more;
  }
};

// How a spec makes one.
struct ResidualRow {
  struct Wish {
    std::int64_t head_dim = 0;
    int bits = 0;  // an entry
    KvSide side = KvSide::keys;
    bool factored = false;  // there may be a low-rank part
    bool paper = false;     // the defaults are those of the paper
    bool by_head = false;   // a head's own width, which a quantiser may not have: it then takes another one
    bool given_width = false;  // and heads have been given theirs
  };
  std::string_view options;  // that it knows, for messages
  // Takes its options out of the spec and adds to `text` those that differ from the defaults.
  std::unique_ptr<const ResidualQuantiser> (*build)(CodecSpec& spec, const Wish& wish, SpecText& text);
};

}  // namespace spectralkv
