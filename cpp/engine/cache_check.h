// Whether a cache type suits a model's keys, estimated from its weights before anything is read.
#pragma once

#include <cstdint>
#include <string>

#include "engine/engine.h"
#include "kv/cache_format.h"

namespace spectralkv {

struct KeyLoss {
  double divergence = 0;   // of attention over a block, compressed from exact; nats
  std::int64_t layer = 0;  // where it is largest
};

// Biases of keys are what all keys of a head share, and in some models they are so large that a codec's
// rounding loses what tells keys apart. Keys and queries are drawn as their biases and weights have them, go
// through the codec, and attention over them is compared. Models without such biases have no loss here.
KeyLoss estimate_key_loss(const Engine& engine, const CacheFormat& format);

// A line for the user when a cache so stored loses the model; else "".
std::string cache_warning(const Engine& engine, const CacheFormat& format);

}  // namespace spectralkv
