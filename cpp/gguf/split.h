// Models split over several files: NAME-00001-of-00003.gguf and so on, counted from 1 in the name and from 0
// inside.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "gguf/part.h"

namespace spectralkv {

struct SplitInfo {
  std::int64_t no = 0;                    // split.no, from 0
  std::int64_t count = 1;                 // split.count; 1 for a file that is not split
  std::optional<std::int64_t> n_tensors;  // split.tensors.count: in all parts together
};

// What the part's metadata says; a file without split.count (or with 0) is a whole one.
SplitInfo split_info(const GgufPart& part, const std::string& path);

// The path of part `no` (from 0) of the model that `path` is a part of, as `info` says; throws when `path` is
// not named after its place in the split.
std::string split_path(const std::string& path, const SplitInfo& info, std::int64_t no);

}  // namespace spectralkv
