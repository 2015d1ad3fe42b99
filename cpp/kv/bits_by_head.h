// Whole widths a head and side, so that their mean is what was asked for and errors do least harm.
#pragma once

#include <array>
#include <span>
#include <vector>

namespace spectralkv {

inline constexpr int kLeastBitsByHead = 1, kMostBitsByHead = 5;
// Heads have more only where the mean asks for it: wider codes are read by slower kernels.
inline constexpr int kUsualBitsByHead = 4;

// One side of a KV head.
struct HeadWish {
  double mean_bits = 0;  // that its spec names
  double harm = 1;       // what an error as large as its residual would do (HeadCalibration::harm)
  std::array<double, kMostBitsByHead + 1> distortion{};  // by width: the share of that which is left
};

// widths [wishes], each 1 to 4, or to 5 where more than 4 are wished for, their sum at most that of mean_bits
// and less than one below it: reverse water-filling ([E] has one width for all). A further bit goes where it
// takes most harm away; of equals to the first.
std::vector<int> bits_by_head(std::span<const HeadWish> wishes);

}  // namespace spectralkv
