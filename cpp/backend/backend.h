// What a forward pass asks of a device. Matrices are f32 in the backend's memory, rows are tokens.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "backend/stages.h"
#include "base/buffer.h"
#include "kv/step.h"
#include "linalg/matmul.h"
#include "tensor/matrix.h"

namespace spectralkv {

using FloatMemory = std::unique_ptr<float, std::function<void(float*)>>;

class CacheFormat;

// Feed-forward parts of which each row takes some: out[t] = the sum over row t's experts e of their weight
// times down[e](silu(gate[e] x[t]) * up[e] x[t]) (backend/route.h).
struct ExpertsJob {
  ConstMatrix logits;                          // [n, n_experts], of the router
  std::int64_t used = 0;                       // experts a row
  std::span<const WeightView> gate, up, down;  // [n_experts], of [n_ff, n_embd] twice, [n_embd, n_ff]
  ConstMatrix x;                               // [n, n_embd]
  Matrix gate_rows, up_rows;                   // memory, [n * used, n_ff]
  Matrix rows;                                 // memory, [n * used, n_embd]
  Matrix out;                                  // [n, n_embd], may be x
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string description() const = 0;  // "cpu avx512, 2 threads"

  // Memory for n floats, uninitialised.
  virtual FloatMemory allocate(std::int64_t n) = 0;
  // Makes a weight of the file usable here, for matmul or as a table for embed; the view that comes back
  // stays valid as long as the backend and w.data. Where it has `uploaded`, w.data may go for matmul, unless
  // it lies in a mapped file: a backend may read that later. w.name is the tensor's own.
  enum class Use { matmul, table };
  virtual WeightView upload(const WeightView& w, Use use) = 0;
  // Lays out all weights now that the first steps would otherwise lay out as they use them: for those who
  // measure steps. What steps compute is the same.
  virtual void lay_out_weights() {}
  // False: names and shapes are all that is wanted of weights; a loader need not read them on their way here.
  virtual bool reads_weights() const { return true; }
  // A vector (norm gain, bias) as f32; stays valid as long as the backend.
  virtual const float* upload_vector(const WeightView& w) = 0;
  // Tokens of a prompt that go through a forward pass together, where nobody says how many.
  virtual std::int64_t usual_batch() const { return 512; }
  // Host values into backend memory, and back.
  virtual void write(std::span<const float> from, float* to) = 0;
  virtual void read(const float* from, std::span<float> to) = 0;

  // out[t] = row tokens[t] of the table [n_vocab, n_embd].
  virtual void embed(const WeightView& table, std::span<const std::int32_t> tokens, Matrix out) = 0;
  virtual void matmul(std::span<const MatmulJob> jobs) = 0;
  // y = x / rms(x) * gain by row; gain [cols]; y may be x.
  virtual void rms_norm(ConstMatrix x, const float* gain, float eps, Matrix y) = 0;
  // x += y, then out = x / rms(x) * gain by row; out may be y.
  virtual void add_rms_norm(Matrix x, ConstMatrix y, const float* gain, float eps, Matrix out) = 0;
  // Turns the first cos_sin.cols values of each head of q and k [n, heads * head_dim]; cos_sin [n, dims] as
  // linalg/rope.h has it.
  virtual void rope(Matrix q, Matrix k, std::int64_t head_dim, ConstMatrix cos_sin) = 0;
  // gate = silu(gate) * up.
  virtual void silu_mul(Matrix gate, ConstMatrix up) = 0;
  virtual void experts(const ExpertsJob& job) = 0;
  // x *= factor.
  virtual void scale(Matrix x, float factor) = 0;
  // Row t of x is multiplied by factors[t], in this backend's memory.
  virtual void scale_rows(Matrix x, const float* factors) = 0;

  // to = from, of equal sizes; the memory must not overlap.
  virtual void copy(ConstMatrix from, Matrix to) = 0;

  // An empty cache for one sequence of up to n_ctx tokens.
  virtual std::unique_ptr<KvCache> make_cache(std::shared_ptr<const CacheFormat> format,
                                              std::int64_t n_ctx) = 0;
  // Takes k and v [n, kv_heads * head_dim] of a step's n tokens into a layer of its caches, then attends,
  // each sequence to itself: out [n, heads * head_dim]; without q and out, takes them alone. Every layer,
  // from the first to the last, before the next step.
  virtual void attend(Step step, std::int64_t layer, const AttentionShape& shape, ConstMatrix q,
                      ConstMatrix k, ConstMatrix v, Matrix out) = 0;
  // Calls `operations`, which asks this backend for all of a step, with memory of `scratch` alone. A pass of
  // the same scratch and of steps that differ only in their tokens' ids may be a replay of what was recorded
  // at an earlier one: what changes from pass to pass must be in memory, or be the cache's own.
  virtual void pass(const void* scratch, Step step, const std::function<void()>& operations) {
    static_cast<void>(scratch), static_cast<void>(step);
    operations();
  }
  // Waits for all that was asked for; errors of it come from here or from `read`.
  virtual void finish() {}

  // The best of values [n] with their places: highest first, equal ones by place. False, where the host reads
  // them as fast, or where one of them is not finite: then the caller reads them all.
  using Ranked = std::pair<float, std::int32_t>;
  virtual bool best(const float* values, std::int64_t n, std::span<Ranked> out) {
    static_cast<void>(values), static_cast<void>(n), static_cast<void>(out);
    return false;
  }

  // Bytes of sealed blocks that its caches hold together; what several share counts once.
  virtual std::int64_t sealed_bytes() const = 0;
  // Work space held for attention, in bytes.
  virtual std::int64_t work_bytes() const = 0;
  // Bytes per second that copies in memory of its own move, read and written, measured now; 0 where that is
  // the host's memory.
  virtual double memory_bandwidth() { return 0; }
  // Sums over everything that was asked of this backend.
  virtual Stages stages() const = 0;
};

}  // namespace spectralkv
