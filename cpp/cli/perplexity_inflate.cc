// Deflate: blocks that are stored, or coded with fixed or transmitted Huffman codes. Written from RFC 1951.
#include "cli/perplexity_inflate.h"

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace spectralkv {
namespace {

struct Damaged {};

void need(bool ok) {
  if (!ok) throw Damaged{};
}

// Bits from the low end of each byte on.
class Bits {
 public:
  explicit Bits(std::string_view in) : in_(in) {}
  std::uint32_t take(int n) {
    std::uint32_t value = 0;
    for (int i = 0; i < n; ++i, ++at_) {
      need(at_ / 8 < in_.size());
      value |= (static_cast<std::uint32_t>(static_cast<unsigned char>(in_[at_ / 8])) >> (at_ % 8) & 1u) << i;
    }
    return value;
  }
  void to_byte() { at_ = (at_ + 7) / 8 * 8; }

 private:
  std::string_view in_;
  std::size_t at_ = 0;  // in bits
};

// A canonical code: symbols ordered by length, then value.
class Huffman {
 public:
  explicit Huffman(std::span<const std::uint8_t> lengths) {
    for (const std::uint8_t length : lengths) ++count_[length];
    count_[0] = 0;
    int left = 1;  // codes of this length that are still free
    for (std::size_t length = 1; length < count_.size(); ++length) {
      left = 2 * left - count_[length];
      need(left >= 0);
    }
    for (std::size_t length = 1; length < count_.size(); ++length)
      for (std::size_t s = 0; s < lengths.size(); ++s)
        if (lengths[s] == length) symbols_.push_back(static_cast<std::uint16_t>(s));
  }

  std::uint32_t read(Bits& bits) const {
    int code = 0, first = 0;
    std::size_t index = 0;
    for (std::size_t length = 1; length < count_.size(); ++length) {
      code |= static_cast<int>(bits.take(1));
      if (code - first < count_[length]) return symbols_[index + static_cast<std::size_t>(code - first)];
      index += static_cast<std::size_t>(count_[length]);
      first = (first + count_[length]) << 1;
      code <<= 1;
    }
    throw Damaged{};
  }

 private:
  std::array<int, 16> count_{};
  std::vector<std::uint16_t> symbols_;
};

struct Codes {
  Huffman literals, distances;
};

Codes fixed_codes() {
  std::array<std::uint8_t, 288> literals{};
  for (std::size_t i = 0; i < literals.size(); ++i)
    literals[i] = static_cast<std::uint8_t>(i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8);
  std::array<std::uint8_t, 30> distances{};
  distances.fill(5);
  return {Huffman(literals), Huffman(distances)};
}

Codes read_codes(Bits& bits) {
  constexpr std::array<std::uint8_t, 19> kOrder = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                                   11, 4,  12, 3, 13, 2, 14, 1, 15};
  const std::size_t n_literals = bits.take(5) + 257, n_distances = bits.take(5) + 1,
                    n_lengths = bits.take(4) + 4;
  need(n_literals <= 286 && n_distances <= 30);
  std::array<std::uint8_t, 19> of_lengths{};
  for (std::size_t i = 0; i < n_lengths; ++i) of_lengths[kOrder[i]] = static_cast<std::uint8_t>(bits.take(3));
  const Huffman code(of_lengths);
  std::vector<std::uint8_t> lengths;
  while (lengths.size() < n_literals + n_distances) {
    const std::uint32_t symbol = code.read(bits);
    if (symbol < 16) {
      lengths.push_back(static_cast<std::uint8_t>(symbol));
      continue;
    }
    need(symbol != 16 || !lengths.empty());
    const std::uint8_t value = symbol == 16 ? lengths.back() : std::uint8_t{0};
    const std::uint32_t repeat = symbol == 16   ? 3 + bits.take(2)
                                 : symbol == 17 ? 3 + bits.take(3)
                                                : 11 + bits.take(7);
    lengths.insert(lengths.end(), repeat, value);
  }
  need(lengths.size() == n_literals + n_distances);
  const std::span<const std::uint8_t> all(lengths);
  return {Huffman(all.first(n_literals)), Huffman(all.subspan(n_literals))};
}

void read_coded(Bits& bits, const Codes& codes, std::size_t size, std::string& out) {
  for (;;) {
    std::uint32_t symbol = codes.literals.read(bits);
    if (symbol == 256) return;
    if (symbol < 256) {
      need(out.size() < size);
      out.push_back(static_cast<char>(symbol));
      continue;
    }
    // Lengths 3 to 258 and distances 1 to 32768: each step of four (two) symbols doubles what a symbol
    // covers.
    symbol -= 257;
    need(symbol < 29);
    std::uint32_t length = 258;
    if (symbol < 8) {
      length = symbol + 3;
    } else if (symbol < 28) {
      const auto extra = static_cast<int>(symbol / 4 - 1);
      length = ((4 + symbol % 4) << extra) + 3 + bits.take(extra);
    }
    const std::uint32_t d = codes.distances.read(bits);
    need(d < 30);
    std::uint32_t distance = d + 1;
    if (d >= 4) {
      const auto extra = static_cast<int>(d / 2 - 1);
      distance = ((2 + d % 2) << extra) + 1 + bits.take(extra);
    }
    need(distance <= out.size() && length <= size - out.size());
    for (std::uint32_t i = 0; i < length; ++i) out.push_back(out[out.size() - distance]);
  }
}

}  // namespace

std::optional<std::string> inflate(std::string_view in, std::size_t size) {
  std::string out;
  Bits bits(in);
  try {
    for (bool last = false; !last;) {
      last = bits.take(1) == 1;
      const std::uint32_t kind = bits.take(2);
      need(kind < 3);
      if (kind == 0) {
        bits.to_byte();
        const std::uint32_t n = bits.take(16), inverse = bits.take(16);
        need((n ^ 0xffffu) == inverse && n <= size - out.size());
        for (std::uint32_t i = 0; i < n; ++i) out.push_back(static_cast<char>(bits.take(8)));
      } else {
        read_coded(bits, kind == 1 ? fixed_codes() : read_codes(bits), size, out);
      }
    }
  } catch (const Damaged&) {
    return std::nullopt;
  }
  if (out.size() != size) return std::nullopt;
  return out;
}

}  // namespace spectralkv
