// Loading of lanes, and the way back from them.
#include "spectral/gram_lanes.h"

#include <algorithm>
#include <cassert>

#include "base/error.h"
#include "simd/dispatch.h"
#include "spectral/tridiagonal.h"

namespace spectralkv {
namespace {

constexpr auto kLanes = static_cast<std::size_t>(simd::kLanes);

double* at_least(Buffer<double>& buffer, std::size_t n) {
  if (buffer.size() < n) buffer = Buffer<double>::zeros(n);
  return buffer.data();
}

}  // namespace

void GramLanes::load(std::span<const ConstMatrix> blocks) {
  assert(!blocks.empty() && blocks.size() <= kLanes);
  blocks_.assign(blocks.begin(), blocks.end());
  n_ = std::min(blocks[0].rows, blocks[0].cols);
  const auto n = static_cast<std::size_t>(n_);
  double* const matrices = at_least(matrices_, n * n * kLanes);
  const simd::SymmetricKernels& k = kernels().symmetric;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    assert(blocks[i].rows == blocks[0].rows && blocks[i].cols == blocks[0].cols);
    block_.load(blocks[i]);
    scales_[i] = block_.scale;
    k.gram(block_.values.data(), block_.rows, block_.stride, n_, matrices, static_cast<std::int64_t>(i),
           at_least(line_, 4 * static_cast<std::size_t>(block_.stride)));
  }
  for (std::size_t l = blocks.size(); l < kLanes; ++l)  // lanes without a block hold zeros
    for (std::size_t at = 0; at < n * n; ++at) matrices[at * kLanes + l] = 0;

  double* const diagonal = at_least(diagonal_, n * kLanes);
  double* const off = at_least(off_, n * kLanes);
  double* const work = at_least(work_, 2 * n * kLanes);
  k.tridiagonalize(matrices, n_, diagonal, off, at_least(factors_, n * kLanes), work);
  std::copy(diagonal, diagonal + n * kLanes, work);
  std::copy(off, off + n * kLanes, work + n * kLanes);
  eigenvalues_.resize(blocks.size() * n);
  lanes_hold_ = k.tridiagonal_eigenvalues(work, work + n * kLanes, n_);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const std::span<double> values = std::span(eigenvalues_).subspan(i * n, n);
    if (lanes_hold_) {
      for (std::size_t j = 0; j < n; ++j) values[j] = work[j * kLanes + i];
      settle_eigenvalues(values);
    } else {
      single_.load(blocks[i]);
      std::copy(single_.eigenvalues().begin(), single_.eigenvalues().end(), values.begin());
    }
  }
}

bool GramLanes::tridiagonal_vectors(int i, int rank) {
  const auto n = static_cast<std::size_t>(n_), lane = static_cast<std::size_t>(i);
  values_.resize(2 * n);
  for (std::size_t j = 0; j < n; ++j) {
    values_[j] = diagonal_[j * kLanes + lane];
    values_[n + j] = off_[j * kLanes + lane];
  }
  const std::span<const double> all(values_);
  rows_.resize(static_cast<std::size_t>(rank) * n);
  if (!tridiagonal_eigenvectors(all.first(n), all.subspan(n, n - 1),
                                eigenvalues(i).first(static_cast<std::size_t>(rank)), rows_, scratch_))
    return false;
  for (std::size_t at = 0; at < rows_.size(); ++at) short_[at * kLanes + lane] = rows_[at];
  return true;
}

void GramLanes::leading_vectors(std::span<const int> ranks, std::span<const std::span<float>> left,
                                std::span<const std::span<float>> right) {
  assert(ranks.size() == blocks_.size() && left.size() == ranks.size() && right.size() == ranks.size());
  const auto n = static_cast<std::size_t>(n_);
  const int most = *std::max_element(ranks.begin(), ranks.end());
  at_least(short_, static_cast<std::size_t>(most) * n * kLanes);
  bool found[kLanes];
  for (std::size_t i = 0; i < ranks.size(); ++i)
    found[i] = lanes_hold_ && tridiagonal_vectors(static_cast<int>(i), ranks[i]);
  for (int r = 0; r < most; ++r)  // lanes of a lower rank turn what lies there
    kernels().symmetric.apply_reflectors(matrices_.data(), factors_.data(), n_,
                                         short_.data() + static_cast<std::size_t>(r) * n * kLanes);
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    if (ranks[i] == 0) continue;
    if (!found[i]) {
      single_.load(blocks_[i]);
      single_.leading_vectors(ranks[i], left[i], right[i]);
      continue;
    }
    rows_.resize(static_cast<std::size_t>(ranks[i]) * n);
    for (std::size_t at = 0; at < rows_.size(); ++at) rows_[at] = short_[at * kLanes + i];
    block_.load(blocks_[i]);
    pair_vectors(block_, ranks[i], rows_, left[i], right[i]);
  }
}

std::int64_t GramLanes::held_bytes() const {
  std::size_t sum = block_.values.bytes() + eigenvalues_.capacity() * 8 +
                    (values_.capacity() + rows_.capacity() + scratch_.capacity()) * 8;
  for (const auto* buffer : {&matrices_, &short_, &diagonal_, &off_, &factors_, &work_, &line_})
    sum += buffer->bytes();
  return static_cast<std::int64_t>(sum);
}

}  // namespace spectralkv
