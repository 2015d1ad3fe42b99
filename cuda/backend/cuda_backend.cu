// Everything goes onto one stream; a pass of one token, or of one of each of some sequences, is recorded as a
// graph and replayed.
#include "cuda/backend/cuda_backend.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "base/buffer.h"
#include "base/error.h"
#include "cuda/backend/best.h"
#include "cuda/backend/products.h"
#include "cuda/device/find_device.h"
#include "cuda/kv/device_cache.h"
#include "cuda/ops/elementwise.cuh"
#include "cuda/ops/experts.cuh"
#include "cuda/weights/dequantise.cuh"
#include "simd/dispatch.h"

namespace spectralkv::cuda {
namespace {

constexpr unsigned kThreads = 256;

dim3 blocks_for(std::int64_t threads) {
  return dim3(static_cast<unsigned>((threads + kThreads - 1) / kThreads));
}

class OwnStream {
 public:
  OwnStream() : stream_(device::make_stream(device::Urgency::urgent)) {}
  ~OwnStream() { device::destroy_stream(stream_); }
  OwnStream(const OwnStream&) = delete;
  operator device::Stream() const { return stream_; }  // NOLINT(google-explicit-constructor)

 private:
  device::Stream stream_;
};

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(const BackendOptions& options)
      : name_(device::require_device()),
        activations_(stream_),
        products_(options.f32_activations, activations_, stream_),
        work_(stream_) {}

  std::string description() const override { return concat("cuda ", name_); }

  FloatMemory allocate(std::int64_t n) override {
    auto held = std::make_shared<device::DeviceBuffer<float>>(static_cast<std::size_t>(n));
    return {held->data(), [this, held](float*) { graphs_.clear(); }};  // they may name this memory
  }
  WeightView upload(const WeightView& w, Use use) override {
    auto& held = weights_[{w.name, w.data}];
    if (held == nullptr) {
      held = std::make_unique<DeviceWeight>(w, staging_, stream_);
      device::synchronize(stream_);  // the caller's copy may go now
    }
    if (held->quantised())
      quantised_ = true;
    else if (use == Use::matmul)
      dense_ = true;
    WeightView view = w;
    view.uploaded = held.get();
    return view;
  }
  const float* upload_vector(const WeightView& w) override {
    Buffer<float> host(static_cast<std::size_t>(w.rows * w.cols));
    kernels().decode[static_cast<std::size_t>(w.type)](w.data, host.data(), w.rows * w.cols);
    auto& to = vectors_.emplace_back(host.size());
    to.write(host.span(), stream_);
    device::synchronize(stream_);
    return to.data();
  }
  // A matrix that becomes f16 for a product is read and written once for so many tokens.
  std::int64_t usual_batch() const override { return 2048; }
  void write(std::span<const float> from, float* to) override {
    settle();
    device::copy_to_device(to, from.data(), from.size_bytes(), stream_);
    activations_.forget();
  }
  void read(const float* from, std::span<float> to) override {
    settle();
    device::copy_to_host(to.data(), from, to.size_bytes(), stream_);
    device::synchronize(stream_);
  }

  void embed(const WeightView& table, std::span<const std::int32_t> tokens, Matrix out) override {
    settle();
    tokens_.reserve(tokens.size());
    tokens_.write(tokens, stream_);
    device_weight(table).rows(RowChoice{0, out.rows, tokens_.data()}, out.data, out.stride, stream_);
    activations_.written(out);
  }

  void matmul(std::span<const MatmulJob> jobs) override {
    settle();
    products_.run(jobs);
    for (const MatmulJob& job : jobs) weight_bytes_ += device_weight(*job.w).bytes();
  }

  void rms_norm(ConstMatrix x, const float* gain, float eps, Matrix y) override {
    // Nothing is added, so x stays as it is.
    norm({const_cast<float*>(x.data), x.rows, x.cols, x.stride}, {}, gain, eps, y);
  }
  void add_rms_norm(Matrix x, ConstMatrix y, const float* gain, float eps, Matrix out) override {
    activations_.written(x);
    norm(x, y, gain, eps, out);
  }

