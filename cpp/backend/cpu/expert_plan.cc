// Counts the rows of each expert, then gives each row the next place of its expert's.
#include "backend/cpu/expert_plan.h"

namespace spectralkv {

void ExpertPlan::make(ConstMatrix logits, std::int64_t used) {
  used_ = used;
  routes_.resize(static_cast<std::size_t>(logits.rows * used));
  places_.resize(routes_.size());
  for (std::int64_t t = 0; t < logits.rows; ++t)
    choose_experts(logits.row(t), static_cast<int>(logits.cols), static_cast<int>(used),
                   &routes_[slot(t, 0)]);
  std::vector<std::int64_t> next(static_cast<std::size_t>(logits.cols));
  for (const Route& route : routes_) ++next[static_cast<std::size_t>(route.expert)];
  runs_.clear();
  std::int64_t first = 0;
  for (std::int64_t e = 0; e < logits.cols; ++e) {
    std::int64_t& count = next[static_cast<std::size_t>(e)];
    if (count > 0) runs_.push_back({e, first, count});
    first += count;
    count = first - count;
  }
  for (std::size_t s = 0; s < routes_.size(); ++s)
    places_[s] = next[static_cast<std::size_t>(routes_[s].expert)]++;
}

}  // namespace spectralkv
