// Decoding and encoding in pieces of rows, which threads take as they come free.
#include "tensor/requantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/error.h"
#include "formats/encode.h"
#include "formats/formats.h"

namespace spectralkv {
namespace {

constexpr std::int64_t kPiece = 1 << 14;  // values, about; so that a piece stays in a core's cache

// A tensor cut into pieces: of a fixed size where every row is a multiple of all blocks, else of whole rows.
struct Pieces {
  std::int64_t values, count, total;

  explicit Pieces(const WeightView& w) : total(w.rows * w.cols) {
    constexpr std::int64_t kEveryBlock = 256;
    const std::int64_t whole_rows = std::max<std::int64_t>(1, kPiece / w.cols) * w.cols;
    values = w.cols % kEveryBlock == 0 ? kPiece : whole_rows;
    count = (total + values - 1) / values;
  }
  std::int64_t begin(std::int64_t piece) const { return piece * values; }
  std::int64_t size(std::int64_t piece) const { return std::min(values, total - piece * values); }
};

const std::byte* at_value(const WeightView& w, std::int64_t value) {
  return w.data + dtype_info(w.type).row_bytes(value);
}

// The largest magnitude that a type holds.
float largest_of(DType type) {
  return type == DType::f32 || type == DType::bf16 ? std::numeric_limits<float>::max() : kLargestEncoded;
}

[[noreturn]] void fail_value(const WeightView& w, std::int64_t at, float value, DType to) {
  const std::string place =
      concat("tensor '", w.name, "', row ", at / w.cols, ", column ", at % w.cols, ": ");
  if (!std::isfinite(value))
    fail(ErrorKind::value, "tensor", place, "the value is ", value, "; the weights are damaged");
  fail(ErrorKind::value, "tensor", place, "the value ", value, " is beyond what ", dtype_info(to).name,
       " can hold (", largest_of(to), "); bf16 and f32 can");
}

void check_values(const WeightView& w, std::int64_t begin, std::span<const float> values, DType to) {
  const float most = largest_of(to);
  bool fine = true;
  for (const float value : values) fine = fine & (std::fabs(value) <= most);  // NaN compares false
  if (fine) return;
  for (std::size_t i = 0; i < values.size(); ++i)
    if (!(std::fabs(values[i]) <= most)) fail_value(w, begin + static_cast<std::int64_t>(i), values[i], to);
}

// Whether no value of n at any address has all bits of its exponent set.
template <class Bits>
bool no_full_exponent(const std::byte* data, std::int64_t n, Bits exponent) {
  Bits found = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    Bits bits;
    std::memcpy(&bits, data + i * static_cast<std::int64_t>(sizeof(Bits)), sizeof(Bits));
    found = static_cast<Bits>(found | ((bits & exponent) == exponent ? 1 : 0));
  }
  return found == 0;
}

// A quick look that knows the plain types; false where it cannot tell.
bool finite_bits(DType type, const std::byte* data, std::int64_t n) {
  if (type == DType::bf16) return no_full_exponent<std::uint16_t>(data, n, 0x7f80);
  if (type == DType::f16) return no_full_exponent<std::uint16_t>(data, n, 0x7c00);
  if (type == DType::f32) return no_full_exponent<std::uint32_t>(data, n, 0x7f800000);
  return false;
}

// What errors of each column count, for each matrix: a mean of 1, and enough everywhere to determine scales.
class Importance {
 public:
  Importance(const WeightView& w, std::span<const float> given) : cols_(w.cols) {
    const auto size = static_cast<std::int64_t>(given.size());
    const std::int64_t matrices = size / cols_;
    check(size % cols_ == 0 && (matrices == 0 || w.rows % matrices == 0), "tensor", "tensor '", w.name,
          "': ", size, " numbers of importance for ", w.rows, " rows of ", cols_);
    values_.assign(given.begin(), given.end());
    if (matrices == 0) values_.assign(static_cast<std::size_t>(cols_), 1.0f);
    matrix_values_ = matrices == 0 ? w.rows * cols_ : w.rows / matrices * cols_;
    for (auto row = values_.begin(); matrices > 0 && row != values_.end(); row += cols_) normalise(w, row);
  }
  // Of the values from number `begin` of the tensor on.
  void write(std::int64_t begin, std::span<float> out) const {
    for (std::size_t i = 0; i < out.size();) {
      const std::int64_t at = begin + static_cast<std::int64_t>(i), column = at % cols_;
      const auto n = std::min(out.size() - i, static_cast<std::size_t>(cols_ - column));
      std::copy_n(values_.begin() + at / matrix_values_ * cols_ + column, n,
                  out.begin() + static_cast<std::ptrdiff_t>(i));
      i += n;
    }
  }

 private:
  using Row = std::vector<float>::iterator;

