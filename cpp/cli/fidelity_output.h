// How `fidelity` shows what it measured.
#pragma once

#include <string>

#include "measure/fidelity.h"

namespace spectralkv {

// A line for K and one for V of each layer, means over its heads, and the means over all; heads: a line for
// each KV head. With all codecs a second table follows, a line for each codec.
std::string fidelity_table(const FidelityResult& result, bool heads);

// One object with everything: "mean", "layers" (each with "k" and "v", their means and "heads", each head
// with its ranks and the spectrum that was kept) and "codecs" (empty unless all were measured).
std::string fidelity_json(const FidelityResult& result, const std::string& model, const std::string& text);

}  // namespace spectralkv
