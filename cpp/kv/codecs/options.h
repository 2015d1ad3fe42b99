// What the specs of lossy codecs have in common: where tokens stand, and text that leaves defaults out.
#pragma once

#include <string>

#include "kv/codecs.h"

namespace spectralkv {

// Takes block=, sink= and window=; what is absent comes from `defaults`. At least one token of the first
// block must be no sink.
CacheLayout take_layout(CodecSpec& spec, const CacheLayout& defaults);

// ",sink=4" and so on: what differs from the defaults.
std::string layout_text(const CacheLayout& layout, const CacheLayout& defaults);

// The names of those options, for messages.
inline constexpr const char* kLayoutOptions = "sink, window, block";

// Refuses head dims that packed codes do not fit: all but the multiples of 16 up to 4096.
void check_head_dim(const CodecSpec& spec, std::int64_t head_dim);

}  // namespace spectralkv
