// What follows from codecs and layout.
#include "kv/cache_format.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "kv/bits_by_head.h"
#include "kv/codecs/exact.h"

namespace spectralkv {
namespace {

// K and V of a layer share one layout: an exact codec takes the other's; of two lossy ones, both keep as much
// exact as either asks for. Blocks of different lengths are a value error.
CacheLayout shared_layout(const BuiltCodec& k, const BuiltCodec& v, std::int64_t layer) {
  if (!k.lossy || !v.lossy) return k.lossy ? k.layout : v.layout;
  check(k.layout.block == v.layout.block, "kv", "layer ", layer, ": K '", k.text, "' has blocks of ",
        k.layout.block, " tokens and V '", v.text, "' of ", v.layout.block, ": they must agree");
  CacheLayout layout = k.layout;
  layout.sink = std::max(k.layout.sink, v.layout.sink);
  layout.window = std::max(k.layout.window, v.layout.window);
  return layout;
}

// What most layers have, then the layers that have something else.
std::string layers_name(std::span<const std::string> codec_texts) {
  std::map<std::string, std::string> ranges;
  std::map<std::string, std::size_t> counts;
  std::string most;
  for (std::size_t l = 0; l < codec_texts.size();) {
    const std::string& text = codec_texts[l];
    std::size_t end = l + 1;
    while (end < codec_texts.size() && codec_texts[end] == text) ++end;
    ranges[text] += concat(ranges[text].empty() ? "" : ",", l, end - l > 1 ? concat("-", end - 1) : "");
    if ((counts[text] += end - l) > counts[most]) most = text;
    l = end;
  }
  std::string name = most;
  for (const auto& [text, where] : ranges)
    if (text != most) name += concat(";layers ", where, "=", text);
  return name;
}

std::string side_name(std::span<const LayerFormat> layers, SideFormat LayerFormat::*side) {
  std::vector<std::string> texts;
  for (const auto& layer : layers) texts.push_back((layer.*side).built().text);
  return layers_name(texts);
}

void check_calibration(const CacheShape& shape, const Calibration* calibration) {
  if (calibration == nullptr) return;
  const CacheShape& theirs = calibration->shape();
  check(shape.first_layer + shape.n_layers <= theirs.n_layers && shape.n_kv_heads == theirs.n_kv_heads &&
            shape.head_dim == theirs.head_dim,
        "kv", "the calibration is of another model: it has ", theirs.n_layers, " layers of ",
        theirs.n_kv_heads, " KV heads of ", theirs.head_dim, ", expected ", shape.n_layers, " of ",
        shape.n_kv_heads, " of ", shape.head_dim);
}

// The largest up to n that a layer, or all of them, can go back to.
template <class Format>
std::int64_t largest_length(const Format& format, std::int64_t n_tokens, std::int64_t n) {
  n = std::clamp<std::int64_t>(n, 0, n_tokens);
  while (n < n_tokens && !format.can_go_back(n_tokens, n)) --n;
  return n;
}

CacheReport report_of(const CacheShape& shape, std::int64_t n_ctx, std::int64_t n_tokens) {
  CacheReport report;
  report.n_layers = shape.n_layers;
  report.n_kv_heads = shape.n_kv_heads;
  report.head_dim = shape.head_dim;
  report.n_ctx = n_ctx;
  report.n_tokens = n_tokens;
  return report;
}

}  // namespace

std::int64_t LayerFormat::tail_capacity(std::int64_t n_ctx) const {
  const std::int64_t usual = layout.block + layout.window;
  return std::min(n_ctx, layout.seal_until < n_ctx ? std::max(usual, layout.tail_tokens(n_ctx)) : usual);
}

std::int64_t LayerFormat::exact_bytes(const SideFormat& side, std::int64_t n_ctx) const {
  return side.exact->max_bytes(n_kv_heads * layout.sink) +
         side.exact->max_bytes(n_kv_heads * tail_capacity(n_ctx));
}

bool LayerFormat::can_go_back(std::int64_t n_tokens, std::int64_t n) const {
  if (!lossy || n == 0) return true;
  const std::int64_t blocks = layout.sealed_for(n_tokens);
  if (n >= blocks * layout.block) return layout.sealed_for(n) >= blocks;
  return layout.window == 0 && n % layout.block == 0;
}

std::int64_t LayerFormat::nearest_below(std::int64_t n_tokens, std::int64_t n) const {
  return largest_length(*this, n_tokens, n);
}

double SideFormat::exact_bits(std::int64_t head_dim) const {
  return 8.0 * static_cast<double>(exact->max_bytes(1)) / static_cast<double>(head_dim);
}

std::int64_t SideFormat::max_bytes(std::int64_t n) const {
  std::int64_t most = 0;
  for (const BuiltCodec& head : heads) most = std::max(most, head.codec->max_bytes(n));
  return most;
}

CacheFormat::CacheFormat(const CacheShape& shape, const std::string& type_k, const std::string& type_v,
                         std::int64_t seal_until, std::shared_ptr<const Calibration> calibration)
    : shape_(shape),
      f16_(make_f16_codec(shape.head_dim)),
      f32_(make_f32_codec(shape.head_dim)),
      layers_(static_cast<std::size_t>(shape.n_layers)) {
  check_calibration(shape, calibration.get());
  const auto k_texts = split_layers(type_k, shape.n_layers), v_texts = split_layers(type_v, shape.n_layers);
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    LayerFormat& layer = layers_[l];
    layer.layer = shape.first_layer + static_cast<std::int64_t>(l);
    layer.n_kv_heads = shape.n_kv_heads;
    layer.head_dim = shape.head_dim;
    layer.k.heads.push_back(build_codec(k_texts[l], shape.head_dim, KvSide::keys));
    layer.v.heads.push_back(build_codec(v_texts[l], shape.head_dim, KvSide::values));
    const BuiltCodec &k = layer.k.built(), &v = layer.v.built();
    calibrated_ |= k.calibrated || v.calibrated;
    layer.lossy = k.lossy || v.lossy;
    layer.layout = shared_layout(k, v, layer.layer);
    layer.layout.seal_until = seal_until;
    for (SideFormat* side : {&layer.k, &layer.v})
      side->exact = side->codec(0).form().kind == CodecForm::Kind::f32 ? f32_.get() : f16_.get();
  }
  const bool fractional = std::any_of(layers_.begin(), layers_.end(), [](const LayerFormat& layer) {
    const double k = layer.k.built().mean_bits, v = layer.v.built().mean_bits;
    return k != std::floor(k) || v != std::floor(v);
  });
  if (calibrated_ && (calibration || fractional)) build_heads(std::move(calibration));
  name_k_ = side_name(layers_, &LayerFormat::k);
  name_v_ = side_name(layers_, &LayerFormat::v);
}

