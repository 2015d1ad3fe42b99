// Eight doubles in one AVX-512 register; lanes_scalar.h says what each function means.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace {

struct Lanes {
  __m512d v;
};
struct LaneMask {
  __mmask8 v;
};

inline Lanes lanes_load(const double* p) {
  return {_mm512_loadu_pd(p)};
}
inline void lanes_store(double* p, Lanes x) {
  _mm512_storeu_pd(p, x.v);
}
inline Lanes lanes_set1(double x) {
  return {_mm512_set1_pd(x)};
}
inline Lanes operator+(Lanes a, Lanes b) {
  return {_mm512_add_pd(a.v, b.v)};
}
inline Lanes operator-(Lanes a, Lanes b) {
  return {_mm512_sub_pd(a.v, b.v)};
}
inline Lanes operator*(Lanes a, Lanes b) {
  return {_mm512_mul_pd(a.v, b.v)};
}
inline Lanes operator/(Lanes a, Lanes b) {
  return {_mm512_div_pd(a.v, b.v)};
}
inline Lanes lanes_fma(Lanes a, Lanes b, Lanes c) {
  return {_mm512_fmadd_pd(a.v, b.v, c.v)};
}
inline Lanes lanes_fnma(Lanes a, Lanes b, Lanes c) {
  return {_mm512_fnmadd_pd(a.v, b.v, c.v)};
}
inline Lanes lanes_sqrt(Lanes x) {
  return {_mm512_sqrt_pd(x.v)};
}
inline LaneMask operator>(Lanes a, Lanes b) {
  return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_GT_OQ)};
}
inline LaneMask operator==(Lanes a, Lanes b) {
  return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_EQ_OQ)};
}
inline Lanes lanes_select(LaneMask m, Lanes yes, Lanes no) {
  return {_mm512_mask_blend_pd(m.v, no.v, yes.v)};
}

}  // namespace