  // Waits for what comes next: where that is attention over single tokens, it is part of a launch there.
  void rope(Matrix q, Matrix k, std::int64_t head_dim, ConstMatrix cos_sin) override {
    settle();
    turn_ = {q.data,   k.data,       q.rows,   q.cols / head_dim, k.cols / head_dim,
             head_dim, cos_sin.cols, q.stride, k.stride,          cos_sin.data};
    activations_.written(q);
    activations_.written(k);
  }

  void silu_mul(Matrix gate, ConstMatrix up) override {
    const bool paired = products_.can_pair(gate, up) && can_round_behind(gate);
    if (!paired) settle();
    activations_.written(gate);
    const QuantRows rounded = quantised_form(gate);
    if (paired) return products_.settle_with_pairs(rounded);
    device::launch_early(silu_mul_kernel<0>, blocks_for(gate.rows * gate.cols), dim3(kThreads), 0, stream_,
                         gate.data, up.data, gate.rows * gate.cols, rounded);
  }

  void experts(const ExpertsJob& job) override {
    settle();
    const std::int64_t n = job.x.rows, slots = n * job.used;
    const auto used = static_cast<int>(job.used);
    routes_.reserve(static_cast<std::size_t>(slots));
    device::launch(route_kernel<0>, blocks_for(n), dim3(kThreads), 0, stream_, job.logits.data, n,
                   static_cast<int>(job.logits.cols), used, routes_.data());
    expert_gemv(job.gate, routes_.data(), job.x, job.used, job.gate_rows, stream_);
    expert_gemv(job.up, routes_.data(), job.x, job.used, job.up_rows, stream_);
    device::launch(silu_mul_kernel<0>, blocks_for(slots * job.gate_rows.cols), dim3(kThreads), 0, stream_,
                   job.gate_rows.data, job.up_rows.data, slots * job.gate_rows.cols, QuantRows{});
    expert_gemv(job.down, routes_.data(), job.gate_rows, 1, job.rows, stream_);
    device::launch(mix_experts_kernel<0>, blocks_for(n * job.x.cols), dim3(kThreads), 0, stream_,
                   routes_.data(), job.rows.data, n, job.x.cols, used, job.out.data);
    for (const Matrix& x : {job.gate_rows, job.up_rows, job.rows, job.out}) activations_.written(x);
    // As many experts as rows ask for, if each asked for others: which they are, only the device knows.
    for (const auto& experts : {job.gate, job.up, job.down})
      weight_bytes_ += std::min(slots, std::ssize(experts)) * device_weight(experts[0]).bytes();
  }

  void scale(Matrix x, float factor) override { scale(x, factor, nullptr); }
  void scale_rows(Matrix x, const float* factors) override { scale(x, 1, factors); }

  void copy(ConstMatrix from, Matrix to) override {
    settle();
    activations_.written(to);
    const bool whole = from.stride == from.cols && to.stride == to.cols;
    const std::int64_t rows = whole ? 1 : from.rows, values = whole ? from.rows * from.cols : from.cols;
    for (std::int64_t t = 0; t < rows; ++t)
      device::copy_on_device(to.row(t), from.row(t), static_cast<std::size_t>(values) * sizeof(float),
                             stream_);
  }

  std::unique_ptr<KvCache> make_cache(std::shared_ptr<const CacheFormat> format,
                                      std::int64_t n_ctx) override {
    staging_ = {};  // the weights are loaded
    return std::make_unique<DeviceCache>(std::move(format), n_ctx, work_);
  }
  void attend(Step step, std::int64_t layer, const AttentionShape& shape, ConstMatrix q, ConstMatrix k,
              ConstMatrix v, Matrix out) override {
    ConstMatrix angles;  // of a turn that attention does
    if (of_one_token(step) && turn_.q != nullptr && turn_.q == q.data && turn_.k == k.data &&
        turn_.n == q.rows) {
      angles = {turn_.cos_sin, q.rows, turn_.dims};
      turn_ = {};
    }
    settle();
    QuantRows rounded;
    if (out.rows > 0) {
      activations_.written(out);
      if (out.cols / shape.n_heads % 32 == 0) rounded = quantised_form(out);
    }
    const std::vector<CachePart> parts = parts_of(step);
    if (!in_pass_ && layer == 0) prepare(parts);
    if (q.rows > 0)
      spectralkv::attend(parts, layer, shape, {q, k, v, out, angles, rounded});
    else
      for (const CachePart& part : parts)
        take_rows(*part.cache, layer, k.rows_range(part.first, part.n), v.rows_range(part.first, part.n));
    if (!in_pass_ && !parts.empty() && layer + 1 == parts[0].cache->format().shape().n_layers) commit(parts);
  }

