// Trellis codes (formats/trellis.h) for sixteen rows: the search of trellis_*.h around a ring.

namespace {

// state[row], at the end of `from` steps, becomes what the search had at the start of step `to`; codes,
// unless it is null: [from][16] out, from step `to` on.
inline void trace_trellis(const TrellisStep* path, int64_t from, int64_t to, uint8_t* state, uint8_t* codes) {
  for (int64_t t = from - 1; t >= to; --t)
    for (int row = 0; row < 16; ++row) {
      const unsigned s = state[row];
      const unsigned window = s | (path[t].back[s / 16][row] >> (15 - s % 16) & 1u) << kSkvTrellisMemory;
      state[row] = (uint8_t)(window >> 1);
      if (codes == nullptr) continue;
      const unsigned sums = kTrellisSums.of[window], own = path[t].own[row] >> sums & 1u;
      codes[16 * t + row] = (uint8_t)((own << 1 | (s & 1u)) | (own << 3 | sums) << 4);
    }
}

static_assert(sizeof(TrellisStep) == 160 && kTrellisSeam == 32, "trellis_work");

void trellis_codes(const int8_t* x, int64_t steps, uint8_t* codes, uint8_t* work) {
  auto* const path = (TrellisStep*)work;
  uint8_t seam[16] = {}, end[16];
  if (steps >= kSkvTrellisMemory) {  // else only paths of zeros close
    int8_t around[2 * kTrellisSeam * 16];
    const int64_t first = steps - kTrellisSeam % steps;
    for (int64_t i = 0; i < 2 * kTrellisSeam; ++i) memcpy(around + 16 * i, x + (first + i) % steps * 16, 16);
    search_trellis(around, 2 * kTrellisSeam, nullptr, path, seam);
    trace_trellis(path, 2 * kTrellisSeam, kTrellisSeam, seam, nullptr);
  }
  search_trellis(x, steps, seam, path, nullptr);
  memcpy(end, seam, sizeof end);
  trace_trellis(path, steps, 0, end, codes);
}

}  // namespace
