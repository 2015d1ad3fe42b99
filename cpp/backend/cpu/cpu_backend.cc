// The CPU backend: weights are rearranged for 8-bit arithmetic, those of a mapped file as steps come to use
// them, or stay in it; loops are split over the pool by token.
#include "backend/cpu/cpu_backend.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <vector>

#include "backend/cpu/expert_plan.h"
#include "base/error.h"
#include "kv/attention.h"
#include "kv/cache.h"
#include "linalg/panels.h"
#include "simd/dispatch.h"

namespace spectralkv {
namespace {

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(const BackendOptions& options)
      : pool_(options.n_threads),
        f32_activations_(options.f32_activations),
        matmul_(pool_),
        work_(pool_, BlockPool()) {}

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
      view.uploaded = w.file != nullptr ? &panels_.emplace_back(w) : &panels_.emplace_back(w, pool_);
    return view;
  }
  void lay_out_weights() override {
    for (Panels& panels : panels_) panels.keep_all(pool_);
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

  void experts(const ExpertsJob& job) override {
    {
      const StageClock clock(stages_, Stage::elementwise);
      expert_plan_.make(job.logits, job.used);
    }
    const auto bytes = static_cast<std::size_t>(job.x.cols) * sizeof(float);
    by_token(job.x.rows, [&](std::int64_t t) {
      for (std::int64_t j = 0; j < job.used; ++j)
        std::memcpy(job.rows.row(expert_plan_.place(t, j)), job.x.row(t), bytes);
    });
    std::vector<MatmulJob> in, out;
    for (const auto& [expert, first, n] : expert_plan_.runs()) {
      const auto e = static_cast<std::size_t>(expert);
      const Matrix rows = job.rows.rows_range(first, n), gate = job.gate_rows.rows_range(first, n);
      in.push_back({&job.gate[e], nullptr, rows, gate});
      in.push_back({&job.up[e], nullptr, rows, job.up_rows.rows_range(first, n)});
      out.push_back({&job.down[e], nullptr, gate, rows});
    }
    matmul_in_parts(in);
    silu_mul(job.gate_rows, job.up_rows);
    matmul_in_parts(out);
    by_token(job.x.rows, [&](std::int64_t t) {
      for (std::int64_t j = 0; j < job.used; ++j) {
        float* const part = job.rows.row(expert_plan_.place(t, j));
        kernels().scale(part, expert_plan_.weight(t, j), job.x.cols);
        if (j == 0)
          std::memcpy(job.out.row(t), part, bytes);
        else
          kernels().add(job.out.row(t), part, job.x.cols);
      }
    });
  }

  void scale(Matrix x, float factor) override {
    by_token(x.rows, [&](std::int64_t t) { kernels().scale(x.row(t), factor, x.cols); });
  }
  void scale_rows(Matrix x, const float* factors) override {
    by_token(x.rows, [&](std::int64_t t) { kernels().scale(x.row(t), factors[t], x.cols); });
  }

  void copy(ConstMatrix from, Matrix to) override {
    by_token(from.rows, [&](std::int64_t t) {
      std::memcpy(to.row(t), from.row(t), static_cast<std::size_t>(from.cols) * sizeof(float));
    });
  }

  std::unique_ptr<KvCache> make_cache(std::shared_ptr<const CacheFormat> format,
                                      std::int64_t n_ctx) override {
    return std::make_unique<Cache>(std::move(format), n_ctx, work_.blocks);
  }

  void attend(Step step, std::int64_t layer, const AttentionShape& shape, ConstMatrix q, ConstMatrix k,
              ConstMatrix v, Matrix out) override {
    std::int64_t first = 0;
    for (const StepPart& part : step) {
      const auto of_part = [&](auto rows) { return rows.rows_range(first, part.n()); };
      auto& store = static_cast<Cache&>(*part.cache).layer(layer);  // made by make_cache
      const Appended rows = [&] {
        const StageClock clock(stages_, Stage::append);
        return Appended(store, of_part(k), of_part(v), work_);
      }();
      if (q.rows > 0) {
        const StageClock clock(stages_, Stage::attention);
        spectralkv::attend(rows, shape, of_part(q), of_part(out), work_);
      }
      first += part.n();
    }
  }

  std::int64_t sealed_bytes() const override { return work_.blocks.bytes(); }
  std::int64_t work_bytes() const override { return work_.bytes() + matmul_.work_bytes(); }
  Stages stages() const override { return stages_; }

 private:
  // Any number of jobs.
  void matmul_in_parts(std::span<const MatmulJob> jobs) {
    for (; !jobs.empty(); jobs = jobs.subspan(std::min(jobs.size(), Matmul::kMostJobs)))
      matmul(jobs.first(std::min(jobs.size(), Matmul::kMostJobs)));
  }
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
  CacheWork work_;
  Stages stages_;
  std::deque<Buffer<float>> vectors_;
  std::deque<Panels> panels_;
  ExpertPlan expert_plan_;
};

class WithoutWeights final : public CpuBackend {
 public:
  WithoutWeights() : CpuBackend({.n_threads = 1}) {}
  bool reads_weights() const override { return false; }
  WeightView upload(const WeightView& w, Use) override { return w; }
  const float* upload_vector(const WeightView&) override { return nullptr; }
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options) {
  return std::make_unique<CpuBackend>(options);
}

std::unique_ptr<Backend> make_backend_without_weights() {
  return std::make_unique<WithoutWeights>();
}

}  // namespace spectralkv
