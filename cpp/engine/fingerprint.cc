// The fingerprint of a model.
#include "engine/fingerprint.h"

#include <algorithm>
#include <array>
#include <type_traits>
#include <vector>

#include "kv/state_file.h"

namespace spectralkv {
namespace {

constexpr std::int64_t kSample = 64;  // bytes

class Hasher {
 public:
  template <class T>
  requires std::is_arithmetic_v<T>
  void add(T value) { hash_.add(std::as_bytes(std::span(&value, 1))); }
  void add(const std::string& text) {
    add(text.size());
    hash_.add(std::as_bytes(std::span(text)));
  }
  void add(const std::byte* data, std::int64_t n) { hash_.add({data, static_cast<std::size_t>(n)}); }
  std::uint64_t value() const { return hash_.value(); }

 private:
  StateHash hash_;
};

}  // namespace

std::uint64_t model_fingerprint(const Gguf& file, const ModelConfig& c) {
  Hasher hash;
  hash.add(c.arch);
  hash.add(c.name);
  for (const std::int64_t size : {c.n_layers, c.n_embd, c.n_ff, c.n_vocab, c.n_heads, c.n_kv_heads,
                                  c.head_dim, c.rope.dims, c.rope.original_context, c.sliding_window})
    hash.add(size);
  for (const double value : {c.rms_eps, c.rope.freq_base, c.rope.factor, c.rope.beta_fast, c.rope.beta_slow,
                             c.rope.ext_factor, c.rope.attn_factor})
    hash.add(value);
  hash.add(static_cast<std::int64_t>(c.rope.scaling));
  for (const bool slides : c.layer_slides) hash.add(static_cast<std::uint8_t>(slides));
  // Nothing where a model is as Llama is: its states are older than these.
  const auto add_own = [&](const std::string& what, double value, double usual) {
    if (value == usual) return;
    hash.add(what);
    hash.add(value);
  };
  add_own("attention_scale", c.attention_scale, 0);
  add_own("embedding_scale", c.embedding_scale, 1);
  add_own("residual_scale", c.residual_scale, 1);
  add_own("logit_scale", c.logit_scale, 1);
  add_own("temperature_scale", c.temperature_scale, 0);
  add_own("temperature_length", static_cast<double>(c.temperature_length), 0);
  add_own("n_experts", static_cast<double>(c.n_experts), 0);
  add_own("n_experts_used", static_cast<double>(c.n_experts_used), 0);

  std::vector<const GgufTensor*> tensors;
  for (const GgufTensor& tensor : file.tensors()) tensors.push_back(&tensor);
  std::sort(tensors.begin(), tensors.end(), [](const auto* a, const auto* b) { return a->name < b->name; });
  for (const GgufTensor* tensor : tensors) {
    hash.add(tensor->name);
    hash.add(static_cast<std::int64_t>(dtype_info(tensor->type).gguf_id));
    for (const std::int64_t dim : tensor->dims) hash.add(dim);
    const std::int64_t n = std::min(kSample, tensor->bytes);
    for (const std::int64_t at : {std::int64_t{0}, (tensor->bytes - n) / 2, tensor->bytes - n})
      hash.add(tensor->data + at, n);
  }
  return hash.value();
}

}  // namespace spectralkv
