// What `inspect` finds out about a file, whether it can run or not.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/gguf.h"
#include "model/config.h"

namespace spectralkv {

struct TypeSum {
  std::string_view type;
  std::int64_t tensors = 0, values = 0, bytes = 0;
};

struct VocabFacts {
  std::string model, pre;  // tokenizer.ggml.model and .pre; empty: not there
  std::int64_t tokens = 0;
  std::int64_t bos = -1, eos = -1;  // -1: none
  bool chat_template = false;
};

struct FileFacts {
  std::vector<TypeSum> types;  // falling bytes
  std::int64_t parameters = 0, tensor_bytes = 0;
  // Where `complete` is false, what could be read: 0 and "" are unknown.
  ModelConfig model;
  bool complete = false;
  VocabFacts vocab;
  std::vector<std::string> obstacles;  // why it cannot run
  std::int64_t n_ctx = 0;              // tokens that the estimates are for; 0: unknown
  std::string checked;                 // what the check of the file found right; empty: not asked for

  // Whether the shape of its cache is known, and the bytes of so many tokens can be counted: what a file says
  // may be absurd.
  bool has_cache(std::int64_t tokens) const {
    const bool known = model.n_layers > 0 && model.n_kv_heads > 0 && model.head_dim > 0 && tokens > 0;
    return known && cache_bytes_per_token() <= (std::int64_t{1} << 58) / tokens;
  }
  // Keys and values of one token in f16.
  std::int64_t cache_bytes_per_token() const {
    return 2 * 2 * model.n_layers * model.n_kv_heads * model.head_dim;
  }
};

// n_ctx 0: the model's own. The file is open with Gguf::Types::any.
FileFacts gather_facts(const Gguf& file, std::int64_t n_ctx);

}  // namespace spectralkv
