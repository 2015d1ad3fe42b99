// Spectra of eight blocks at once, one in each lane of a vector (simd/symmetric.h): what GramSolver does for
// one, several times as fast.
#pragma once

#include <span>
#include <vector>

#include "base/buffer.h"
#include "simd/symmetric.h"
#include "spectral/gram.h"
#include "spectral/scaled_block.h"

namespace spectralkv {

// A solver and the memory that it works in: keep one a thread and reuse it. What is found of a block depends
// on it alone.
class GramLanes {
 public:
  static constexpr int kMost = static_cast<int>(simd::kLanes);

  // Takes 1 to kMost blocks of one shape and computes their spectra. They must stay where they are until
  // leading_vectors is done.
  void load(std::span<const ConstMatrix> blocks);

  // Of block i, as GramSolver says.
  std::span<const double> eigenvalues(int i) const {
    return std::span<const double>(eigenvalues_)
        .subspan(static_cast<std::size_t>(i * n_), static_cast<std::size_t>(n_));
  }
  double scale(int i) const { return scales_[i]; }

  // The first ranks[i] singular vectors of every block, as GramSolver says: left[i] [ranks[i], rows],
  // right[i] [ranks[i], cols].
  void leading_vectors(std::span<const int> ranks, std::span<const std::span<float>> left,
                       std::span<const std::span<float>> right);

  std::int64_t held_bytes() const;

 private:
  // Vectors of the tridiagonal matrix of block i into lane i of short_; false where one failed its test.
  bool tridiagonal_vectors(int i, int rank);

  std::vector<ConstMatrix> blocks_;
  std::int64_t n_ = 0;  // short side of the blocks
  double scales_[kMost] = {};
  ScaledBlock block_;
  Buffer<double> matrices_, short_;  // lanes: [n, n], and [rank, n]
  Buffer<double> diagonal_, off_, factors_, work_, line_;
  std::vector<double> eigenvalues_;  // [blocks, n]
  std::vector<double> values_, rows_, scratch_;
  GramSolver single_;  // for what did not converge
  bool lanes_hold_ = false;
};

}  // namespace spectralkv
