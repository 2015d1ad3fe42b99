// A model of any architecture small enough for unit tests, with random weights, as the bytes of a GGUF file.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/random.h"
#include "support/gguf_builder.h"

namespace spectralkv::test {

// What files of an architecture have beside what all have.
struct TinyArchitecture {
  std::string_view name;
  std::vector<std::string_view> biases;  // a layer's matrices with one
  std::vector<std::pair<std::string_view, float>> keys;
};

inline const TinyArchitecture& tiny_architecture(std::string_view name) {
  static const std::vector<TinyArchitecture> table = {
      {"llama", {}, {}},
      {"qwen2", {"attn_q", "attn_k", "attn_v"}, {{"rope.freq_base", 1e6f}}},
  };
  for (const TinyArchitecture& row : table)
    if (row.name == name) return row;
  throw std::logic_error("tests/support/tiny_model.h has no line for the architecture " + std::string(name));
}

struct TinyModel {
  std::uint32_t n_layers = 2, n_embd = 64, n_heads = 4, n_kv_heads = 2, n_ff = 96, n_vocab = 40;
  std::uint32_t context_length = 512;
  std::uint64_t seed = 1;
  std::string name = "tiny";
  std::string arch = "llama";

  std::string bytes() const { return builder().build(); }

  GgufBuilder builder() const {
    const TinyArchitecture& own = tiny_architecture(arch);
    GgufBuilder b;
    b.str("general.architecture", arch).str("general.name", name);
    b.u32(arch + ".block_count", n_layers).u32(arch + ".embedding_length", n_embd);
    b.u32(arch + ".context_length", context_length).u32(arch + ".feed_forward_length", n_ff);
    b.u32(arch + ".attention.head_count", n_heads).u32(arch + ".attention.head_count_kv", n_kv_heads);
    b.f32(arch + ".attention.layer_norm_rms_epsilon", 1e-5f);
    for (const auto& [key, value] : own.keys) b.f32(arch + "." + std::string(key), value);
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
    const std::uint32_t kv_width = n_embd / n_heads * n_kv_heads;
    matrix("token_embd", n_vocab, n_embd);
    gain("output_norm");
    for (std::uint32_t l = 0; l < n_layers; ++l) {
      const std::string prefix = "blk." + std::to_string(l) + ".";
      gain(prefix + "attn_norm");
      gain(prefix + "ffn_norm");
      const auto part = [&](std::string_view which, std::uint32_t rows, std::uint32_t cols) {
        const std::string tensor = prefix + std::string(which);
        matrix(tensor, rows, cols);
        if (std::count(own.biases.begin(), own.biases.end(), which) > 0)
          b.f32_tensor(tensor + ".bias", {rows}, values(rows, cols));
      };
      part("attn_q", n_embd, n_embd);
      part("attn_k", kv_width, n_embd);
      part("attn_v", kv_width, n_embd);
      part("attn_output", n_embd, n_embd);
      part("ffn_gate", n_ff, n_embd);
      part("ffn_up", n_ff, n_embd);
      part("ffn_down", n_embd, n_ff);
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
