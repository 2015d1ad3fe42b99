// How `perplexity` shows what it measured.
#pragma once

#include <string>

#include "measure/perplexity.h"

namespace spectralkv {

// "4.2997 +/- 0.0213".
std::string estimate_text(const Estimate& e, int digits);
// Lines of the comparison with the base cache; the result must have one.
std::string comparison_text(const PerplexityResult& r);
// One object; what was not measured is null.
std::string result_json(const PerplexityResult& r, Protocol protocol);

}  // namespace spectralkv
