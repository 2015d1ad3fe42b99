// A model of any architecture small enough for unit tests, with random weights, as the bytes of a GGUF file.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/random.h"
#include "support/gguf_builder.h"

namespace spectralkv::test {

// A key's value; std::monostate: the key is not there.
using TinyValue = std::variant<std::uint32_t, float, bool, std::string_view, std::monostate>;
using TinyKeys = std::vector<std::pair<std::string_view, TinyValue>>;  // without the architecture's name

// What files of an architecture, or of a kind of them, have beside what all have.
struct TinyExtras {
  std::string_view arch = {};      // general.architecture, where it is not the row's name
  bool head_norms = false;         // attn_q_norm and attn_k_norm
  std::uint32_t least_layers = 1;  // so many show all that layers do
  std::uint32_t experts = 0;       // 0: none
  bool split = false;              // a tensor of each expert
};
struct TinyArchitecture {
  std::string_view name;
  std::vector<std::string_view> biases;  // a layer's matrices with one
  TinyKeys keys;
  TinyExtras extras;

  std::string arch() const { return std::string(extras.arch.empty() ? name : extras.arch); }
};

inline const std::vector<TinyArchitecture>& tiny_architectures() {
  static const std::vector<TinyArchitecture> table = {
      {"llama", {}, {}, {}},
      {"qwen2", {"attn_q", "attn_k", "attn_v"}, {{"rope.freq_base", 1e6f}}, {}},
      {"qwen3", {}, {{"rope.freq_base", 1e6f}}, {.head_norms = true}},
      {"granite",
       {},
       {{"attention.scale", 0.2f},
        {"embedding_scale", 3.0f},
        {"residual_scale", 0.4f},
        {"logit_scale", 5.0f}},
       {}},
      {"smollm3", {}, {}, {.least_layers = 4}},
      {"mistral3",
       {},
       {{"rope.scaling.type", "yarn"},
        {"rope.scaling.factor", 4.0f},
        {"rope.scaling.original_context_length", 16u},
        {"rope.scaling.yarn_log_multiplier", 0.5f},
        {"attention.temperature_scale", 0.3f}},
       {}},
      {"mixtral", {}, {{"expert_count", 4u}, {"expert_used_count", 2u}}, {.arch = "llama", .experts = 4}},
      {"mixtral_split",
       {},
       {{"expert_count", 3u}, {"expert_used_count", 3u}},
       {.arch = "llama", .experts = 3, .split = true}},
  };
  return table;
}

inline const TinyArchitecture& tiny_architecture(std::string_view name) {
  for (const TinyArchitecture& row : tiny_architectures())
    if (row.name == name) return row;
  throw std::logic_error("tests/support/tiny_model.h has no line for the architecture " + std::string(name));
}

struct TinyModel {
  std::uint32_t n_layers = 2, n_embd = 64, n_heads = 4, n_kv_heads = 2, n_ff = 96, n_vocab = 40;
  std::uint32_t head_dim = 0;  // 0: n_embd / n_heads, and the file has no key for it
  std::uint32_t context_length = 512;
  std::uint64_t seed = 1;
  std::string name = "tiny";
  std::string arch = "llama";  // a row of tiny_architectures()
  TinyKeys changed = {};       // in place of what the file would have

  std::string bytes() const { return builder().build(); }
  std::uint32_t layers() const { return std::max(n_layers, tiny_architecture(arch).extras.least_layers); }

  // Of the architecture, as the file has them.
  TinyKeys keys() const {
    TinyKeys all = {
        {"block_count", layers()},
        {"embedding_length", n_embd},
        {"context_length", context_length},
        {"feed_forward_length", n_ff},
        {"attention.head_count", n_heads},
        {"attention.head_count_kv", n_kv_heads},
        {"attention.layer_norm_rms_epsilon", 1e-5f},
    };
    if (head_dim != 0)
      all.insert(all.end(), {{"attention.key_length", head_dim}, {"attention.value_length", head_dim}});
    const TinyKeys& own = tiny_architecture(arch).keys;
    all.insert(all.end(), own.begin(), own.end());
    for (const auto& [key, value] : changed) {
      const auto at =
          std::find_if(all.begin(), all.end(), [&k = key](const auto& entry) { return entry.first == k; });
      if (at == all.end())
        all.emplace_back(key, value);
      else
        at->second = value;
    }
    return all;
  }

