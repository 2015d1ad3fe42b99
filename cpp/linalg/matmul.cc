// Cuts the rows of all jobs into runs that threads take one after the other: a thread that loses its
// processor delays one run, not its share of everything.
#include "linalg/matmul.h"

#include <algorithm>
#include <array>
#include <cassert>

#include "linalg/panels.h"
#include "simd/dispatch.h"

namespace spectralkv {
namespace {

constexpr std::int64_t kRunRows = simd::kPanelRows;  // a run is a multiple of this
constexpr std::int64_t kRunsPerThread = 6;           // and there are about so many
constexpr std::int64_t kBlockBytes = std::int64_t{1}
                                     << 18;  // of activations that meet several panels while cached

}  // namespace

const Matmul::Quantized& Matmul::quantized(ConstMatrix x, std::size_t& used) {
  for (std::size_t i = 0; i < used; ++i)
    if (quantized_[i].source == x.data) return quantized_[i];
  if (used == quantized_.size()) quantized_.emplace_back();
  Quantized& to = quantized_[used++];
  to.source = x.data;
  const std::int64_t groups = x.cols / simd::kActivationGroup;
  const auto need = static_cast<std::size_t>(x.rows * groups);
  if (to.groups.size() < need) to.groups = Buffer<simd::ActivationGroup>(need);
  const auto convert = [&](std::int64_t t) {
    kernels().quantize_activations(x.row(t), x.cols, to.groups.data() + t * groups);
  };
  if (x.rows < 2 * pool_.size())  // not worth waking the others
    for (std::int64_t t = 0; t < x.rows; ++t) convert(t);
  else
    pool_.for_range(x.rows, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t t = begin; t < end; ++t) convert(t);
    });
  return to;
}

void Matmul::panel_rows(const MatmulJob& job, const Way& way, std::int64_t begin, std::int64_t end,
                        Work& work) {
  const WeightView& w = *job.w;
  const Panels& panels = *panels_of(w);
  const auto product = kernels().panel_matmul[static_cast<std::size_t>(w.type)];
  const auto multiply = [&](const std::uint8_t* panel, std::int64_t r, std::int64_t t, std::int64_t tokens) {
    product(panel, w.cols, panels.offset(), way.x->groups.data() + t * (w.cols / simd::kActivationGroup),
            tokens, std::min(simd::kPanelRows, end - r), job.y.row(t) + r, job.y.stride);
  };
  const std::int64_t block = std::max<std::int64_t>(16, kBlockBytes / w.cols), n = job.x.rows;
  if (way.use == Panels::Use::kept) {
    for (std::int64_t t = 0; t < n; t += block)
      for (std::int64_t r = begin; r < end; r += simd::kPanelRows)
        multiply(panels.panel(r / simd::kPanelRows), r, t, std::min(block, n - t));
    return;
  }
  const bool keep = way.use == Panels::Use::keep;
  const auto need = static_cast<std::size_t>(panels.panel_bytes());
  if (!keep && work.panel.size() < need) work.panel = Buffer<std::uint8_t>(need);
  if (!keep) panels.expect_behind(begin, end);
  for (std::int64_t r = begin; r < end; r += simd::kPanelRows) {
    std::uint8_t* const panel = keep ? panels.place(r / simd::kPanelRows) : work.panel.data();
    panels.pack(work.packer, r / simd::kPanelRows, panel);
    for (std::int64_t t = 0; t < n; t += block) multiply(panel, r, t, std::min(block, n - t));
  }
  if (keep) panels.forget_rows(begin, end);
}

void Matmul::rows(const MatmulJob& job, const Way& way, std::int64_t begin, std::int64_t end, Work& work) {
  const auto& k = kernels();
  const WeightView& w = *job.w;
  if (way.x != nullptr) {
    panel_rows(job, way, begin, end, work);
  } else {
    const auto need = static_cast<std::size_t>(simd::matmul_work(w.cols));
    if (work.floats.size() < need) work.floats = Buffer<float>(need);
    k.matmul[static_cast<std::size_t>(w.type)](w.row(begin), w.row_bytes(), end - begin, w.cols, job.x.data,
                                               job.x.stride, job.x.rows, job.y.data + begin, job.y.stride,
                                               work.floats.data());
  }
  if (job.bias != nullptr)
    for (std::int64_t t = 0; t < job.x.rows; ++t) k.add(job.y.row(t) + begin, job.bias + begin, end - begin);
}

void Matmul::all_rows(std::span<const MatmulJob> jobs, std::span<const Way> ways) {
  std::int64_t units = 0;
  for (const MatmulJob& job : jobs) units += (job.w->rows + kRunRows - 1) / kRunRows;
  const std::int64_t run_units = std::max<std::int64_t>(1, units / (kRunsPerThread * pool_.size()));
  const auto runs_of = [&](const MatmulJob& job) {
    return ((job.w->rows + kRunRows - 1) / kRunRows + run_units - 1) / run_units;
  };
  std::int64_t runs = 0;
  for (const MatmulJob& job : jobs) runs += runs_of(job);
  pool_.for_each(runs, [&](std::int64_t run, int thread) {
    std::size_t i = 0;
    for (; run >= runs_of(jobs[i]); ++i) run -= runs_of(jobs[i]);
    const std::int64_t size = run_units * kRunRows, begin = run * size;
    rows(jobs[i], ways[i], begin, std::min(begin + size, jobs[i].w->rows),
         work_[static_cast<std::size_t>(thread)]);
  });
}

void Matmul::run(std::span<const MatmulJob> jobs) {
  std::array<Way, kMostJobs> ways{};
  assert(jobs.size() <= ways.size());
  std::size_t used = 0;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const MatmulJob& job = jobs[i];
    assert(job.x.cols == job.w->cols && job.y.cols == job.w->rows && job.x.rows == job.y.rows);
    if (panels_of(*job.w) != nullptr) ways[i].x = &quantized(job.x, used);
  }
  const auto each = [&](auto&& act) {
    for (std::size_t i = 0; i < jobs.size(); ++i)
      if (ways[i].x != nullptr) act(*panels_of(*jobs[i].w), ways[i].use);
  };
  each([](const Panels& panels, Panels::Use& use) { use = panels.begin_use(); });
  try {
    all_rows(jobs, ways);
  } catch (...) {
    each([](const Panels& panels, Panels::Use use) { panels.abandon(use); });
    throw;
  }
  each([](const Panels& panels, Panels::Use use) { panels.end_use(use); });
}

std::int64_t Matmul::work_bytes() const {
  std::size_t sum = 0;
  for (const Work& work : work_)
    sum += work.floats.bytes() + static_cast<std::size_t>(work.packer.bytes()) + work.panel.bytes();
  for (const Quantized& x : quantized_) sum += x.groups.bytes();
  return static_cast<std::int64_t>(sum);
}

}  // namespace spectralkv
