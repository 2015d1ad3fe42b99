// A queue of the gains of a further bit.
#include "kv/bits_by_head.h"

#include <queue>
#include <tuple>

namespace spectralkv {

std::vector<int> bits_by_head(std::span<const HeadWish> wishes) {
  const auto gain = [&](std::size_t i, int bits) {
    const auto width = static_cast<std::size_t>(bits);
    return wishes[i].harm * (wishes[i].distortion[width] - wishes[i].distortion[width + 1]);
  };
  std::vector<int> widths(wishes.size(), kLeastBitsByHead);
  double left = 1e-9;
  std::priority_queue<std::tuple<double, std::ptrdiff_t>> queue;
  for (std::size_t i = 0; i < wishes.size(); ++i) {
    left += wishes[i].mean_bits - kLeastBitsByHead;
    queue.emplace(gain(i, kLeastBitsByHead), -static_cast<std::ptrdiff_t>(i));
  }
  for (; left >= 1 && !queue.empty(); left -= 1) {
    const auto i = static_cast<std::size_t>(-std::get<1>(queue.top()));
    queue.pop();
    if (++widths[i] < (wishes[i].mean_bits > kUsualBitsByHead ? kMostBitsByHead : kUsualBitsByHead))
      queue.emplace(gain(i, widths[i]), -static_cast<std::ptrdiff_t>(i));
  }
  return widths;
}

}  // namespace spectralkv
