// Keys that architectures share: how each is read, and what it may be.
#include "model/config.h"

#include <cmath>

#include "base/error.h"
#include "gguf/cursor.h"
#include "model/architectures.h"

namespace spectralkv {
namespace {

constexpr std::int64_t kMaxSize = 1 << 24, kMaxExperts = 512;

// A size that may be one number or one number a layer; layers that differ are refused.
std::int64_t uniform_size(const Gguf& file, const std::string& key, std::int64_t n_layers,
                          std::int64_t fallback) {
  const GgufValue* value = file.find_value(key);
  if (value == nullptr) return fallback;
  if (!std::holds_alternative<std::vector<std::int64_t>>(*value)) return file.get_int(key, 1, kMaxSize);
  const auto sizes = file.get_ints(key);
  check(static_cast<std::int64_t>(sizes.size()) == n_layers, "model", "'", file.path(), "': '", key, "' has ",
        sizes.size(), " values for ", n_layers, " layers");
  for (const auto size : sizes)
    check(size == sizes[0] && size >= 1 && size <= kMaxSize, "model", "'", file.path(), "': '", key,
          "' differs between layers, which is not supported");
  return sizes[0];
}

}  // namespace

RopeConfig read_rope(const Gguf& file, const std::string& prefix, std::int64_t head_dim) {
  RopeConfig rope;
  const auto key = [&](const char* name) { return prefix + "rope." + name; };
  rope.dims = file.get_int(key("dimension_count"), 2, head_dim, head_dim);
  check(rope.dims % 2 == 0, "model", "'", file.path(), "': '", key("dimension_count"), "' must be even, got ",
        rope.dims);
  rope.freq_base = file.get_float(key("freq_base"), 10000);
  check(rope.freq_base > 1, "model", "'", file.path(), "': '", key("freq_base"), "' must be above 1, got ",
        rope.freq_base);
  // scale_linear is the older name of the linear factor.
  const bool old_linear = file.has(key("scale_linear")) && !file.has(key("scaling.type"));
  const std::string type = file.get_string(key("scaling.type"), old_linear ? "linear" : "none");
  rope.factor = file.get_float(key("scaling.factor"), file.get_float(key("scale_linear"), 1));
  check(rope.factor > 0 && rope.factor < 1e6, "model", "'", file.path(), "': RoPE scaling factor ",
        rope.factor, " is out of range");
  if (type == "none" || type.empty()) return rope;
  check(type == "linear" || type == "yarn", "model", "'", file.path(), "': RoPE scaling type '",
        printable(type),
        "' is not supported; there are none, linear, yarn (and llama3 through the tensor rope_freqs.weight)");
  rope.scaling = type == "linear" ? RopeScaling::linear : RopeScaling::yarn;
  if (rope.scaling == RopeScaling::yarn) {
    rope.original_context = file.get_int(key("scaling.original_context_length"), 1, std::int64_t{1} << 40,
                                         file.get_int(prefix + "context_length", 1, std::int64_t{1} << 40));
    rope.beta_fast = file.get_float(key("scaling.yarn_beta_fast"), 32);
    rope.beta_slow = file.get_float(key("scaling.yarn_beta_slow"), 1);
    rope.ext_factor = file.get_float(key("scaling.yarn_ext_factor"), 1);
    rope.attn_factor =
        file.get_float(key("scaling.yarn_attn_factor"), file.get_float(key("scaling.attn_factor"), 1));
    check(rope.beta_fast > 0 && rope.beta_slow > 0, "model", "'", file.path(),
          "': YaRN betas must be positive");
  }
  return rope;
}

void read_sliding_window(const Gguf& file, const std::string& prefix, ModelConfig& config) {
  const std::string key = prefix + "attention.sliding_window", pattern_key = key + "_pattern";
  config.sliding_window = file.get_int(key, 0, std::int64_t{1} << 40, 0);
  if (config.sliding_window == 0) return;
  config.layer_slides.assign(config.layer_slides.size(), true);
  const GgufValue* pattern = file.find_value(pattern_key);
  if (pattern == nullptr) return;
  const auto* flags = std::get_if<std::vector<bool>>(pattern);
  check(flags != nullptr && static_cast<std::int64_t>(flags->size()) == config.n_layers, "model", "'",
        file.path(), "': '", pattern_key, "' must hold one bool for each of ", config.n_layers, " layers");
  config.layer_slides = *flags;
}

ModelConfig read_sizes(const Gguf& file, const std::string& prefix) {
  ModelConfig c;
  const auto size = [&](const char* name) { return file.get_int(prefix + name, 1, kMaxSize); };
  c.n_layers = size("block_count");
  check(c.n_layers <= 4096, "model", "'", file.path(), "': ", c.n_layers, " layers are absurd");
  c.layer_slides.assign(static_cast<std::size_t>(c.n_layers), false);
  c.n_embd = size("embedding_length");
  c.context_length = file.get_int(prefix + "context_length", 1, std::int64_t{1} << 40);
  c.n_ff = uniform_size(file, prefix + "feed_forward_length", c.n_layers, 0);
  c.n_heads = uniform_size(file, prefix + "attention.head_count", c.n_layers, 0);
  check(c.n_ff > 0 && c.n_heads > 0, "model", "'", file.path(), "': '", prefix,
        c.n_ff > 0 ? "attention.head_count" : "feed_forward_length", "' is missing");
  c.n_kv_heads = uniform_size(file, prefix + "attention.head_count_kv", c.n_layers, c.n_heads);
  check(c.n_heads % c.n_kv_heads == 0, "model", "'", file.path(), "': ", c.n_heads,
        " query heads are no multiple of ", c.n_kv_heads, " KV heads");
  const bool has_key_length = file.has(prefix + "attention.key_length");
  check(has_key_length || c.n_embd % c.n_heads == 0, "model", "'", file.path(), "': embedding length ",
        c.n_embd, " is no multiple of ", c.n_heads, " heads and '", prefix,
        "attention.key_length' is missing");
  c.head_dim = file.get_int(prefix + "attention.key_length", 2, 1024, c.n_embd / c.n_heads);
  const std::int64_t value_dim = file.get_int(prefix + "attention.value_length", 2, 1024, c.head_dim);
  check(value_dim == c.head_dim, "model", "'", file.path(), "': keys of ", c.head_dim, " and values of ",
        value_dim, " dimensions: only equal ones are supported");
  check(c.head_dim % 8 == 0, "model", "'", file.path(), "': head dimension ", c.head_dim,
        " is not supported: it must be a multiple of 8, at most 1024");
  c.n_vocab = file.weight("token_embd.weight").rows;
  return c;
}

double read_epsilon(const Gguf& file, const std::string& key) {
  const double epsilon = file.get_float(key);
  check(epsilon > 0 && epsilon < 1, "model", "'", file.path(), "': RMS epsilon ", epsilon,
        " is out of range");
  return epsilon;
}

double read_factor(const Gguf& file, const std::string& key, double none) {
  const double factor = file.get_float(key, 0);
  check(factor >= 0 && factor < 1e6, "model", "'", file.path(), "': '", key, "' is ", factor,
        ", expected a factor from 0 to 1e6");
  return factor == 0 ? none : factor;
}

ModelConfig read_decoder(const Gguf& file, const std::string& prefix) {
  ModelConfig config = read_sizes(file, prefix);
  config.rms_eps = read_epsilon(file, prefix + "attention.layer_norm_rms_epsilon");
  config.rope = read_rope(file, prefix, config.head_dim);
  read_sliding_window(file, prefix, config);
  config.n_experts = file.get_int(prefix + "expert_count", 0, kMaxExperts, 0);
  config.n_experts_used = file.get_int(prefix + "expert_used_count", 0, config.n_experts, 0);
  check(config.n_experts == 0 || config.n_experts_used > 0, "model", "'", file.path(), "': '", prefix,
        "expert_used_count' must lie in 1 to ", config.n_experts, ", the number of experts");
  return config;
}

ModelConfig read_dense_decoder(const Gguf& file, const std::string& prefix) {
  const ModelConfig config = read_decoder(file, prefix);
  check(config.n_experts == 0, "model", "'", file.path(), "': mixture of experts ('", prefix,
        "expert_count' = ", config.n_experts, ") is not supported in this architecture");
  return config;
}

ModelConfig read_config(const Gguf& file) {
  const Architecture& row = architecture_of(file);
  ModelConfig c = row.read_config(file, concat(row.name, "."));
  c.arch = row.name;
  c.name = file.get_string("general.name", "");
  return c;
}

}  // namespace spectralkv