  void pass(const void* scratch, Step step, const std::function<void()>& operations) override;
  void finish() override {
    settle();
    const auto faults = std::exchange(faults_, {});
    device::synchronize(stream_);
    for (const auto& fault : faults) fault->check();
  }
  bool best(const float* values, std::int64_t n, std::span<Ranked> out) override {
    settle();
    return best_.find(values, n, out, stream_);
  }

  std::int64_t sealed_bytes() const override { return work_.pages->in_use(); }
  std::int64_t work_bytes() const override {
    return activations_.bytes() + products_.work_bytes() + work_.bytes() +
           static_cast<std::int64_t>(routes_.bytes());
  }
  double memory_bandwidth() override {
    constexpr std::size_t kBytes = std::size_t{256} << 20;
    constexpr int kTimes = 20;
    const device::DeviceBuffer<std::byte> from(kBytes), to(kBytes);
    const auto copies = [&](int n) {
      const auto start = std::chrono::steady_clock::now();
      for (int i = 0; i < n; ++i) device::copy_on_device(to.data(), from.data(), kBytes, stream_);
      device::synchronize(stream_);
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    device::fill_bytes(from.data(), 1, kBytes, stream_);
    copies(1);
    return 2.0 * kBytes * kTimes / copies(kTimes);
  }
  Stages stages() const override {
    Stages stages;  // no seconds: what is asked for runs later
    stages.weight_bytes = weight_bytes_;
    return stages;
  }

 private:
  // Of each part its cache's identity, and n_logits.
  using Sequences = std::vector<std::pair<std::uint64_t, std::int64_t>>;
  struct Recorded {
    const void* scratch;
    Sequences sequences;
    device::Graph graph;
    // Work memory held when it was recorded; -1: it ran once, which made all memory that it needs. Buffers
    // only grow, so as long as the sum is the same, none has been replaced and the graph's pointers hold.
    std::int64_t work_bytes = -1;
    std::int64_t weight_bytes = 0;
  };
  // The record of a step of one token of each part; null: there was none, and there is one of this step now.
  Recorded* recorded(const void* scratch, Step step);
  // Whether a step shall be recorded. cuBLAS has its own ideas of that, and is kept out of records of more
  // than one token.
  bool repeats(Step step) const {
    const auto n = std::ssize(step);
    return of_one_token(step) && (n == 1 || products_.kernels_alone(n, quantised_, dense_));
  }
  static bool of_one_token(Step step) {
    return std::all_of(step.begin(), step.end(), [](const StepPart& part) { return part.n() == 1; });
  }
  static DeviceCache& cache_of(const StepPart& part) {
    return static_cast<DeviceCache&>(*part.cache);  // made by make_cache
  }

  static std::vector<CachePart> parts_of(Step step) {
    std::vector<CachePart> parts;
    std::int64_t first = 0;
    for (const StepPart& part : step) {
      parts.push_back({&cache_of(part), first, part.n()});
      first += part.n();
    }
    return parts;
  }
  void commit(std::span<const CachePart> parts) {
    for (auto& fault : spectralkv::commit(parts))
      if (std::find(faults_.begin(), faults_.end(), fault) == faults_.end())
        faults_.push_back(std::move(fault));
  }
  // Launches what waits for what comes next.
  void settle() {
    products_.settle();
    if (turn_.q == nullptr) return;
    const RopeArgs args = std::exchange(turn_, {});
    device::launch(rope_kernel<0>, blocks_for(args.n * (args.q_heads + args.k_heads) * args.dims / 2),
                   dim3(kThreads), 0, stream_, args);
  }
  void norm(Matrix x, ConstMatrix y, const float* gain, float eps, Matrix out) {
    const bool behind = y.data != nullptr && products_.can_norm(x, y, out) && can_round_behind(out);
    if (!behind) settle();
    activations_.written(out);
    const NormArgs args{x.data,   y.data,   gain,       out.data, x.cols,
                        x.stride, y.stride, out.stride, eps,      quantised_form(out)};
    if (behind) return products_.settle_with_norm(args);
    const unsigned threads = x.rows <= kFewTokens ? kNormThreads : 256;
    device::launch_early(rms_norm_kernel<0>, dim3(static_cast<unsigned>(x.rows)), dim3(threads), 0, stream_,
                         args);
  }
  void scale(Matrix x, float factor, const float* by_row) {
    settle();
    activations_.written(x);
    device::launch(scale_kernel<0>, blocks_for(x.rows * x.cols), dim3(kThreads), 0, stream_, x.data, x.rows,
                   x.cols, x.stride, factor, by_row);
  }
  // Memory for x in 8 bits too, where the next product will want that.
  QuantRows quantised_form(ConstMatrix x) {
    if (!rounds(x)) return {};
    return activations_.will_quantise(x.data, x.rows, x.cols);
  }
  bool rounds(ConstMatrix x) const {
    return quantised_ && x.cols % 32 == 0 && x.stride == x.cols && products_.wants_quantised(x.rows);
  }
  // Whether a launch that waits can give x in 8 bits too: the memory that it reads from stays where it is.
  bool can_round_behind(ConstMatrix x) const { return !rounds(x) || activations_.has_room(x.rows, x.cols); }

  std::string name_;
  OwnStream stream_;
  Activations activations_;
  Products products_;
  device_kv::DeviceWork work_;
  Best best_;
  // By tensor: a tied embedding is asked for twice. The place alone would not do, as that of a turned copy
  // may be another's later.
  std::map<std::pair<std::string, const std::byte*>, std::unique_ptr<DeviceWeight>> weights_;
  bool quantised_ = false, dense_ = false;  // some are; some that are multiplied with are not
  device::DeviceBuffer<std::uint8_t> staging_;
  std::deque<device::DeviceBuffer<float>> vectors_;
  device::DeviceBuffer<std::int32_t> tokens_;
  device::DeviceBuffer<Route> routes_;  // of the rows of a mixture of experts
  RopeArgs turn_{};                     // that was asked for and not launched yet; q is null: none
  std::deque<Recorded> graphs_;
  bool in_pass_ = false;
  std::vector<std::shared_ptr<const RowFault>> faults_;  // of what has been read since `finish`
  std::int64_t weight_bytes_ = 0;
};

CudaBackend::Recorded* CudaBackend::recorded(const void* scratch, Step step) {
  constexpr std::size_t kMost = 8;
  Sequences sequences;
  for (const StepPart& part : step) sequences.emplace_back(cache_of(part).identity(), part.n_logits);
  for (Recorded& r : graphs_)
    if (r.scratch == scratch && r.sequences == sequences) return &r;
  if (graphs_.size() == kMost) graphs_.pop_front();
  graphs_.push_back({scratch, std::move(sequences), {}, -1, 0});
  return nullptr;
}

void CudaBackend::pass(const void* scratch, Step step, const std::function<void()>& operations_of_step) {
  settle();
  const auto operations = [&] {
    try {
      operations_of_step();
      settle();
    } catch (...) {  // what waits has nothing to come before
      turn_ = {};
      products_.forget();
      throw;
    }
  };
  const std::vector<CachePart> parts = parts_of(step);
  prepare(parts);
  activations_.forget();  // a record must not count on what happened before it
  {
    struct Inside {
      bool& flag;
      explicit Inside(bool& f) : flag(f) { flag = true; }
      ~Inside() { flag = false; }
    } const inside(in_pass_);
    Recorded* const found = repeats(step) ? recorded(scratch, step) : nullptr;
    if (found == nullptr) {
      operations();
    } else {
      const std::int64_t held = work_bytes();
      if (found->work_bytes != held) {
        const std::int64_t before = weight_bytes_;
        found->graph.record(stream_, operations);
        found->weight_bytes = weight_bytes_ - before;
        weight_bytes_ = before;
        found->work_bytes = held;
      }
      found->graph.launch(stream_);
      weight_bytes_ += found->weight_bytes;
    }
  }
  activations_.forget();
  commit(parts);
}

}  // namespace

std::unique_ptr<Backend> make_backend(const BackendOptions& options) {
  return std::make_unique<CudaBackend>(options);
}

}  // namespace spectralkv::cuda
