// The CPU backend: weights are rearranged for 8-bit arithmetic or stay in the mapped file; loops are split
// over the pool by token.
#include "backend/cpu/cpu_backend.h"

#include <cstring>
#include <deque>

#include "base/error.h"
#include "linalg/panels.h"
#include "simd/dispatch.h"

namespace spectralkv {
namespace {

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const BackendOptions& options)
      : pool_(options.n_threads),
        f32_activations_(options.f32_activations),
        matmul_(pool_),
        attention_(pool_) {}

  std::string description() const override {
    return concat("cpu ", kernels().name, ", ", pool_.size(), pool_.size() == 1 ? " thread" : " threads");
  }

  FloatMemory allocate(std::int64_t n) override {
    auto held = std::make_shared<Buffer<float>>(static_cast<std::size_t>(n));
    return {held->data(), [held](float*) {}};
  }
  WeightView upload(const WeightView& w, Use use) override {
    WeightView view = w;
    if (use == Use::matmul && !f32_activations_ && Panels::possible(w.type))
      view.uploaded = &panels_.emplace_back(w, pool_);
    return view;
  }
  const float* upload_vector(const WeightView& w) override {
    const auto n = static_cast<std::size_t>(w.rows * w.cols);
    vectors_.emplace_back(n);
    kernels().decode[static_cast<std::size_t>(w.type)](w.data, vectors_.back().data(),
                                                       static_cast<std::int64_t>(n));
    return vectors_.back().data();
  }
  void write(std::span<const float> from, float* to) override {
    std::memcpy(to, from.data(), from.size_bytes());
  }
  void read(const float* from, std::span<float> to) override {
    std::memcpy(to.data(), from, to.size_bytes());
  }

  void embed(const WeightView& table, std::span<const std::int32_t> tokens, Matrix out) override {
    for (std::size_t t = 0; t < tokens.size(); ++t)
      kernels().decode[static_cast<std::size_t>(table.type)](
          table.row(tokens[t]), out.row(static_cast<std::int64_t>(t)), table.cols);
  }

  void matmul(std::span<const MatmulJob> jobs) override {
    const StageClock clock(stages_, Stage::matmul);
    matmul_.run(jobs);
    for (const MatmulJob& job : jobs) {
      const Panels* panels = panels_of(*job.w);
      stages_.weight_bytes += panels != nullptr ? panels->bytes() : job.w->bytes();
    }
  }

  void rms_norm(ConstMatrix x, const float* gain, float eps, Matrix y) override {
    by_token(x.rows, [&](std::int64_t t) { kernels().rms_norm(x.row(t), gain, eps, x.cols, y.row(t)); });
  }

  void add_rms_norm(Matrix x, ConstMatrix y, const float* gain, float eps, Matrix out) override {
    by_token(x.rows, [&](std::int64_t t) {
      kernels().add(x.row(t), y.row(t), x.cols);
      kernels().rms_norm(x.row(t), gain, eps, x.cols, out.row(t));
    });
  }

  void rope(Matrix q, Matrix k, std::int64_t head_dim, ConstMatrix cos_sin) override {
    by_token(q.rows, [&](std::int64_t t) {
      for (const Matrix& x : {q, k})
        for (std::int64_t c = 0; c < x.cols; c += head_dim)
          kernels().rope(x.row(t) + c, cos_sin.row(t), cos_sin.cols);
    });
  }

  void silu_mul(Matrix gate, ConstMatrix up) override {
    by_token(gate.rows, [&](std::int64_t t) { kernels().silu_mul(gate.row(t), up.row(t), gate.cols); });
  }

  std::unique_ptr<KvCache> make_cache(const CacheShape& shape, const std::string& type_k,
                                      const std::string& type_v) override {
    return std::make_unique<Cache>(shape, type_k, type_v, pool_);
  }

  void attend(KvCache& kv, std::int64_t layer, const AttentionShape& shape, ConstMatrix q, ConstMatrix k,
              ConstMatrix v, Matrix out) override {
    auto& cache = static_cast<Cache&>(kv);  // made by make_cache
    const Cache::Staged staged = [&] {
      const StageClock clock(stages_, Stage::append);
      return cache.append(layer, k, v);
    }();
    {
      const StageClock clock(stages_, Stage::attention);
      attention_.run(cache, layer, staged, shape, q, out);
    }
    cache.settle(layer, q.rows);
  }

  std::int64_t work_bytes() const override { return attention_.work_bytes() + matmul_.work_bytes(); }
  Stages stages() const override { return stages_; }

 private:
  // One token is not worth waking the others.
  template <class F>
  void by_token(std::int64_t n, const F& f) {
    const StageClock clock(stages_, Stage::elementwise);
    if (n < 2 * pool_.size()) {
      for (std::int64_t t = 0; t < n; ++t) f(t);
      return;
    }
    pool_.for_range(n, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t t = begin; t < end; ++t) f(t);
    });
  }

  ThreadPool pool_;
  const bool f32_activations_;
  Matmul matmul_;
  Attention attention_;
  Stages stages_;
  std::deque<Buffer<float>> vectors_;
  std::deque<Panels> panels_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options) {
  return std::make_unique<CpuBackend>(options);
}

}  // namespace spectralkv
