// tokenizer.ggml.* keys.
#include "engine/vocab.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/error.h"

namespace spectralkv {

Vocab read_vocab(const Gguf& file, bool allow_unknown_pre) {
  const std::string prefix = "tokenizer.ggml.";
  Vocab v;
  v.source = file.path();
  v.allow_unknown_pre = allow_unknown_pre;
  v.model = file.get_string(prefix + "model");
  const bool bpe = v.model == "gpt2";
  v.pre = file.get_string(prefix + "pre", bpe ? "gpt-2" : "");
  v.tokens = file.get_strings(prefix + "tokens");
  const auto n = static_cast<std::int64_t>(v.tokens.size());
  if (file.has(prefix + "scores"))
    for (const double score : file.get_floats(prefix + "scores"))
      v.scores.push_back(static_cast<float>(score));
  if (file.has(prefix + "token_type"))
    for (const auto type : file.get_ints(prefix + "token_type")) {
      check(type >= 1 && type <= 6, "engine", "'", file.path(), "': '", prefix, "token_type' holds ", type,
            ", expected 1 to 6");
      v.types.push_back(static_cast<TokenType>(type));
    }
  if (bpe || file.has(prefix + "merges")) v.merges = file.get_strings(prefix + "merges");

  const auto id = [&](const char* name) {
    return static_cast<Token>(file.get_int(prefix + name + "_token_id", -1, n - 1, -1));
  };
  v.bos = id("bos");
  v.eos = id("eos");
  v.eot = id("eot");
  v.eom = id("eom");
  v.unk = id("unknown");
  v.pad = id("padding");
  if (const GgufValue* more = file.find_value(prefix + "eos_token_ids"); more != nullptr)
    for (const auto token : file.get_ints(prefix + "eos_token_ids")) {
      check(token >= 0 && token < n, "engine", "'", file.path(), "': end token ", token,
            " is not in the vocabulary");
      v.more_eog.push_back(static_cast<Token>(token));
    }
  // Chat formats end a turn with tokens that older files do not name.
  constexpr std::array<std::string_view, 6> kTurnEnds = {"<|im_end|>", "<|eot_id|>",      "<|eom_id|>",
                                                         "<|end|>",    "<|end_of_text|>", "<|endoftext|>"};
  for (std::size_t t = 0; t < v.tokens.size(); ++t)
    if (t < v.types.size() && v.types[t] == TokenType::control &&
        std::find(kTurnEnds.begin(), kTurnEnds.end(), v.tokens[t]) != kTurnEnds.end())
      v.more_eog.push_back(static_cast<Token>(t));
  v.add_bos = file.get_bool(prefix + "add_bos_token", !bpe);
  v.add_eos = file.get_bool(prefix + "add_eos_token", false);
  v.add_space_prefix = file.get_bool(prefix + "add_space_prefix", true);
  if (v.add_bos)
    check(v.bos >= 0, "engine", "'", file.path(), "': the vocabulary asks for a BOS token but names none");
  return v;
}

}  // namespace spectralkv
