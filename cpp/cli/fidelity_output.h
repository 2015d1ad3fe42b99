// How `fidelity` shows what it measured.
#pragma once

#include <string>

#include "engine/fidelity.h"

namespace spectralkv {

// A line for K and one for V of each layer, means over its heads, and the means over all; heads: a line for
// each KV head. With all codecs a second table follows, a line for each codec.
std::string fidelity_table(const FidelityResult& result, bool heads);

// One object with everything, every head and the spectra that were kept; README.md names its keys.
std::string fidelity_json(const FidelityResult& result, const std::string& model);

}  // namespace spectralkv
