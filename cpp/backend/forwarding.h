// A backend that passes everything on to another one: who wants to see or change some of it derives from
// this.
#pragma once

#include "backend/backend.h"

namespace spectralkv {

class ForwardingBackend : public Backend {
 public:
  // `inner` must outlive this.
  explicit ForwardingBackend(Backend& inner) : inner_(inner) {}

  std::string description() const override { return inner_.description(); }
  FloatMemory allocate(std::int64_t n) override { return inner_.allocate(n); }
  WeightView upload(const WeightView& w, Use use) override { return inner_.upload(w, use); }
  void lay_out_weights() override { inner_.lay_out_weights(); }
  const float* upload_vector(const WeightView& w) override { return inner_.upload_vector(w); }
  std::int64_t usual_batch() const override { return inner_.usual_batch(); }
  void write(std::span<const float> from, float* to) override { inner_.write(from, to); }
  void read(const float* from, std::span<float> to) override { inner_.read(from, to); }
  void embed(const WeightView& table, std::span<const std::int32_t> tokens, Matrix out) override {
    inner_.embed(table, tokens, out);
  }
  void matmul(std::span<const MatmulJob> jobs) override { inner_.matmul(jobs); }
  void rms_norm(ConstMatrix x, const float* gain, float eps, Matrix y) override {
    inner_.rms_norm(x, gain, eps, y);
  }
  void add_rms_norm(Matrix x, ConstMatrix y, const float* gain, float eps, Matrix out) override {
    inner_.add_rms_norm(x, y, gain, eps, out);
  }
  void rope(Matrix q, Matrix k, std::int64_t head_dim, ConstMatrix cos_sin) override {
    inner_.rope(q, k, head_dim, cos_sin);
  }
  void silu_mul(Matrix gate, ConstMatrix up) override { inner_.silu_mul(gate, up); }
  void experts(const ExpertsJob& job) override { inner_.experts(job); }
  void scale(Matrix x, float factor) override { inner_.scale(x, factor); }
  void scale_rows(Matrix x, const float* factors) override { inner_.scale_rows(x, factors); }
  void copy(ConstMatrix from, Matrix to) override { inner_.copy(from, to); }
  std::unique_ptr<KvCache> make_cache(std::shared_ptr<const CacheFormat> format,
                                      std::int64_t n_ctx) override {
    return inner_.make_cache(std::move(format), n_ctx);
  }
  void attend(Step step, std::int64_t layer, const AttentionShape& shape, ConstMatrix q, ConstMatrix k,
              ConstMatrix v, Matrix out) override {
    inner_.attend(step, layer, shape, q, k, v, out);
  }
  // No `pass`: a replay would not come by here.
  void finish() override { inner_.finish(); }
  bool best(const float* values, std::int64_t n, std::span<Ranked> out) override {
    return inner_.best(values, n, out);
  }
  std::int64_t sealed_bytes() const override { return inner_.sealed_bytes(); }
  std::int64_t work_bytes() const override { return inner_.work_bytes(); }
  double memory_bandwidth() override { return inner_.memory_bandwidth(); }
  Stages stages() const override { return inner_.stages(); }

 private:
  Backend& inner_;
};

}  // namespace spectralkv
