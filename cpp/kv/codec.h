// The codec interface: how a block of keys or values of one KV head is stored, and how attention reads it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/buffer.h"
#include "kv/codec_form.h"
#include "simd/kernels.h"
#include "spectral/gram_lanes.h"
#include "tensor/matrix.h"

namespace spectralkv {

// Where a block comes from: what a codec may know of it beside its rows. The default is a block of no model.
struct SealContext {
  std::int64_t layer = 0, kv_head = 0;
  std::int64_t first = 0;  // the position of its first row
  KvSide side = KvSide::keys;
  // Rows that queries look at more than at the others, the most first (kv/drawn_rows.h): a codec may spend
  // more on as many of them as it likes.
  std::span<const std::uint16_t> drawn{};
};

class Codec;

// A block on its way to its bytes.
struct SealItem {
  const Codec* codec = nullptr;
  ConstMatrix rows;  // [n, head_dim]
  SealContext context;
  std::byte* out = nullptr;  // [max_bytes(n)]
  std::int64_t used = 0;     // bytes, once it is encoded
};

// Scratch of one thread, grown as needed and kept.
class CodecWork {
 public:
  static constexpr int kSlots = 9;  // 0 and 1 belong to the default score and mix, 2 to 7 to codecs
  static constexpr int kRows = 8;   // and this one to who calls them: rows on their way to encode
  float* floats(int slot, std::int64_t n) { return reinterpret_cast<float*>(bytes(slot, n * 4)); }
  std::byte* bytes(int slot, std::int64_t n);
  GramLanes& spectra();
  std::int64_t held_bytes() const;

  // The bytes that are read next, of a block like this one, or none: a score or a mix may ask memory for
  // them.
  std::span<const std::byte> ahead;

 private:
  std::array<Buffer<std::byte>, kSlots> slots_;
  std::unique_ptr<GramLanes> spectra_;
};

// Query rows in codec space. A tile of queries reads many blocks: what codecs compute from it alone is here,
// made once, or made anew by who needs it.
struct Queries {
  ConstMatrix rows;        // [m, head_dim]
  simd::ByteRows bytes{};  // the same, rounded; values null: not made yet

  Queries(ConstMatrix r) : rows(r) {}  // NOLINT(google-explicit-constructor)
  Queries(Matrix r) : rows(r) {}       // NOLINT(google-explicit-constructor)
  Queries(ConstMatrix r, const simd::ByteRows& b) : rows(r), bytes(b) {}
  // Rounds rows into memory of bytes_needed(m, d), aligned to 4.
  static std::int64_t bytes_needed(std::int64_t m, std::int64_t d) { return m * ((d + 63) / 64 * 64 + 8); }
  static simd::ByteRows to_bytes(ConstMatrix rows, std::byte* memory);
};

// A block is [n tokens, head_dim], 1 <= n. `encode` and `decode` define what a codec means; `score` and `mix`
// may be overridden only to be faster. Codec space is where decoded rows live: an orthogonal turn of the
// model's head space (nothing at all for codecs that do not rotate), perhaps stretched by a metric, entered
// once by a query and left once by an output.
class Codec {
 public:
  explicit Codec(std::int64_t head_dim) : head_dim_(head_dim) {}
  virtual ~Codec() = default;
  Codec(const Codec&) = delete;
  Codec& operator=(const Codec&) = delete;

  std::int64_t head_dim() const { return head_dim_; }
  virtual std::string spec() const = 0;  // canonical: parsing it again gives this codec
  virtual CodecForm form() const { return {}; }

  // Most bytes that a block of n tokens takes.
  virtual std::int64_t max_bytes(std::int64_t n) const = 0;
  // Writes block [n, head_dim], finite values, and returns the bytes used.
  virtual std::int64_t encode(ConstMatrix block, const SealContext& context, std::byte* out,
                              CodecWork& work) const = 0;
  // Encodes several blocks, each by its own codec to what it becomes alone. Their codecs are made of one
  // spec, of any heads.
  virtual void encode_all(std::span<SealItem> items, CodecWork& work) const;
  // out [n, head_dim] in codec space.
  virtual void decode(const std::byte* in, std::int64_t n, Matrix out) const = 0;
  // Whether `bytes` bytes can be a block of n tokens: then decode, score and mix read nothing beyond them.
  // For blocks that come from a file. The default takes blocks of exactly max_bytes(n) for good.
  virtual bool valid(const std::byte* in, std::int64_t n, std::int64_t bytes) const;
  // Bits that the paper would count for this block: codes and factors, no norms or scales. `bytes`: what
  // encode returned.
  virtual double paper_bits(const std::byte* in, std::int64_t n, std::int64_t bytes) const = 0;

  // What a stored block is made of: components of a low-rank part, and the bits an entry of their columns,
  // added up; bits an entry of the residual; rows with a second stage. Zeros where a codec has no such parts.
  struct Summary {
    int rank = 0, widths = 0, residual_bits = 0, second_rows = 0;
  };
  virtual Summary summary(const std::byte*) const { return {}; }

  // Queries into codec space, and rows out of it, by the transpose: <enter(q), y> = <q, leave(y)>. x and out
  // [m, head_dim], never the same memory.
  virtual void enter(ConstMatrix x, Matrix out) const;
  virtual void leave(ConstMatrix x, Matrix out) const;

  // s[i][j] = <q_i, row j>: q [m, head_dim] in codec space, s [m, n].
  virtual void score(const std::byte* in, std::int64_t n, const Queries& q, Matrix s, CodecWork& work) const;
  // acc_i += sum_j p[i][j] row j: p [m, n], not negative, acc [m, head_dim] in codec space.
  virtual void mix(const std::byte* in, std::int64_t n, ConstMatrix p, Matrix acc, CodecWork& work) const;

 private:
  std::int64_t head_dim_;
};

}  // namespace spectralkv
