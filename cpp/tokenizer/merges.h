// The merges that a vocabulary lists, as a map from pairs of ids.
#pragma once

#include "tokenizer/token_map.h"

namespace spectralkv {

// Of vocab.merges, "left right" by rank. ids: the tokens that merging may take and give. A value error names
// the merge that is damaged or speaks of other tokens.
MergeMap read_merges(const Vocab& vocab, const TokenMap& ids);

}  // namespace spectralkv
