// tokenizer.ggml.* keys. What a file leaves open is as llama.cpp takes it.
#include "engine/vocab.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/error.h"
#include "gguf/cursor.h"
#include "tokenizer/pretokenizers.h"
#include "tokenizer/spm.h"

namespace spectralkv {
namespace {

constexpr std::string_view kPrefix = "tokenizer.ggml.";

// Tokens that are control tokens whatever their type: files have it wrong, so that such a token in a prompt
// would be read as plain text, and in an answer be printed. Where a file has one of the keys, it names its
// tokens for that use itself, and the types stand. ends: an answer ends with such a token, as it does for
// llama.cpp.
struct ControlTexts {
  bool ends;
  std::array<std::string_view, 2> keys;
  std::array<std::string_view, 24> texts;
};
constexpr ControlTexts kControlTexts[] = {
    {true,
     {},
     {"<|eot_id|>",
      "<|im_end|>",
      "<|end|>",
      "<|return|>",
      "<|call|>",
      "<|flush|>",
      "<|calls|>",
      "<end_of_turn>",
      "<|endoftext|>",
      "</s>",
      "<|eom_id|>",
      "<EOT>",
      "_<EOT>",
      "[EOT]",
      "[EOS]",
      "<|end_of_text|>",
      "<eos>",
      "<turn|>",
      "<|tool_response>",
      "<end_of_utterance>",
      "[e~[",
      "<\uff5cend\u2581of\u2581sentence\uff5c>"}},
    {false,
     {"fim_pre_token_id", "prefix_token_id"},
     {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<\uff5cfim\u2581begin\uff5c>", "<PRE>",
      "\u2581<PRE>", "<|code_prefix|>", "<|prefix|>"}},
    {false,
     {"fim_suf_token_id", "suffix_token_id"},
     {"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<\uff5cfim\u2581hole\uff5c>", "<SUF>", "\u2581<SUF>",
      "<|code_suffix|>", "<|suffix|>"}},
    {false,
     {"fim_mid_token_id", "middle_token_id"},
     {"<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<\uff5cfim\u2581end\uff5c>", "<MID>", "\u2581<MID>",
      "<|code_middle|>", "<|middle|>"}},
    {true, {"fim_pad_token_id", ""}, {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"}},
    {true, {"fim_rep_token_id", ""}, {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"}},
    {true, {"fim_sep_token_id", ""}, {"<|file_sep|>"}},
};

void mark_control_tokens(const Gguf& file, Vocab& v) {
  if (v.types.empty())
    for (const std::string& token : v.tokens)  // what the tokenizer takes them for where there are no types
      v.types.push_back(v.model == "llama" && byte_of_token(token) >= 0 ? TokenType::byte
                                                                        : TokenType::normal);
  if (v.types.size() != v.tokens.size()) return;  // a fault that the tokenizer names
  std::vector<std::string_view> texts;
  for (const ControlTexts& group : kControlTexts) {
    const auto named = [&](std::string_view key) { return file.has(concat(kPrefix, key)); };
    if (std::none_of(group.keys.begin(), group.keys.end(), named))
      texts.insert(texts.end(), group.texts.begin(), group.texts.end());
  }
  std::sort(texts.begin(), texts.end());
  for (std::size_t t = 0; t < v.tokens.size(); ++t) {
    if (v.types[t] != TokenType::unknown && !v.tokens[t].empty() &&
        std::binary_search(texts.begin(), texts.end(), std::string_view(v.tokens[t])))
      v.types[t] = TokenType::control;
  }
}

// Chat formats end a turn with tokens that files do not name.
void add_turn_ends(const Gguf& file, Vocab& v) {
  if (v.types.size() != v.tokens.size()) return;
  std::vector<std::string_view> texts;
  for (const ControlTexts& group : kControlTexts) {
    if (!group.ends) continue;
    for (const std::string_view text : group.texts)
      if (!text.empty()) texts.push_back(text);
    for (const std::string_view key : group.keys)
      if (!key.empty() && file.has(concat(kPrefix, key)))
        v.more_eog.push_back(static_cast<Token>(
            file.get_int(concat(kPrefix, key), -1, static_cast<std::int64_t>(v.tokens.size()) - 1)));
  }
  std::sort(texts.begin(), texts.end());
  // Of formats with a token for the end of all, <|end|> ends a part of an answer.
  constexpr std::array<std::string_view, 2> kOfParts = {"<|return|>", "<|call|>"};
  const bool in_parts = std::all_of(kOfParts.begin(), kOfParts.end(), [&](std::string_view text) {
    return std::find(v.tokens.begin(), v.tokens.end(), text) != v.tokens.end();
  });
  for (std::size_t t = 0; t < v.tokens.size(); ++t)
    if (v.types[t] == TokenType::control && !v.tokens[t].empty() &&
        std::binary_search(texts.begin(), texts.end(), std::string_view(v.tokens[t])) &&
        !(in_parts && v.tokens[t] == "<|end|>"))
      v.more_eog.push_back(static_cast<Token>(t));
}

// GGUF can say that there is a space in front; a key of ours says where Hugging Face's Metaspace puts it.
SpacePrefix space_prefix_of(const Gguf& file) {
  constexpr std::string_view kScheme = "spectralkv.tokenizer.prepend_scheme";
  if (!file.get_bool(concat(kPrefix, "add_space_prefix"), true)) return SpacePrefix::none;
  const std::string scheme = file.get_string(std::string(kScheme), "");
  if (scheme.empty()) return SpacePrefix::each;
  if (scheme == "always") return SpacePrefix::each_without;
  check(scheme == "first", "engine", "'", file.path(), "': '", kScheme, "' is '", printable(scheme),
        "', expected always or first");
  return SpacePrefix::first_without;
}

}  // namespace

Vocab read_vocab(const Gguf& file, bool allow_unknown_pre) {
  const std::string prefix(kPrefix);
  Vocab v;
  v.source = file.path();
  v.allow_unknown_pre = allow_unknown_pre;
  v.model = file.get_string(prefix + "model");
  const bool bpe = v.model == "gpt2";
  if (bpe) v.pre = file.get_string(prefix + "pre", "");
  if (bpe && v.pre.empty()) {
    v.pre = "default";
    v.warning = concat("'", file.path(), "' does not say how its tokenizer splits a text ('", prefix,
                       "pre' is missing): it is split by the rule 'default', as in llama.cpp, which costs "
                       "quality where the model was trained with another");
  }
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
  mark_control_tokens(file, v);
  if (bpe || file.has(prefix + "merges")) v.merges = file.get_strings(prefix + "merges");

  const auto id = [&](const char* name, std::int64_t of_llama) {
    const std::int64_t fallback = v.model == "llama" && of_llama < n ? of_llama : -1;
    return static_cast<Token>(file.get_int(prefix + name + "_token_id", -1, n - 1, fallback));
  };
  v.bos = id("bos", 1);
  v.eos = id("eos", 2);
  v.unk = id("unknown", 0);
  v.eot = id("eot", -1);
  v.eom = id("eom", -1);
  v.pad = id("padding", -1);
  if (const GgufValue* more = file.find_value(prefix + "eos_token_ids"); more != nullptr)
    for (const auto token : file.get_ints(prefix + "eos_token_ids")) {
      check(token >= 0 && token < n, "engine", "'", file.path(), "': end token ", token,
            " is not in the vocabulary");
      v.more_eog.push_back(static_cast<Token>(token));
    }
  add_turn_ends(file, v);
  const PreTokenizer* rules = bpe ? find_pretokenizer(v.pre) : nullptr;
  v.add_bos = file.get_bool(prefix + "add_bos_token", rules != nullptr ? rules->add_bos : !bpe);
  v.add_eos = file.get_bool(prefix + "add_eos_token", false);
  v.space_prefix = space_prefix_of(file);
  // Falcon's end of text, which llama.cpp takes for BOS where a file of this kind names none.
  constexpr Token kFalconEnd = 11;
  if (v.bos < 0 && v.add_bos && rules != nullptr && rules->add_bos && kFalconEnd < n) v.bos = kFalconEnd;
  return v;
}

}  // namespace spectralkv
