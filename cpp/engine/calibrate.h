// A model's calibration (kv/calibration.h): a text is read once with an exact cache, and what its heads are
// like is taken down.
#pragma once

#include <functional>
#include <span>

#include "engine/engine.h"
#include "kv/calibration.h"

namespace spectralkv {

struct CalibrateHooks {
  // Now and then: tokens read, then layers measured ("tokens", "layers"), of `total`.
  std::function<void(const char* unit, std::int64_t done, std::int64_t total)> progress;
  std::function<bool()> cancelled;
};

// Raised by whoever changes what a calibration of the same model comes to: the text, what is measured, or
// how. Kept ones of a lower number are then made anew, and the shipped ones have to be (docs/method.md).
inline constexpr std::int64_t kCalibrationMethod = 1;
inline constexpr std::int64_t kCalibrationTokens = 1536;  // of a text, at most
inline constexpr std::int64_t kLeastCalibration = 512;

// The text that is read where no other is given: prose, code, data and dialogue in several languages.
std::string_view calibration_text();

// Reads the first kCalibrationTokens of `tokens`. A value error where there are fewer than kLeastCalibration
// (or than the model's context allows), or a token is not in the vocabulary. Memory: an exact cache of the
// text, and second moments of queries, 8 n_layers n_kv_heads head_dim^2 bytes.
Calibration calibrate(Engine& engine, std::span<const Token> tokens, const CalibrateHooks& hooks);

}  // namespace spectralkv
