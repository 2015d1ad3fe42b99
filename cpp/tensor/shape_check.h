// Checks tensor shapes by letters: the same letter stands for the same size everywhere.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "tensor/matrix.h"

namespace spectralkv {

class ShapeCheck {
 public:
  // `file` is for messages.
  explicit ShapeCheck(std::string file) : file_(std::move(file)) {}
  // Gives a letter its size.
  void set(char letter, std::int64_t size) { sizes_[letter] = size; }
  // shape: one letter for a vector, two for [rows, cols]. Throws naming tensor, what it is and what was
  // expected.
  void operator()(const WeightView& w, std::string_view shape) const;

 private:
  std::string file_;
  std::map<char, std::int64_t> sizes_;
};

}  // namespace spectralkv
