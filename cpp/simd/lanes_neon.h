// Eight doubles in four NEON registers; lanes_scalar.h says what each function means.
#pragma once

#include <arm_neon.h>
#include <stdint.h>

namespace {

struct Lanes {
  float64x2_t a, b, c, d;
};
struct LaneMask {
  uint64x2_t a, b, c, d;
};

inline Lanes lanes_load(const double* p) {
  return {vld1q_f64(p), vld1q_f64(p + 2), vld1q_f64(p + 4), vld1q_f64(p + 6)};
}
inline void lanes_store(double* p, Lanes x) {
  vst1q_f64(p, x.a);
  vst1q_f64(p + 2, x.b);
  vst1q_f64(p + 4, x.c);
  vst1q_f64(p + 6, x.d);
}
inline Lanes lanes_set1(double x) {
  const float64x2_t all = vdupq_n_f64(x);
  return {all, all, all, all};
}
inline Lanes operator+(Lanes x, Lanes y) {
  return {vaddq_f64(x.a, y.a), vaddq_f64(x.b, y.b), vaddq_f64(x.c, y.c), vaddq_f64(x.d, y.d)};
}
inline Lanes operator-(Lanes x, Lanes y) {
  return {vsubq_f64(x.a, y.a), vsubq_f64(x.b, y.b), vsubq_f64(x.c, y.c), vsubq_f64(x.d, y.d)};
}
inline Lanes operator*(Lanes x, Lanes y) {
  return {vmulq_f64(x.a, y.a), vmulq_f64(x.b, y.b), vmulq_f64(x.c, y.c), vmulq_f64(x.d, y.d)};
}
inline Lanes operator/(Lanes x, Lanes y) {
  return {vdivq_f64(x.a, y.a), vdivq_f64(x.b, y.b), vdivq_f64(x.c, y.c), vdivq_f64(x.d, y.d)};
}
inline Lanes lanes_fma(Lanes x, Lanes y, Lanes z) {
  return {vfmaq_f64(z.a, x.a, y.a), vfmaq_f64(z.b, x.b, y.b), vfmaq_f64(z.c, x.c, y.c),
          vfmaq_f64(z.d, x.d, y.d)};
}
inline Lanes lanes_fnma(Lanes x, Lanes y, Lanes z) {
  return {vfmsq_f64(z.a, x.a, y.a), vfmsq_f64(z.b, x.b, y.b), vfmsq_f64(z.c, x.c, y.c),
          vfmsq_f64(z.d, x.d, y.d)};
}
inline Lanes lanes_sqrt(Lanes x) {
  return {vsqrtq_f64(x.a), vsqrtq_f64(x.b), vsqrtq_f64(x.c), vsqrtq_f64(x.d)};
}
inline LaneMask operator>(Lanes x, Lanes y) {
  return {vcgtq_f64(x.a, y.a), vcgtq_f64(x.b, y.b), vcgtq_f64(x.c, y.c), vcgtq_f64(x.d, y.d)};
}
inline LaneMask operator==(Lanes x, Lanes y) {
  return {vceqq_f64(x.a, y.a), vceqq_f64(x.b, y.b), vceqq_f64(x.c, y.c), vceqq_f64(x.d, y.d)};
}
inline Lanes lanes_select(LaneMask m, Lanes yes, Lanes no) {
  return {vbslq_f64(m.a, yes.a, no.a), vbslq_f64(m.b, yes.b, no.b), vbslq_f64(m.c, yes.c, no.c),
          vbslq_f64(m.d, yes.d, no.d)};
}

}  // namespace