// Codecs that calibrations or widths of their own make different from head to head.
void CacheFormat::build_heads(std::shared_ptr<const Calibration> calibration) {
  calibration_ = std::move(calibration);
  const auto of_head = [&](const LayerFormat& layer, std::int64_t h) {
    return calibration_ ? &calibration_->head(layer.layer, h) : nullptr;
  };
  constexpr SideFormat LayerFormat::*kSides[] = {&LayerFormat::k, &LayerFormat::v};
  std::vector<HeadWish> wishes;
  for (const LayerFormat& layer : layers_)
    for (const std::size_t side : {0, 1})
      for (std::int64_t h = 0; h < shape_.n_kv_heads; ++h) {
        const BuiltCodec& built = (layer.*kSides[side]).built();
        const HeadCalibration* const head = of_head(layer, h);
        if (built.mean_bits > 0)
          wishes.push_back({built.mean_bits, head != nullptr ? static_cast<double>(head->harm[side]) : 1.0,
                            built.distortion});
      }
  const std::vector<int> widths = bits_by_head(wishes);
  auto width = widths.begin();
  for (LayerFormat& layer : layers_) {
    for (const std::size_t s : {0, 1}) {
      SideFormat& side = layer.*kSides[s];
      if (!side.built().calibrated) continue;
      const std::string text = side.built().text;
      const bool by_head = side.built().mean_bits > 0;
      side.heads.clear();
      for (std::int64_t h = 0; h < shape_.n_kv_heads; ++h)
        side.heads.push_back(build_codec(text, {shape_.head_dim, s == 0 ? KvSide::keys : KvSide::values,
                                                of_head(layer, h), by_head ? *width++ : 0}));
    }
    for (std::int64_t h = 0; calibration_ && h < shape_.n_kv_heads; ++h)
      layer.queries.push_back(calibration_->queries(layer.layer, h));
  }
}

double CacheFormat::exact_bits(SideFormat LayerFormat::*side) const {
  double sum = 0;
  for (const LayerFormat& layer : layers_) sum += (layer.*side).exact_bits(layer.head_dim);
  return sum / static_cast<double>(layers_.size());
}

bool CacheFormat::seals(std::int64_t n_tokens) const {
  return std::any_of(layers_.begin(), layers_.end(), [n_tokens](const LayerFormat& layer) {
    return layer.lossy && layer.layout.sealed_for(n_tokens) > 0;
  });
}

bool CacheFormat::can_go_back(std::int64_t n_tokens, std::int64_t n) const {
  return std::all_of(layers_.begin(), layers_.end(),
                     [=](const LayerFormat& layer) { return layer.can_go_back(n_tokens, n); });
}

std::int64_t CacheFormat::nearest_below(std::int64_t n_tokens, std::int64_t n) const {
  return largest_length(*this, n_tokens, n);
}

void CacheFormat::check_truncation(std::int64_t n_tokens, std::int64_t n) const {
  check(n >= 0 && n <= n_tokens, "kv", "truncate: ", n, " is not within 0 to ", n_tokens, " tokens");
  if (n == n_tokens || can_go_back(n_tokens, n)) return;
  const std::int64_t below = nearest_below(n_tokens, n);
  std::int64_t above = n;
  while (above < n_tokens && !can_go_back(n_tokens, above)) ++above;
  const std::int64_t nearest = n - below <= above - n ? below : above;
  fail(ErrorKind::value, "kv", "the cache cannot go back to ", n,
       " tokens: its blocks are sealed whole; the nearest length that it can go back to is ", nearest);
}

CacheReport empty_report(const CacheFormat& format, std::int64_t n_ctx, std::int64_t n_tokens) {
  CacheReport report = report_of(format.shape(), n_ctx, n_tokens);
  report.k.codec = format.name_k();
  report.v.codec = format.name_v();
  report.k.exact_bits = format.exact_bits(&LayerFormat::k);
  report.v.exact_bits = format.exact_bits(&LayerFormat::v);
  return report;
}

CacheReport empty_report(const LayerFormat& layer, std::int64_t n_ctx, std::int64_t n_tokens) {
  CacheReport report = report_of({1, layer.n_kv_heads, layer.head_dim}, n_ctx, n_tokens);
  report.k.codec = layer.k.built().text;
  report.v.codec = layer.v.built().text;
  report.k.exact_bits = layer.k.exact_bits(layer.head_dim);
  report.v.exact_bits = layer.v.exact_bits(layer.head_dim);
  return report;
}

}  // namespace spectralkv
