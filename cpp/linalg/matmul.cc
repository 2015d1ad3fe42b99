// Splits rows at multiples of four, as the kernels ask.
#include "linalg/matmul.h"

#include <algorithm>
#include <cassert>

#include "simd/dispatch.h"

namespace spectralkv {

void Matmul::run(std::span<const MatmulJob> jobs) {
  const auto& k = kernels();
  pool_.run([&](int thread) {
    for (const MatmulJob& job : jobs) {
      const WeightView& w = *job.w;
      assert(job.x.cols == w.cols && job.y.cols == w.rows && job.x.rows == job.y.rows);
      const std::int64_t groups = (w.rows + 3) / 4;
      const std::int64_t begin = std::min(groups * thread / pool_.size() * 4, w.rows);
      const std::int64_t end = std::min(groups * (thread + 1) / pool_.size() * 4, w.rows);
      if (begin >= end) continue;
      auto& work = work_[static_cast<std::size_t>(thread)];
      const auto need = static_cast<std::size_t>(simd::matmul_work(w.cols));
      if (work.size() < need) work = Buffer<float>(need);
      k.matmul[static_cast<std::size_t>(w.type)](w.row(begin), w.row_bytes(), end - begin, w.cols, job.x.data,
                                                 job.x.stride, job.x.rows, job.y.data + begin, job.y.stride,
                                                 work.data());
      if (job.bias != nullptr)
        for (std::int64_t t = 0; t < job.x.rows; ++t)
          k.add(job.y.row(t) + begin, job.bias + begin, end - begin);
    }
  });
}

}  // namespace spectralkv
