// The options of sampling, with llama.cpp's names, aliases and defaults.
#pragma once

#include <vector>

#include "cli/args.h"
#include "engine/sampling_options.h"

namespace spectralkv {

// The rows write into `options`; which values make sense is check_sampling's matter.
std::vector<Option> sampling_rows(SamplingOptions& options);

// "15043+1.5", "15043-inf": a token id and what is added to its logit.
std::pair<Token, float> parse_logit_bias(const std::string& text);

// "sampling: seed 5, temp 0.8, top-k 40, ...": the options that are on, or "sampling: greedy".
std::string sampling_line(const SamplingOptions& options);

}  // namespace spectralkv
