// Calibrations as files: one GGUF file a model, f32 and f16 tensors with a row a head.
#include "kv/calibration.h"

#include <cassert>
#include <cmath>

#include "base/error.h"
#include "base/half.h"
#include "gguf/gguf.h"
#include "gguf/writer.h"
#include "kv/state_file.h"
#include "spectral/metric.h"

namespace spectralkv {
namespace {

constexpr std::string_view kArchitecture = "spectralkv-calibration";
constexpr std::int64_t kVersion = 1;
constexpr const char *kMetrics = "calibration.metric", *kQueries = "calibration.queries",
                     *kHarm = "calibration.harm";

std::string key(const char* name) {
  return concat("calibration.", name);
}

// Entries of the upper triangle of [d, d].
std::int64_t triangle(std::int64_t d) {
  return d * (d + 1) / 2;
}

// What f16 makes of a value, so that a calibration is the same before and after it was a file.
float rounded(float x) {
  return skv_f16_to_f32(skv_f32_to_f16(x));
}

std::uint64_t hash_of(const CacheShape& shape, std::int64_t group, std::uint64_t model,
                      const std::vector<HeadCalibration>& heads) {
  StateHash hash;
  const auto add = [&](const auto& values) { hash.add(std::as_bytes(std::span(values))); };
  const std::int64_t sizes[] = {shape.n_layers, shape.n_kv_heads, shape.head_dim, group,
                                static_cast<std::int64_t>(model)};
  add(sizes);
  for (const HeadCalibration& head : heads) add(head.metric.span()), add(head.queries.span()), add(head.harm);
  return hash.value() != 0 ? hash.value() : 1;
}

}  // namespace

Calibration::Calibration(const CacheShape& shape, std::int64_t group, std::uint64_t model,
                         std::int64_t method, std::vector<HeadCalibration> heads)
    : shape_(shape), group_(group), model_(model), method_(method), heads_(std::move(heads)) {
  assert(std::ssize(heads_) == shape.n_layers * shape.n_kv_heads);
  for (HeadCalibration& head : heads_) {
    assert(std::ssize(head.metric.span()) == shape.head_dim * shape.head_dim);
    assert(std::ssize(head.queries.span()) == group * shape.head_dim);
    for (float& x : head.metric.span()) x = rounded(x);
    for (float& x : head.queries.span()) x = rounded(x);
  }
  fingerprint_ = hash_of(shape_, group_, model_, heads_);
}

void Calibration::save(const std::string& path) const {
  const std::int64_t d = shape_.head_dim, heads = std::ssize(heads_);
  std::vector<std::uint16_t> metrics, queries;
  std::vector<float> harm;
  for (const HeadCalibration& head : heads_) {
    for (std::int64_t i = 0; i < d; ++i)
      for (std::int64_t j = i; j < d; ++j)
        metrics.push_back(skv_f32_to_f16(head.metric[static_cast<std::size_t>(i * d + j)]));
    for (const float x : head.queries.span()) queries.push_back(skv_f32_to_f16(x));
    harm.insert(harm.end(), head.harm.begin(), head.harm.end());
  }
  GgufWriter out;
  out.add("general.architecture", kArchitecture);
  const auto number = [&](const char* name, std::int64_t value) {
    out.add(key(name), static_cast<std::uint32_t>(value));
  };
  number("version", kVersion);
  number("method", method_);
  number("layers", shape_.n_layers);
  number("kv_heads", shape_.n_kv_heads);
  number("head_dim", d);
  number("group", group_);
  out.add(key("model"), model_);
  const auto tensor = [&](const char* name, std::int64_t row, DType type, auto& values) {
    out.add_tensor(name, {row, heads}, type, std::as_bytes(std::span(values)));
  };
  tensor(kMetrics, triangle(d), DType::f16, metrics);
  tensor(kQueries, group_ * d, DType::f16, queries);
  tensor(kHarm, 2, DType::f32, harm);
  out.save(path);
}

Calibration Calibration::load(const std::string& path) {
  const Gguf file(path);
  const auto refuse_unless = [&](bool ok, const auto&... why) {
    check(ok, "kv", "calibration '", path, "': ", why...);
  };
  refuse_unless(file.get_string("general.architecture", "") == kArchitecture,
                "it is no calibration of spectralkv");
  const auto number = [&](const char* name, std::int64_t most) { return file.get_int(key(name), 1, most); };
  const std::int64_t version = number("version", INT32_MAX);
  refuse_unless(version == kVersion, "it has version ", version, "; this program reads version ", kVersion);
  // Files of before there were numbers have none.
  const std::int64_t method =
      file.find_value(key("method")) == nullptr ? 0 : file.get_int(key("method"), 0, INT32_MAX);
  CacheShape shape;
  shape.n_layers = number("layers", 4096);
  shape.n_kv_heads = number("kv_heads", 4096);
  shape.head_dim = number("head_dim", 4096);
  const std::int64_t group = number("group", 4096), d = shape.head_dim;
  const std::int64_t n_heads = shape.n_layers * shape.n_kv_heads;
  const GgufValue* const model = file.find_value(key("model"));
  refuse_unless(model != nullptr && std::holds_alternative<std::uint64_t>(*model),
                "it does not say whose it is: calibration.model is no u64");
  const auto values = [&](const char* name, std::int64_t row, DType type) {
    const WeightView w = file.weight(name);
    refuse_unless(w.type == type && w.cols == row && w.rows == n_heads, "tensor '", name, "' is ",
                  dtype_info(w.type).name, " [", w.cols, ", ", w.rows, "], expected ", dtype_info(type).name,
                  " [", row, ", ", n_heads, "]");
    return w.data;
  };
  const auto* const metrics =
      reinterpret_cast<const std::uint16_t*>(values(kMetrics, triangle(d), DType::f16));
  const auto* const queries = reinterpret_cast<const std::uint16_t*>(values(kQueries, group * d, DType::f16));
  const auto* const harm = reinterpret_cast<const float*>(values(kHarm, 2, DType::f32));
  std::vector<HeadCalibration> heads(static_cast<std::size_t>(n_heads));
  const std::uint16_t *metric = metrics, *query = queries;
  for (std::int64_t h = 0; h < n_heads; ++h) {
    HeadCalibration& head = heads[static_cast<std::size_t>(h)];
    const auto finite = [&](float x, const char* name) {
      refuse_unless(std::isfinite(x), "tensor '", name, "', row ", h, " holds a value that is not finite");
      return x;
    };
    head.metric = Buffer<float>(static_cast<std::size_t>(d * d));
    for (std::int64_t i = 0; i < d; ++i)
      for (std::int64_t j = i; j < d; ++j)
        head.metric[static_cast<std::size_t>(i * d + j)] = head.metric[static_cast<std::size_t>(j * d + i)] =
            finite(skv_f16_to_f32(*metric++), kMetrics);
    refuse_unless(is_stretch({head.metric.data(), d, d}), "tensor '", kMetrics, "', row ", h,
                  " is no positive matrix");
    head.queries = Buffer<float>(static_cast<std::size_t>(group * d));
    for (float& x : head.queries.span()) x = finite(skv_f16_to_f32(*query++), kQueries);
    for (std::size_t side = 0; side < 2; ++side) {
      const float x = finite(harm[static_cast<std::size_t>(h) * 2 + side], kHarm);
      refuse_unless(x >= 0, "tensor '", kHarm, "', row ", h, " holds ", x, ", expected no negative number");
      head.harm[side] = x;
    }
  }
  return Calibration(shape, group, std::get<std::uint64_t>(*model), method, std::move(heads));
}

}  // namespace spectralkv
