// The exact codecs: rows as f32 or f16, back to back.
#pragma once

#include <memory>

#include "kv/codec.h"

namespace spectralkv {

std::unique_ptr<Codec> make_f32_codec(std::int64_t head_dim);
std::unique_ptr<Codec> make_f16_codec(std::int64_t head_dim);

}  // namespace spectralkv
