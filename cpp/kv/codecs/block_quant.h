// q8_0 and q4_0: rows in small blocks under one f16 scale each, as GGUF stores weights.
#pragma once

#include "kv/codecs.h"

namespace spectralkv {

BuiltCodec build_q8_0(CodecSpec& spec, const CodecPlace& place);
BuiltCodec build_q4_0(CodecSpec& spec, const CodecPlace& place);

inline constexpr std::string_view kBlockQuantOptions = "rotation=none|hadamard|haar, sink, window, block";

}  // namespace spectralkv
