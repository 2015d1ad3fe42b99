// Counter-based random numbers: the n-th number of a seed is a pure function of (seed, n), equal on every
// platform.
#pragma once

#include <cmath>
#include <cstdint>

namespace spectralkv {

// SplitMix64's finaliser (Steele, Lea, Flood 2014) over an odd multiple of the counter.
inline std::uint64_t random_bits(std::uint64_t seed, std::uint64_t counter) {
  std::uint64_t z = seed + (counter + 1) * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

// Uniform in (0, 1), 53 bits, never 0 or 1.
inline double random_uniform(std::uint64_t seed, std::uint64_t counter) {
  return (static_cast<double>(random_bits(seed, counter) >> 11) + 0.5) * 0x1p-53;
}

// Standard normal by Box and Muller from the uniforms 2n and 2n + 1.
inline double random_normal(std::uint64_t seed, std::uint64_t counter) {
  const double radius = std::sqrt(-2.0 * std::log(random_uniform(seed, 2 * counter)));
  return radius * std::cos(6.283185307179586476925286766559 * random_uniform(seed, 2 * counter + 1));
}

}  // namespace spectralkv
