// Eight doubles in two AVX2 registers; lanes_scalar.h says what each function means.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace {

struct Lanes {
  __m256d a, b;
};
struct LaneMask {
  __m256d a, b;
};

inline Lanes lanes_load(const double* p) {
  return {_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)};
}
inline void lanes_store(double* p, Lanes x) {
  _mm256_storeu_pd(p, x.a);
  _mm256_storeu_pd(p + 4, x.b);
}
inline Lanes lanes_set1(double x) {
  return {_mm256_set1_pd(x), _mm256_set1_pd(x)};
}
inline Lanes operator+(Lanes x, Lanes y) {
  return {_mm256_add_pd(x.a, y.a), _mm256_add_pd(x.b, y.b)};
}
inline Lanes operator-(Lanes x, Lanes y) {
  return {_mm256_sub_pd(x.a, y.a), _mm256_sub_pd(x.b, y.b)};
}
inline Lanes operator*(Lanes x, Lanes y) {
  return {_mm256_mul_pd(x.a, y.a), _mm256_mul_pd(x.b, y.b)};
}
inline Lanes operator/(Lanes x, Lanes y) {
  return {_mm256_div_pd(x.a, y.a), _mm256_div_pd(x.b, y.b)};
}
inline Lanes lanes_fma(Lanes x, Lanes y, Lanes z) {
  return {_mm256_fmadd_pd(x.a, y.a, z.a), _mm256_fmadd_pd(x.b, y.b, z.b)};
}
inline Lanes lanes_fnma(Lanes x, Lanes y, Lanes z) {
  return {_mm256_fnmadd_pd(x.a, y.a, z.a), _mm256_fnmadd_pd(x.b, y.b, z.b)};
}
inline Lanes lanes_sqrt(Lanes x) {
  return {_mm256_sqrt_pd(x.a), _mm256_sqrt_pd(x.b)};
}
inline LaneMask operator>(Lanes x, Lanes y) {
  return {_mm256_cmp_pd(x.a, y.a, _CMP_GT_OQ), _mm256_cmp_pd(x.b, y.b, _CMP_GT_OQ)};
}
inline LaneMask operator==(Lanes x, Lanes y) {
  return {_mm256_cmp_pd(x.a, y.a, _CMP_EQ_OQ), _mm256_cmp_pd(x.b, y.b, _CMP_EQ_OQ)};
}
inline Lanes lanes_select(LaneMask m, Lanes yes, Lanes no) {
  return {_mm256_blendv_pd(no.a, yes.a, m.a), _mm256_blendv_pd(no.b, yes.b, m.b)};
}

}  // namespace
