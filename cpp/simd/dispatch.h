// Picks the kernels for this processor.
#pragma once

#include <string>
#include <vector>

#include "simd/kernels.h"

namespace spectralkv {

// The best that this processor runs, or the one that SPECTRALKV_SIMD names (a Kernels::name; an error
// when the name is unknown or the processor cannot run it). Chosen at the first call.
const simd::Kernels& kernels();

// All that this processor runs, best first.
std::vector<const simd::Kernels*> usable_kernels();

}  // namespace spectralkv
