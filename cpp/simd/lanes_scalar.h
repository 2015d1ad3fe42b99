// Eight doubles, one a lane: plain loops. This file says what each function means; lanes_avx2.h and
// lanes_avx512.h differ in that a product and a sum are rounded once.
#pragma once

#include <math.h>
#include <stdint.h>

namespace {

struct Lanes {
  double v[8];
};
struct LaneMask {
  bool v[8];
};

template <class F>
inline Lanes lanes_each(F f) {
  Lanes r;
  for (int l = 0; l < 8; ++l) r.v[l] = f(l);
  return r;
}

inline Lanes lanes_load(const double* p) {
  return lanes_each([&](int l) { return p[l]; });
}
inline void lanes_store(double* p, const Lanes& x) {
  for (int l = 0; l < 8; ++l) p[l] = x.v[l];
}
inline Lanes lanes_set1(double x) {
  return lanes_each([&](int) { return x; });
}
inline Lanes operator+(const Lanes& a, const Lanes& b) {
  return lanes_each([&](int l) { return a.v[l] + b.v[l]; });
}
inline Lanes operator-(const Lanes& a, const Lanes& b) {
  return lanes_each([&](int l) { return a.v[l] - b.v[l]; });
}
inline Lanes operator*(const Lanes& a, const Lanes& b) {
  return lanes_each([&](int l) { return a.v[l] * b.v[l]; });
}
inline Lanes operator/(const Lanes& a, const Lanes& b) {
  return lanes_each([&](int l) { return a.v[l] / b.v[l]; });
}
// a b + c.
inline Lanes lanes_fma(const Lanes& a, const Lanes& b, const Lanes& c) {
  return lanes_each([&](int l) { return a.v[l] * b.v[l] + c.v[l]; });
}
// c - a b.
inline Lanes lanes_fnma(const Lanes& a, const Lanes& b, const Lanes& c) {
  return lanes_each([&](int l) { return c.v[l] - a.v[l] * b.v[l]; });
}
inline Lanes lanes_sqrt(const Lanes& x) {
  return lanes_each([&](int l) { return sqrt(x.v[l]); });
}
inline LaneMask operator>(const Lanes& a, const Lanes& b) {
  LaneMask m;
  for (int l = 0; l < 8; ++l) m.v[l] = a.v[l] > b.v[l];
  return m;
}
inline LaneMask operator==(const Lanes& a, const Lanes& b) {
  LaneMask m;
  for (int l = 0; l < 8; ++l) m.v[l] = a.v[l] == b.v[l];
  return m;
}
// yes where m holds, else no.
inline Lanes lanes_select(const LaneMask& m, const Lanes& yes, const Lanes& no) {
  return lanes_each([&](int l) { return m.v[l] ? yes.v[l] : no.v[l]; });
}

}  // namespace
