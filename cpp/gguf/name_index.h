// Look-up by name in a vector: positions sorted by name, so that no choice of names makes it slow.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace spectralkv {

// The positions of `items`, sorted by their member `name`; equal names stay in order.
template <class T>
std::vector<std::size_t> sort_by_name(const std::vector<T>& items, std::string T::*name) {
  std::vector<std::size_t> index(items.size());
  for (std::size_t i = 0; i < index.size(); ++i) index[i] = i;
  std::stable_sort(index.begin(), index.end(),
                   [&](std::size_t a, std::size_t b) { return items[a].*name < items[b].*name; });
  return index;
}

// The second of two items with the same name, or nullptr when all names differ.
template <class T>
const T* find_duplicate(const std::vector<T>& items, const std::vector<std::size_t>& index,
                        std::string T::*name) {
  for (std::size_t i = 1; i < index.size(); ++i)
    if (items[index[i - 1]].*name == items[index[i]].*name) return &items[index[i]];
  return nullptr;
}

// The item called `wanted`, or nullptr.
template <class T>
const T* find_by_name(const std::vector<T>& items, const std::vector<std::size_t>& index,
                      std::string T::*name, std::string_view wanted) {
  const auto it = std::lower_bound(
      index.begin(), index.end(), wanted,
      [&](std::size_t i, std::string_view text) { return std::string_view(items[i].*name) < text; });
  return it != index.end() && items[*it].*name == wanted ? &items[*it] : nullptr;
}

}  // namespace spectralkv
