// The table of codecs and the parser of cache specs.
//
//   spec  := codec [";" "layers" ranges "=" codec]...      "eoptshrinkq:2;layers 0-1,28-29=q8_0"
//   codec := name [":" bits] ["," option]...               "f16", "turboquant:3",
//   "eoptshrinkq:2,sink=4,loss=truncate" option := name "=" value | name                        ranges :=
//   first ["-" last] ["," ranges]
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kv/bits_by_head.h"
#include "kv/calibration.h"
#include "kv/codec.h"
#include "kv/layout.h"

namespace spectralkv {

// One codec as written. Rows take the options that they know; what is left over is an error.
class CodecSpec {
 public:
  // Parses `text`; errors quote it.
  explicit CodecSpec(std::string_view text);

  const std::string& text() const { return text_; }
  const std::string& name() const { return name_; }
  // What stands after the colon; a mean of heads may be no whole number, which `bits` refuses.
  std::optional<double> mean_bits() const { return bits_; }
  std::optional<std::int64_t> bits() const;

  // Each takes an option out; the fallback serves when it is absent.
  std::int64_t take_int(std::string_view option, std::int64_t fallback, std::int64_t min, std::int64_t max);
  // The same, and `word` stands for `means`.
  std::int64_t take_int_or(std::string_view option, std::string_view word, std::int64_t means,
                           std::int64_t fallback, std::int64_t min, std::int64_t max);
  std::string take_choice(std::string_view option, std::string_view fallback,
                          std::span<const std::string_view> choices);
  bool take_flag(std::string_view option);
  // Error if options are left; `known` lists what the codec has.
  void finish(std::string_view known) const;
  [[noreturn]] void refuse(const std::string& why) const;

 private:
  std::string text_, name_;
  std::optional<double> bits_;
  std::map<std::string, std::string, std::less<>> options_;  // flags have an empty value
};

// What a codec is built for.
struct CodecPlace {
  std::int64_t head_dim = 0;
  KvSide side = KvSide::keys;
  const HeadCalibration* calibration = nullptr;  // of the head; null: none. What it says is copied
  int width =
      0;  // bits an entry where the spec leaves them to be given out; 0: as the spec says, rounded down
};

struct BuiltCodec {
  std::unique_ptr<Codec> codec;
  bool lossy = false;  // the layout matters to its meaning
  CacheLayout layout;
  std::string text;              // canonical spec, layout included
  bool calibrated = false;       // a calibration changes what it does
  std::string without_metric{};  // the spec of the same codec without the head's metric; empty: it has none
  std::string in_states{};       // the canonical spec as state files have it; build_codec() sets it
  double mean_bits = 0;          // an entry, to be given out over heads (kv/bits_by_head.h); 0: takes no part
  // Then, of a head with so many bits: what is lost of a residual's energy.
  std::array<double, kMostBitsByHead + 1> distortion{};
};

// What `default` means where the head dim is a multiple of 16; elsewhere it is f16. docs/method.md says why.
inline constexpr std::string_view kDefaultCodec = "eoptshrinkq:2";

struct CodecRow {
  std::string_view name;   // as specs begin
  std::string_view help;   // one line: bits and options
  int min_bits, max_bits;  // of ":B" behind the name; 0: it takes none
  BuiltCodec (*build)(CodecSpec& spec, const CodecPlace& place);
};

std::span<const CodecRow> codec_table();
std::string codec_list();  // all names, for messages
std::string codec_help();  // what the rows say of themselves, a sentence each

BuiltCodec build_codec(std::string_view codec_text, const CodecPlace& place);
inline BuiltCodec build_codec(std::string_view codec_text, std::int64_t head_dim,
                              KvSide side = KvSide::keys) {
  return build_codec(codec_text, CodecPlace{head_dim, side});
}

// The codec whose errors say what a head's bits are worth (engine/calibrate.h), made
// with what is known of the head so far.
BuiltCodec build_measured_codec(const CodecPlace& place);

// The spec of a whole cache with what version 0.1.0 took for granted: residuals in scalar codes.
std::string with_scalar_residuals(std::string_view spec);

// A whole spec: the codec text of each layer. A layer that is not there or is named twice is an error.
std::vector<std::string> split_layers(std::string_view spec, std::int64_t n_layers);

}  // namespace spectralkv
