// Symmetric eigenproblems in lanes (symmetric.h).
#include "simd/symmetric.h"

#include <math.h>

namespace {

using spectralkv::simd::kLanes;

inline Lanes lanes_abs(Lanes x) {
  const Lanes negative = lanes_set1(0.0) - x;
  return lanes_select(negative > x, negative, x);
}
inline Lanes lanes_max(Lanes a, Lanes b) {
  return lanes_select(a > b, a, b);
}

// Columns j to j + 3 of the product against all columns from j's eight on, two vectors of eight at a time.
void gram(const double* x, int64_t rows, int64_t ld, int64_t n, double* a, int64_t lane, double* work) {
  for (int64_t j = 0; j < n; j += 4) {
    for (int64_t i = j / 8 * 8; i < ld; i += 16) {
      const int64_t second = i + 8 < ld ? 8 : 0;  // at the end the first vector once more
      Lanes acc[4][2];
      for (auto& row : acc) row[0] = row[1] = lanes_set1(0.0);
      for (int64_t t = 0; t < rows; ++t) {
        const double* at = x + t * ld;
        const Lanes right[2] = {lanes_load(at + i), lanes_load(at + i + second)};
        for (int c = 0; c < 4; ++c) {
          const Lanes left = lanes_set1(at[j + c]);  // ld is a multiple of 4, too
          acc[c][0] = lanes_fma(left, right[0], acc[c][0]);
          acc[c][1] = lanes_fma(left, right[1], acc[c][1]);
        }
      }
      for (int c = 0; c < 4; ++c) {
        lanes_store(work + c * ld + i, acc[c][0]);
        lanes_store(work + c * ld + i + second, acc[c][1]);
      }
    }
    for (int64_t c = 0; c < 4 && j + c < n; ++c)
      for (int64_t i = j + c; i < n; ++i) a[((j + c) * n + i) * kLanes + lane] = work[c * ld + i];
  }
}

// Vectors of lanes at p.
inline Lanes get(const double* p, int64_t i) {
  return lanes_load(p + i * kLanes);
}
inline void put(double* p, int64_t i, Lanes x) {
  lanes_store(p + i * kLanes, x);
}

// Makes the vector of a reflection from row[k + 1 ...] in place, v[k + 1] = 1; returns its factor, and the
// entry that is left.
inline Lanes reflector(double* row, int64_t k, int64_t n, Lanes* left) {
  const Lanes zero = lanes_set1(0.0), one = lanes_set1(1.0), first = get(row, k + 1);
  Lanes rest = zero;
  for (int64_t i = k + 2; i < n; ++i) rest = lanes_fma(get(row, i), get(row, i), rest);
  const Lanes norm = lanes_sqrt(lanes_fma(first, first, rest));
  const LaneMask nothing = rest == zero;  // is zero already
  const Lanes beta = lanes_select(nothing, first, lanes_select(first > zero, zero - norm, norm));
  const Lanes scale = lanes_select(nothing, zero, one / lanes_select(nothing, one, first - beta));
  for (int64_t i = k + 2; i < n; ++i) put(row, i, get(row, i) * scale);
  put(row, k + 1, one);
  *left = beta;
  return lanes_select(nothing, zero, (beta - first) / lanes_select(nothing, one, beta));
}

// One pass over the rows from `first` on takes off v w^T + w v^T, where there is one, and adds up p = A x for
// the next reflection's x.
inline void update_and_multiply(double* a, int64_t n, int64_t first, const double* v, const double* w,
                                const double* x, double* p) {
  const Lanes zero = lanes_set1(0.0);
  for (int64_t i = first; i < n; ++i) put(p, i, zero);
  for (int64_t j = first; j < n; ++j) {
    double* row = a + j * n * kLanes;
    const Lanes xj = get(x, j);
    Lanes sum = zero;
    if (v == nullptr) {
      sum = get(row, j) * xj;
      for (int64_t i = j + 1; i < n; ++i) {
        const Lanes value = get(row, i);
        sum = lanes_fma(value, get(x, i), sum);
        put(p, i, lanes_fma(value, xj, get(p, i)));
      }
    } else {
      const Lanes vj = get(v, j), wj = get(w, j);
      Lanes value = lanes_fnma(wj, vj, lanes_fnma(vj, wj, get(row, j)));
      put(row, j, value);
      sum = value * xj;
      for (int64_t i = j + 1; i < n; ++i) {
        value = lanes_fnma(wj, get(v, i), lanes_fnma(vj, get(w, i), get(row, i)));
        put(row, i, value);
        sum = lanes_fma(value, get(x, i), sum);
        put(p, i, lanes_fma(value, xj, get(p, i)));
      }
    }
    put(p, j, get(p, j) + sum);
  }
}

void tridiagonalize(double* a, int64_t n, double* diagonal, double* off, double* tau, double* work) {
  const Lanes half = lanes_set1(0.5);
  const double* v = nullptr;  // of the step before: row k - 1 of a
  double *w = work, *p = work + n * kLanes;
  for (int64_t k = 0; k < n; ++k) {
    double* row = a + k * n * kLanes;
    if (v != nullptr) {
      const Lanes vk = get(v, k), wk = get(w, k);
      for (int64_t i = k; i < n; ++i)
        put(row, i, lanes_fnma(wk, get(v, i), lanes_fnma(vk, get(w, i), get(row, i))));
    }
    put(diagonal, k, get(row, k));
    put(tau, k, lanes_set1(0.0));
    if (k + 1 == n) break;
    Lanes left = get(row, k + 1);
    const Lanes factor = reflector(row, k, n, &left);
    put(off, k, left);
    put(tau, k, factor);
    update_and_multiply(a, n, k + 1, v, w, row, p);
    Lanes dot = lanes_set1(0.0);
    for (int64_t i = k + 1; i < n; ++i) dot = lanes_fma(get(p, i), get(row, i), dot);
    const Lanes share = half * factor * factor * dot;
    for (int64_t i = k + 1; i < n; ++i) put(p, i, lanes_fnma(share, get(row, i), factor * get(p, i)));
    v = row;
    double* const old = w;
    w = p;
    p = old;
  }
}

void apply_reflectors(const double* a, const double* tau, int64_t n, double* x) {
  for (int64_t k = n - 2; k >= 0; --k) {
    const double* v = a + k * n * kLanes;
    Lanes dot = lanes_set1(0.0);
    for (int64_t i = k + 1; i < n; ++i) dot = lanes_fma(get(v, i), get(x, i), dot);
    dot = dot * get(tau, k);
    for (int64_t i = k + 1; i < n; ++i) put(x, i, lanes_fnma(dot, get(v, i), get(x, i)));
  }
}

// The part of each lane's matrix that is not diagonal yet: it ends at row `end`, and its last part that hangs
// together begins at row `begin`. Row numbers are doubles: they are compared in lanes.
struct Parts {
  double begin[kLanes], end[kLanes];
};

// Looks for them in squared off-diagonals; false when nothing is left.
inline bool find_parts(const double* off2, int64_t n, const double* smallest, Parts* parts) {
  const Lanes least = lanes_load(smallest);
  Lanes begin = lanes_set1(0.0), end = begin;
  for (int64_t i = 0; i + 1 < n; ++i) {
    const LaneMask joined = get(off2, i) > least;
    const Lanes next = lanes_set1((double)(i + 1)), here = lanes_set1((double)i);
    // A part begins where the one before has ended.
    begin = lanes_select(joined, lanes_select(lanes_set1((double)i) > end, here, begin), begin);
    end = lanes_select(joined, next, end);
  }
  lanes_store(parts->begin, begin);
  lanes_store(parts->end, end);
  for (int l = 0; l < kLanes; ++l)
    if (parts->end[l] > 0) return true;
  return false;
}

// One QR step with Wilkinson's shift on each lane's part.
inline void qr_step(double* d, double* off2, const Parts& parts) {
  // Below tiny a cosine counts as 0: the quotient 1 / c is near overflow there, and p near its limit.
  const Lanes zero = lanes_set1(0.0), one = lanes_set1(1.0), tiny = lanes_set1(1e-200);
  const Lanes begin = lanes_load(parts.begin), end = lanes_load(parts.end);
  double shifts[kLanes];
  int64_t first = INT64_MAX, last = 0;
  for (int64_t l = 0; l < kLanes; ++l) {
    const int64_t m = (int64_t)parts.end[l];
    shifts[l] = 0;
    if (m == 0) continue;
    if ((int64_t)parts.begin[l] < first) first = (int64_t)parts.begin[l];
    if (m > last) last = m;
    const double low = d[m * kLanes + l], e2 = off2[(m - 1) * kLanes + l], e = sqrt(e2);
    const double sigma = (d[(m - 1) * kLanes + l] - low) / (2 * e), r = sqrt(sigma * sigma + 1);
    shifts[l] = low - e / (sigma + (sigma < 0 ? -r : r));
  }
  const Lanes shift = lanes_load(shifts);
  Lanes c = one, s = zero, gamma = zero, p = zero;
  for (int64_t i = first; i < last; ++i) {
    const Lanes here = lanes_set1((double)i);
    const LaneMask starts = here == begin, started = here > begin, running = end > here;
    const Lanes di = get(d, i), e2 = get(off2, i), next = get(d, i + 1);
    gamma = lanes_select(starts, di - shift, gamma);
    p = lanes_select(starts, gamma * gamma, p);
    c = lanes_select(starts, one, c);
    s = lanes_select(starts, zero, s);
    const Lanes r = p + e2;
    if (i > first) {
      const Lanes before = get(off2, i - 1);
      put(off2, i - 1, lanes_select(started, lanes_select(running, s * r, before), before));
    }
    const LaneMask some = r > zero;
    const Lanes inverse = one / lanes_select(some, r, one);
    const Lanes c_new = lanes_select(some, p * inverse, one), s_new = lanes_select(some, e2 * inverse, zero);
    const LaneMask turned = c_new > tiny;
    const Lanes one_by_c = lanes_select(some, r, one) / lanes_select(turned, lanes_select(some, p, one), one);
    const Lanes gamma_new = c_new * (next - shift) - s_new * gamma;
    const Lanes d_new = gamma + (next - gamma_new);
    const Lanes p_new = lanes_select(turned, gamma_new * gamma_new * one_by_c, c * e2);
    // Lanes whose part does not reach here keep what they have.
    const LaneMask active = lanes_select(running, here + one, zero) > begin;
    put(d, i, lanes_select(active, d_new, di));
    c = lanes_select(active, c_new, c);
    s = lanes_select(active, s_new, s);
    gamma = lanes_select(active, gamma_new, gamma);
    p = lanes_select(active, p_new, p);
  }
  double sp[kLanes], g[kLanes];
  lanes_store(sp, s * p);
  lanes_store(g, gamma);
  for (int64_t l = 0; l < kLanes; ++l) {
    const int64_t m = (int64_t)parts.end[l];
    if (m == 0) continue;
    off2[(m - 1) * kLanes + l] = sp[l];
    d[m * kLanes + l] = shifts[l] + g[l];
  }
}

bool tridiagonal_eigenvalues(double* d, double* off, int64_t n) {
  constexpr double kEpsilon = 0x1p-52;
  Lanes largest = lanes_abs(get(d, n - 1));
  for (int64_t i = 0; i + 1 < n; ++i)
    largest = lanes_max(largest, lanes_max(lanes_abs(get(d, i)), lanes_abs(get(off, i))));
  for (int64_t i = 0; i + 1 < n; ++i) put(off, i, get(off, i) * get(off, i));
  const Lanes least = lanes_set1(kEpsilon) * largest;
  double smallest[kLanes];
  lanes_store(smallest, least * least);
  Parts parts;
  for (int64_t steps = 30 * n; find_parts(off, n, smallest, &parts); --steps) {
    if (steps == 0) return false;
    qr_step(d, off, parts);
  }
  return true;
}

constexpr spectralkv::simd::SymmetricKernels kSymmetric = {gram, tridiagonalize, tridiagonal_eigenvalues,
                                                           apply_reflectors};

}  // namespace
