// Facts of a file: sums over its tensors, the model's sizes, the vocabulary, and what keeps it from running.
#include "cli/inspect_facts.h"

#include <algorithm>

#include "base/error.h"
#include "engine/obstacles.h"

namespace spectralkv {
namespace {

// An entry that may be missing, of another kind or out of range: then 0.
std::int64_t size_or_none(const Gguf& file, const std::string& key, std::int64_t most) {
  try {
    return file.get_int(key, 1, most, 0);
  } catch (const Error&) {
    return 0;
  }
}

std::string text_or_none(const Gguf& file, std::string_view key) {
  const GgufValue* value = file.find_value(key);
  const auto* text = value == nullptr ? nullptr : std::get_if<std::string>(value);
  return text == nullptr ? "" : *text;
}

// The keys that nearly every architecture has, read without knowing it. Where heads or head dimensions differ
// between layers, or between keys and values, they stay unknown.
ModelConfig guess_model(const Gguf& file) {
  constexpr std::int64_t kMostContext = std::int64_t{1} << 31;
  ModelConfig c;
  c.arch = text_or_none(file, "general.architecture");
  const auto size = [&](const char* name, std::int64_t most = 1 << 24) {
    return size_or_none(file, concat(c.arch, ".", name), most);
  };
  c.n_layers = size("block_count", 4096);
  c.n_embd = size("embedding_length");
  c.n_ff = size("feed_forward_length");
  c.n_heads = size("attention.head_count");
  const bool has_kv_heads = file.has(c.arch + ".attention.head_count_kv");
  c.n_kv_heads = has_kv_heads ? size("attention.head_count_kv") : c.n_heads;
  c.context_length = size("context_length", kMostContext);
  c.head_dim = size("attention.key_length", 1024);
  if (c.head_dim == 0 && c.n_heads > 0 && c.n_embd % c.n_heads == 0) c.head_dim = c.n_embd / c.n_heads;
  const std::string value_key = c.arch + ".attention.value_length";
  if (file.has(value_key) && size_or_none(file, value_key, 1024) != c.head_dim) c.head_dim = 0;
  if (c.head_dim > 1024 || c.head_dim % 8 != 0) c.head_dim = 0;  // no cache type of ours holds it
  c.sliding_window = size("attention.sliding_window", kMostContext);
  if (const GgufTensor* table = file.find_tensor("token_embd.weight"); table != nullptr)
    c.n_vocab = table->dims.size() == 2 ? table->dims[1] : 0;
  return c;
}

VocabFacts vocab_of(const Gguf& file) {
  VocabFacts v;
  v.model = text_or_none(file, "tokenizer.ggml.model");
  v.pre = text_or_none(file, "tokenizer.ggml.pre");
  if (const GgufValue* tokens = file.find_value("tokenizer.ggml.tokens"); tokens != nullptr)
    if (const auto* texts = std::get_if<std::vector<std::string>>(tokens); texts != nullptr)
      v.tokens = static_cast<std::int64_t>(texts->size());
  const auto id = [&](const std::string& name) {
    const std::string key = "tokenizer.ggml." + name + "_token_id";
    try {
      return file.get_int(key, -1, std::max<std::int64_t>(v.tokens - 1, -1), -1);
    } catch (const Error&) {
      return std::int64_t{-1};
    }
  };
  v.bos = id("bos");
  v.eos = id("eos");
  v.chat_template = !text_or_none(file, "tokenizer.chat_template").empty();
  return v;
}

}  // namespace

FileFacts gather_facts(const Gguf& file, std::int64_t n_ctx) {
  FileFacts facts;
  for (const auto& tensor : file.tensors()) {
    auto sum = std::find_if(facts.types.begin(), facts.types.end(),
                            [&](const TypeSum& s) { return s.type == tensor.type_name(); });
    if (sum == facts.types.end()) sum = facts.types.insert(sum, TypeSum{tensor.type_name()});
    sum->tensors += 1;
    sum->values += tensor.n_values();
    sum->bytes += tensor.bytes;
    facts.parameters += tensor.n_values();
    facts.tensor_bytes += tensor.bytes;
  }
  std::stable_sort(facts.types.begin(), facts.types.end(),
                   [](const TypeSum& a, const TypeSum& b) { return a.bytes > b.bytes; });
  facts.obstacles = obstacles(file);
  facts.vocab = vocab_of(file);
  try {
    facts.model = read_config(file);
    facts.complete = true;
  } catch (const Error&) {  // one of the obstacles
    facts.model = guess_model(file);
  }
  facts.n_ctx = n_ctx > 0 ? n_ctx : facts.model.context_length;
  return facts;
}

}  // namespace spectralkv