  void normalise(const WeightView& w, Row row) const {
    constexpr double kLeast = 1e-5;
    double sum = 0;
    for (std::int64_t c = 0; c < cols_; ++c) {
      check(std::isfinite(row[c]) && row[c] >= 0, "tensor", "tensor '", w.name, "', column ", c,
            ": the importance is ", row[c]);
      sum += static_cast<double>(row[c]);
    }
    const double mean = sum / static_cast<double>(cols_);
    for (std::int64_t c = 0; c < cols_; ++c)
      row[c] = mean > 0 ? static_cast<float>(std::max(static_cast<double>(row[c]) / mean, kLeast)) : 1.0f;
  }

  std::int64_t cols_, matrix_values_;
  std::vector<float> values_;
};

}  // namespace

std::int64_t requantized_bytes(const WeightView& from, DType to) {
  const DTypeInfo& info = dtype_info(to);
  check(from.cols % info.block_values == 0, "tensor", "tensor '", from.name, "': rows of ", from.cols,
        " values are no multiple of ", info.name, "'s block of ", info.block_values);
  return from.rows * info.row_bytes(from.cols);
}

void requantize(const WeightView& from, DType to, std::span<std::byte> out, ThreadPool& pool,
                std::span<const float> importance) {
  check(static_cast<std::int64_t>(out.size()) == requantized_bytes(from, to), "tensor", "tensor '", from.name,
        "': ", out.size(), " bytes were given for ", requantized_bytes(from, to));
  const DTypeInfo& target = dtype_info(to);
  check(from.type == to || !target.read_only, "tensor", "tensor '", from.name, "': type ", target.name,
        " is read and not written");
  if (from.rows * from.cols == 0) return;
  const Importance weights(from, importance);
  const Pieces pieces(from);
  std::vector<std::vector<float>> scratch(static_cast<std::size_t>(pool.size()));
  pool.for_each(pieces.count, [&](std::int64_t piece, int thread) {
    auto& values = scratch[static_cast<std::size_t>(thread)];
    const std::int64_t begin = pieces.begin(piece), n = pieces.size(piece);
    values.resize(static_cast<std::size_t>(2 * n));
    const std::span<float> piece_values(values.data(), static_cast<std::size_t>(n));
    const std::span<float> piece_weights(values.data() + n, static_cast<std::size_t>(n));
    kDecode[static_cast<int>(from.type)](at_value(from, begin), piece_values.data(), n);
    check_values(from, begin, piece_values, to);
    std::byte* target_row = out.data() + target.row_bytes(begin);
    if (from.type == to) {
      std::memcpy(target_row, at_value(from, begin), static_cast<std::size_t>(target.row_bytes(n)));
      return;
    }
    weights.write(begin, piece_weights);
    kEncode[static_cast<int>(to)](piece_values.data(), piece_weights.data(), target_row, n);
  });
}

void check_finite(const WeightView& w, ThreadPool& pool) {
  if (w.rows * w.cols == 0) return;
  const Pieces pieces(w);
  pool.for_each(pieces.count, [&](std::int64_t piece, int) {
    const std::int64_t begin = pieces.begin(piece), n = pieces.size(piece);
    if (finite_bits(w.type, at_value(w, begin), n)) return;
    std::vector<float> values(static_cast<std::size_t>(n));
    kDecode[static_cast<int>(w.type)](at_value(w, begin), values.data(), n);
    check_values(w, begin, values, DType::f32);
  });
}

Distortion distortion(const WeightView& a, const WeightView& b, ThreadPool& pool) {
  check(a.rows == b.rows && a.cols == b.cols, "tensor", "'", a.name, "' and '", b.name,
        "' differ in shape: ", a.rows, " x ", a.cols, " and ", b.rows, " x ", b.cols);
  const std::int64_t total = a.rows * a.cols;
  if (total == 0) return {};
  const Pieces pieces(a);
  std::vector<Distortion> sums(static_cast<std::size_t>(pieces.count));
  std::vector<std::vector<float>> scratch(2 * static_cast<std::size_t>(pool.size()));
  pool.for_each(pieces.count, [&](std::int64_t piece, int thread) {
    auto& x = scratch[2 * static_cast<std::size_t>(thread)];
    auto& y = scratch[2 * static_cast<std::size_t>(thread) + 1];
    const std::int64_t begin = pieces.begin(piece), n = pieces.size(piece);
    x.resize(static_cast<std::size_t>(n));
    y.resize(static_cast<std::size_t>(n));
    kDecode[static_cast<int>(a.type)](at_value(a, begin), x.data(), n);
    kDecode[static_cast<int>(b.type)](at_value(b, begin), y.data(), n);
    Distortion& sum = sums[static_cast<std::size_t>(piece)];
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double value = static_cast<double>(x[i]), miss = value - static_cast<double>(y[i]);
      sum.signal += value * value;
      sum.error += miss * miss;
    }
  });
  Distortion mean;
  for (const Distortion& sum : sums) mean.signal += sum.signal, mean.error += sum.error;
  return {mean.signal / static_cast<double>(total), mean.error / static_cast<double>(total)};
}

}  // namespace spectralkv
