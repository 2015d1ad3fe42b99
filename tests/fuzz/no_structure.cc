// For targets whose inputs have no structure that a change of their bytes would not keep.
#include "fuzz/fuzz.h"

std::optional<std::string> fuzz_restructured(const std::string&, std::uint64_t) {
  return std::nullopt;
}
