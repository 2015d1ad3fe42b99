// The rows of a step in the order of the experts that they go to.
#pragma once

#include <cstdint>
#include <vector>

#include "backend/route.h"
#include "tensor/matrix.h"

namespace spectralkv {

class ExpertPlan {
 public:
  // Rows of one expert, one behind the other.
  struct Run {
    std::int64_t expert, first, n;
  };

  // logits [n, n_experts]; each row goes to `used` experts.
  void make(ConstMatrix logits, std::int64_t used);

  // Of row t's j-th expert: its place among the n * used rows, and its weight.
  std::int64_t place(std::int64_t t, std::int64_t j) const { return places_[slot(t, j)]; }
  float weight(std::int64_t t, std::int64_t j) const { return routes_[slot(t, j)].weight; }
  const std::vector<Run>& runs() const { return runs_; }  // of experts that have rows

 private:
  std::size_t slot(std::int64_t t, std::int64_t j) const { return static_cast<std::size_t>(t * used_ + j); }

  std::int64_t used_ = 0;
  std::vector<Route> routes_;         // [n, used]
  std::vector<std::int64_t> places_;  // [n, used]
  std::vector<Run> runs_;
};

}  // namespace spectralkv
