// What a block holds, and what another device has to know of a codec to write and read it.
#pragma once

#include "formats/coded_block.h"
#include "quant/rotation.h"
#include "quant/turboquant.h"
#include "spectral/loss.h"
#include "tensor/matrix.h"

namespace spectralkv {

// What a block holds. Blocks of keys are scored and those of values mixed; a codec may store them differently
// so that its own product is fast. Either can do both.
enum class KvSide { keys, values };

struct CodecForm {
  // other: one that only its own object knows. codes: eoptshrinkq and, at rank 0, turboquant. trellis: the
  // same with trellis codes.
  enum class Kind { other, f32, f16, q8_0, q4_0, kivi, codes, trellis };
  Kind kind = Kind::other;
  bool rotated = false;
  RotationKind rotation = RotationKind::haar;
  int bits = 0;  // of kivi, codes and trellis
  // Of codes and trellis:
  SkvCodeOrder order = kSkvCodeRows;
  int factor_bits = 0;
  bool factor = false;  // may have a low-rank part
  Loss loss = Loss::truncate;
  bool closed_loop = true;
  RowScale scale = RowScale::norm;
  bool byte_scales = false;  // of rows (formats/coded_block.h)
  int second_rows = 0;       // of a block, at most, that have a second stage
  // [d, d], as CodecSpace has them where a metric stretches head space; null data: the rotation is all. They
  // belong to the codec.
  ConstMatrix place{}, enter{};
};

}  // namespace spectralkv
