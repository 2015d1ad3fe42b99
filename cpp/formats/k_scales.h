// The 6-bit scales and minimums that q4_k and q5_k share: eight of each in 12 bytes.
//
// Bytes 0-3 hold scales 0-3 and bytes 4-7 minimums 0-3 in their low six bits. The top two bits of bytes 0-3
// are bits 4 and 5 of scales 4-7, those of bytes 4-7 are bits 4 and 5 of minimums 4-7. Byte 8 + i holds the
// low four bits of scale 4 + i in its low half and of minimum 4 + i in its high half.
#pragma once

#include <stdint.h>

#include "base/host_device.h"

SKV_HD static inline void skv_unpack_k_scales(const uint8_t packed[12], uint8_t scale[8],
                                              uint8_t minimum[8]) {
  for (int i = 0; i < 4; ++i) {
    const int s = packed[i], m = packed[i + 4], low = packed[i + 8];
    scale[i] = (uint8_t)(s & 63);
    minimum[i] = (uint8_t)(m & 63);
    scale[i + 4] = (uint8_t)((low & 15) | (s >> 6) << 4);
    minimum[i + 4] = (uint8_t)((low >> 4) | (m >> 6) << 4);
  }
}

// The same as form.h has them: scale and minimum of a group behind each other.
SKV_HD static inline void skv_k_scales_in_pairs(const uint8_t packed[12], uint8_t fine[16]) {
  uint8_t scale[8], minimum[8];
  skv_unpack_k_scales(packed, scale, minimum);
  for (int g = 0; g < 8; ++g) {
    fine[2 * g] = scale[g];
    fine[2 * g + 1] = minimum[g];
  }
}