  GgufBuilder builder() const {
    const TinyArchitecture& own = tiny_architecture(arch);
    GgufBuilder b;
    b.str("general.architecture", own.arch()).str("general.name", name);
    for (const auto& [key, value] : keys()) {
      const std::string full = own.arch() + "." + std::string(key);
      if (const auto* whole = std::get_if<std::uint32_t>(&value)) b.u32(full, *whole);
      if (const auto* number = std::get_if<float>(&value)) b.f32(full, *number);
      if (const auto* flag = std::get_if<bool>(&value)) b.boolean(full, *flag);
      if (const auto* text = std::get_if<std::string_view>(&value)) b.str(full, *text);
    }
    std::vector<std::string> tokens{"<unk>", "<s>", "</s>"};
    std::vector<std::int32_t> types{2, 3, 3};
    for (std::uint32_t i = 3; i < n_vocab; ++i) {
      tokens.push_back(std::string(1, static_cast<char>('a' + i % 26)) + (i < 29 ? "" : "x"));
      types.push_back(1);
    }
    b.str("tokenizer.ggml.model", "llama").strings("tokenizer.ggml.tokens", tokens);
    b.numbers<std::int32_t>("tokenizer.ggml.token_type", Kind::i32, types);
    b.u32("tokenizer.ggml.bos_token_id", 1).u32("tokenizer.ggml.eos_token_id", 2);
    b.u32("tokenizer.ggml.unknown_token_id", 0);

    std::uint64_t counter = 0;
    const auto values = [&](std::size_t n, std::uint32_t fan_in) {
      std::vector<float> v(n);
      for (float& x : v)
        x = static_cast<float>(random_normal(seed, counter++) * 1.5 / std::sqrt(static_cast<double>(fan_in)));
      return v;
    };
    const auto matrix = [&](const std::string& tensor, std::uint32_t rows, std::uint32_t cols) {
      b.f32_tensor(tensor + ".weight", {cols, rows}, values(std::size_t{rows} * cols, cols));
    };
    const auto gain = [&](const std::string& tensor) {
      b.f32_tensor(tensor + ".weight", {n_embd}, std::vector<float>(n_embd, 1.0f));
    };
    const std::uint32_t d = head_dim != 0 ? head_dim : n_embd / n_heads;
    const std::uint32_t q_width = d * n_heads, kv_width = d * n_kv_heads;
    matrix("token_embd", n_vocab, n_embd);
    gain("output_norm");
    for (std::uint32_t l = 0; l < layers(); ++l) {
      const std::string prefix = "blk." + std::to_string(l) + ".";
      gain(prefix + "attn_norm");
      gain(prefix + "ffn_norm");
      const auto part = [&](std::string_view which, std::uint32_t rows, std::uint32_t cols) {
        const std::string tensor = prefix + std::string(which);
        matrix(tensor, rows, cols);
        if (std::count(own.biases.begin(), own.biases.end(), which) > 0)
          b.f32_tensor(tensor + ".bias", {rows}, values(rows, cols));
      };
      part("attn_q", q_width, n_embd);
      part("attn_k", kv_width, n_embd);
      part("attn_v", kv_width, n_embd);
      part("attn_output", n_embd, q_width);
      if (own.extras.head_norms)
        for (const char* which : {"attn_q_norm", "attn_k_norm"}) {
          std::vector<float> gains = values(d, 100);
          for (float& x : gains) x += 1;
          b.f32_tensor(prefix + which + ".weight", {d}, gains);
        }
      if (own.extras.experts > 0) matrix(prefix + "ffn_gate_inp", own.extras.experts, n_embd);
      const auto feed_forward = [&](const std::string& which, std::uint32_t rows, std::uint32_t cols) {
        const std::uint32_t n = own.extras.experts;
        if (n == 0) return part(which, rows, cols);
        if (!own.extras.split)
          b.f32_tensor(prefix + which + "_exps.weight", {cols, rows, n},
                       values(std::size_t{n} * rows * cols, cols));
        else
          for (std::uint32_t e = 0; e < n; ++e) matrix(prefix + which + "." + std::to_string(e), rows, cols);
      };
      feed_forward("ffn_gate", n_ff, n_embd);
      feed_forward("ffn_up", n_ff, n_embd);
      feed_forward("ffn_down", n_embd, n_ff);
    }
    return b;
  }

  // n ids that look like a text: seeded, none of them special.
  std::vector<std::int32_t> text(std::size_t n) const {
    std::vector<std::int32_t> ids(n);
    for (std::size_t i = 0; i < n; ++i)
      ids[i] = 3 + static_cast<std::int32_t>(random_bits(seed + 99, i) % (n_vocab - 3));
    return ids;
  }
};

}  // namespace spectralkv::test
