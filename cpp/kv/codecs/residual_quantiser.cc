// The defaults of residual_quantiser.h.
#include "kv/codecs/residual_quantiser.h"

#include <cassert>

namespace spectralkv {

bool ResidualQuantiser::valid(const std::byte*, std::int64_t n, std::int64_t bytes) const {
  return bytes == max_bytes(n);
}

void ResidualQuantiser::describe(CodecForm&) const {}

void ResidualQuantiser::add_score(const std::byte*, std::int64_t, float, const Queries&, Matrix,
                                  CodecWork&) const {
  assert(!"a quantiser that does not score");
}

void ResidualQuantiser::add_mix(const std::byte*, std::int64_t, float, ConstMatrix, Matrix,
                                CodecWork&) const {
  assert(!"a quantiser that does not mix");
}

}  // namespace spectralkv
