// The search of iq4_nl and iq4_xs: groups of 32 values that are one scale times levels of a table.
#pragma once

#include <cmath>

#include "formats/encode_search.h"
#include "formats/form.h"

namespace spectralkv::encode {

// FORM's levels rise, from -127 or so to somewhat less than its opposite.
template <const skv_form& FORM>
struct TableSteps {
  static constexpr int kGroup = 32, kLevels = 16;

  // The levels, and the middle between each and the one before.
  struct Steps {
    float level[kLevels], middle[kLevels];
  };
  static constexpr Steps steps() {
    Steps all{};
    for (int i = 0; i < kLevels; ++i) {
      all.level[i] = FORM.levels[i];
      if (i > 0) all.middle[i] = 0.5f * (all.level[i - 1] + all.level[i]);
    }
    return all;
  }

  // For each value of y, in units of the scale, the level next to it; or where `places`, its place in the
  // table.
  template <bool places>
  static void nearest_levels(const Lanes& y, Lanes& out) {
    static constexpr Steps all = steps();
    out = Lanes{} + (places ? 0.0f : all.level[0]);
#pragma GCC unroll 1  // it is compiled into many places
    for (int i = 1; i < kLevels; ++i) {
      const Lanes middle = Lanes{} + all.middle[i],
                  next = Lanes{} + (places ? static_cast<float>(i) : all.level[i]);
      out = y > middle ? next : out;
    }
  }

  static float error(const float* x, const float* w, float scale) {
    const float inv = inverse(scale);
    Lanes sum{};
    for (int i = 0; i < kGroup; i += kLanes) {
      Lanes values, weights, level;
      load(x + i, values);
      load(w + i, weights);
      nearest_levels<false>(values * inv, level);
      const Lanes miss = values - scale * level;
      sum += weights * (miss * miss);
    }
    return total(sum);
  }

  static void levels(const float* x, float scale, float* level) {
    write<false>(x, scale, level);
  }

  static void codes(const float* x, float scale, int* code) {
    float place[kGroup];
    write<true>(x, scale, place);
    for (int i = 0; i < kGroup; ++i) code[i] = static_cast<int>(place[i]);
  }

  // The scale, of either sign, that loses least: the extreme value is laid on a row of places around the
  // first and the last level, and the best of these is fitted again until its levels stay.
  static float best_scale(const float* x, const float* w) {
    float extreme = 0;
    for (int i = 0; i < kGroup; ++i) extreme = std::fabs(x[i]) > std::fabs(extreme) ? x[i] : extreme;
    if (inverse(extreme) == 0) return 0;
    float best_gain = -1, best = 0;  // gain: how much the squared error falls below that of all zeros
    const auto consider = [&](float inv) {
      Lanes ll{}, xl{};
      for (int i = 0; i < kGroup; i += kLanes) {
        Lanes values, weights, level;
        load(x + i, values);
        load(w + i, weights);
        nearest_levels<false>(values * inv, level);
        ll += weights * (level * level);
        xl += weights * (values * level);
      }
      const float levels = total(ll), values = total(xl);
      if (!(levels > 0)) return;
      const float gain = values * (values / levels);
      if (gain > best_gain) best_gain = gain, best = values / levels;
    };
    for (const int side : {0, kLevels - 1}) {
      const float last = FORM.levels[side];
      for (int s = 0; s < kSteps; ++s)  // from a quarter inside the table to as much as cuts the extreme
        consider(last * (0.76f + 0.48f * static_cast<float>(s) / (kSteps - 1)) / extreme);
    }
    for (int again = 0; again < 3; ++again) {
      const float before = best;
      consider(inverse(best));
      if (best == before) break;
    }
    return best;
  }

 private:
  static constexpr int kSteps = 13;

  template <bool places>
  static void write(const float* x, float scale, float* out) {
    const float inv = inverse(scale);
    for (int i = 0; i < kGroup; i += kLanes) {
      Lanes values, found;
      load(x + i, values);
      nearest_levels<places>(values * inv, found);
      __builtin_memcpy(out + i, &found, sizeof(found));
    }
  }
};

}  // namespace spectralkv::encode
