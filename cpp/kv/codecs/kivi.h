// kivi:B, for comparison: codes between a minimum and a maximum, keys by channel and values by token.
#pragma once

#include "kv/codecs.h"

namespace spectralkv {

// With one bit, a step may be beyond f16.
inline constexpr int kLeastKiviBits = 2;

BuiltCodec build_kivi(CodecSpec& spec, const CodecPlace& place);

}  // namespace spectralkv
