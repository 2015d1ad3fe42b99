// How a model's keys and values are stored, layer by layer: codecs, layout, and what follows from them. Says
// nothing of any sequence; one format serves all sequences that are stored alike, on every backend.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kv/codecs.h"
#include "kv/layout.h"
#include "kv/report.h"

namespace spectralkv {

// K or V of a layer.
struct SideFormat {
  std::vector<BuiltCodec> heads;  // of sealed blocks: one a KV head, of one spec, or one for all of them
  const Codec* exact = nullptr;   // of sinks and tail, f16 or f32

  const BuiltCodec& built() const { return heads.front(); }  // for what all heads have in common
  const Codec& codec(std::int64_t head) const {
    return *heads[heads.size() == 1 ? 0 : static_cast<std::size_t>(head)].codec;
  }
  // Most bytes that a block of n tokens of a head takes.
  std::int64_t max_bytes(std::int64_t n) const;
  bool exact_f32() const { return exact->form().kind == CodecForm::Kind::f32; }
  double exact_bits(std::int64_t head_dim) const;  // per entry of sinks and tail
};

struct LayerFormat {
  std::int64_t layer = 0;  // as messages name it
  std::int64_t n_kv_heads = 0, head_dim = 0;
  CacheLayout layout;
  bool lossy = false;
  SideFormat k, v;
  // Mean queries of each KV head, [n_kv_heads] of [group, head_dim]: what draws attention is known by them.
  // Empty without a calibration.
  std::vector<ConstMatrix> queries;

  // The longest tail of a sequence of up to n_ctx tokens.
  std::int64_t tail_capacity(std::int64_t n_ctx) const;
  // Bytes of a side's sinks and tail, as allocated.
  std::int64_t exact_bytes(const SideFormat& side, std::int64_t n_ctx) const;
  // Whether n_tokens can become the first n of them. An exact layer can go back anywhere. Another one can go
  // back into its tail; before that only to the end of a sealed block, which leaves an empty tail (window 0),
  // or to 0.
  bool can_go_back(std::int64_t n_tokens, std::int64_t n) const;
  // The largest such length up to n.
  std::int64_t nearest_below(std::int64_t n_tokens, std::int64_t n) const;
};

class CacheFormat {
 public:
  // type_k, type_v: specs for all layers (kv/codecs.h). seal_until: CacheLayout's, for measurements.
  // calibration: of a model of this shape, or null: then codecs do without.
  CacheFormat(const CacheShape& shape, const std::string& type_k, const std::string& type_v,
              std::int64_t seal_until = CacheLayout::kNowhere,
              std::shared_ptr<const Calibration> calibration = nullptr);

  const CacheShape& shape() const { return shape_; }
  std::span<const LayerFormat> layers() const { return layers_; }
  const LayerFormat& layer(std::int64_t l) const { return layers_[static_cast<std::size_t>(l)]; }
  // "f16", or "f16;layers 0-1=q8_0".
  const std::string& name_k() const { return name_k_; }
  const std::string& name_v() const { return name_v_; }
  // Null where no codec uses one.
  const std::shared_ptr<const Calibration>& calibration() const { return calibration_; }
  // Whether a cache of n tokens holds blocks that a codec has made something else of.
  bool seals(std::int64_t n_tokens) const;
  // Whether a calibration would change what its codecs do.
  bool calibrated() const { return calibrated_; }
  // Per entry of sinks and tail of a side, over all layers: 16, 32, or between them where layers differ.
  double exact_bits(SideFormat LayerFormat::*side) const;

  // Whether a cache of n_tokens can keep its first n alone, in every layer.
  bool can_go_back(std::int64_t n_tokens, std::int64_t n) const;
  // The largest such length up to n.
  std::int64_t nearest_below(std::int64_t n_tokens, std::int64_t n) const;
  // A value error names the nearest n that is possible.
  void check_truncation(std::int64_t n_tokens, std::int64_t n) const;

 private:
  void build_heads(std::shared_ptr<const Calibration> calibration);

  CacheShape shape_;
  std::unique_ptr<Codec> f16_, f32_;
  std::vector<LayerFormat> layers_;
  std::string name_k_, name_v_;
  std::shared_ptr<const Calibration> calibration_;
  bool calibrated_ = false;
};

// Reports of no bytes: what they are of.
CacheReport empty_report(const CacheFormat& format, std::int64_t n_ctx, std::int64_t n_tokens);
CacheReport empty_report(const LayerFormat& layer, std::int64_t n_ctx, std::int64_t n_tokens);

}  // namespace spectralkv
