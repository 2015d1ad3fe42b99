// Weight rows as the matmul reads them: block(r, b, ...) gives values 32 b to 32 b + 31 of row r as two
// vectors. The decoded values equal those of formats/ to the bit: a multiply, then an add, each rounded.

namespace {

struct F32Rows {
  static constexpr bool kDirect = true, kAnyLength = true;
  const float* p[4];
  void set(int r, const void* row) { p[r] = (const float*)row; }
  void block(int r, int64_t b, Vec* low, Vec* high) const {
    *low = vec_load(p[r] + 32 * b);
    *high = vec_load(p[r] + 32 * b + 16);
  }
};

struct F16Rows {
  static constexpr bool kDirect = true, kAnyLength = false;
  const uint16_t* p[4];
  void set(int r, const void* row) { p[r] = (const uint16_t*)row; }
  void block(int r, int64_t b, Vec* low, Vec* high) const {
    *low = vec_load_f16(p[r] + 32 * b);
    *high = vec_load_f16(p[r] + 32 * b + 16);
  }
};

struct Bf16Rows {
  static constexpr bool kDirect = true, kAnyLength = false;
  const uint16_t* p[4];
  void set(int r, const void* row) { p[r] = (const uint16_t*)row; }
  void block(int r, int64_t b, Vec* low, Vec* high) const {
    *low = vec_load_bf16(p[r] + 32 * b);
    *high = vec_load_bf16(p[r] + 32 * b + 16);
  }
};

struct Q8_0Rows {  // f16 scale, 32 signed bytes
  static constexpr bool kDirect = true, kAnyLength = false;
  const uint8_t* p[4];
  void set(int r, const void* row) { p[r] = (const uint8_t*)row; }
  void block(int r, int64_t b, Vec* low, Vec* high) const {
    const uint8_t* q = p[r] + 34 * b;
    const Vec d = vec_set1_f16(q);
    *low = vec_mul(d, vec_load_i8((const int8_t*)(q + 2)));
    *high = vec_mul(d, vec_load_i8((const int8_t*)(q + 18)));
  }
};

struct Q4_0Rows {  // f16 scale, 16 bytes of nibbles: value i in the low one, i + 16 in the high one, less 8
  static constexpr bool kDirect = true, kAnyLength = false;
  const uint8_t* p[4];
  void set(int r, const void* row) { p[r] = (const uint8_t*)row; }
  void block(int r, int64_t b, Vec* low, Vec* high) const {
    const uint8_t* q = p[r] + 18 * b;
    const Vec d = vec_set1_f16(q);
    vec_lookup_nibbles(q + 2, vec_mul(d, vec_sub(vec_iota(), vec_set1(8.0f))), low, high);
  }
};

struct Q4_1Rows {  // f16 scale, f16 minimum, 16 bytes of nibbles
  static constexpr bool kDirect = true, kAnyLength = false;
  const uint8_t* p[4];
  void set(int r, const void* row) { p[r] = (const uint8_t*)row; }
  void block(int r, int64_t b, Vec* low, Vec* high) const {
    const uint8_t* q = p[r] + 20 * b;
    const Vec d = vec_set1_f16(q), m = vec_set1_f16(q + 2);
    vec_lookup_nibbles(q + 4, vec_add(vec_mul(d, vec_iota()), m), low,
                       high);  // the block's 16 possible values
  }
};

struct NoRows {
  static constexpr bool kDirect = false;
};

// The reader of a type's rows, by its block; a type that is not named here has none.
template <class Rows>
struct As {
  typedef Rows Type;
};
template <class Block>
struct RowsOf : As<NoRows> {};
template <>
struct RowsOf<skv_block_f32> : As<F32Rows> {};
template <>
struct RowsOf<skv_block_f16> : As<F16Rows> {};
template <>
struct RowsOf<skv_block_bf16> : As<Bf16Rows> {};
template <>
struct RowsOf<skv_block_q8_0> : As<Q8_0Rows> {};
template <>
struct RowsOf<skv_block_q4_0> : As<Q4_0Rows> {};
template <>
struct RowsOf<skv_block_q4_1> : As<Q4_1Rows> {};

}  // namespace
