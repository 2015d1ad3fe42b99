// Fuzzes vocabularies of GGUF files: each is refused, or makes tokens of any text, which lie inside it and
// can be decoded. driver.cc runs it without libFuzzer.
//
// An input is a GGUF file; its own last bytes are the text, beside a fixed one.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "base/error.h"
#include "cpp/tokenizer/vocabularies.h"
#include "engine/vocab.h"
#include "fuzz/fuzz.h"
#include "gguf/gguf.h"
#include "support/gguf_builder.h"
#include "tokenizer/pretokenizers.h"

namespace spectralkv {
namespace {

std::string file_of(const Vocab& vocab) {
  const std::string prefix = "tokenizer.ggml.";
  test::GgufBuilder file;
  file.str(prefix + "model", vocab.model).strings(prefix + "tokens", vocab.tokens);
  std::vector<std::int32_t> types;
  for (const TokenType type : vocab.types) types.push_back(static_cast<std::int32_t>(type));
  file.numbers(prefix + "token_type", test::Kind::i32, types);
  if (!vocab.pre.empty()) file.str(prefix + "pre", vocab.pre);
  if (!vocab.merges.empty()) file.strings(prefix + "merges", vocab.merges);
  if (!vocab.scores.empty()) file.numbers(prefix + "scores", test::Kind::f32, vocab.scores);
  file.u32(prefix + "bos_token_id", 1).u32(prefix + "eos_token_id", 2);
  return file.build();
}

void check_text(const Tokenizer& tokenizer, std::string_view text) {
  for (const bool special : {false, true}) {
    const std::vector<Token> ids = tokenizer.encode(text, true, special);
    for (const Token id : ids)
      if (id < 0 || id >= tokenizer.n_vocab()) std::abort();
    tokenizer.decode(ids, true, true);
  }
}

}  // namespace
}  // namespace spectralkv

std::vector<std::string> fuzz_seeds() {
  using namespace spectralkv;
  std::vector<std::string> seeds;
  for (const PreTokenizer& rules : pretokenizers()) {
    Vocab vocab = byte_level({"a b", "Ġ a", "Ġ Ġ", "1 2", "Ã ©", "ab c"}, std::string(rules.name));
    add(vocab, "<|end|>", TokenType::control);
    add(vocab, "<us", TokenType::user_defined);
    seeds.push_back(file_of(vocab));
  }
  Vocab vocab = scored(true);
  for (const char* text : {"a", "b", "ab", "\u2581a", "\u00e9"}) add(vocab, text, TokenType::normal, 1.0f);
  seeds.push_back(file_of(vocab));
  vocab.merges = {"a b", "\u2581 a"};
  seeds.push_back(file_of(vocab));
  return seeds;
}

std::vector<std::string> fuzz_words() {
  std::vector<std::string> words{"GGUF", "gpt2", "llama", "general.alignment"};
  for (const char* key :
       {"model", "pre", "tokens", "token_type", "scores", "merges", "bos_token_id", "eos_token_id",
        "unknown_token_id", "add_bos_token", "add_space_prefix", "eot_token_id", "added_tokens"})
    words.push_back(std::string("tokenizer.ggml.") + key);
  for (const auto& rules : spectralkv::pretokenizers()) words.emplace_back(rules.name);
  return words;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace spectralkv;
  constexpr std::string_view kText =
      "don't I'LL 12345 \u0663\u0664 \u00c9COLE e\u0301 \u6771\u4eac\u3042 \r\n \n  x$+<=>!? <|end|><us "
      "IMGIMGABZ<sentinel:1>\xff\xc3 \xf0\x9f\x99\x82\u2028";
  try {
    const auto file = Gguf::from_bytes(std::as_bytes(std::span(data, size)), "fuzz.gguf");
    const Tokenizer tokenizer(read_vocab(file, false));
    const std::size_t own = size < 200 ? size : 200;
    check_text(tokenizer, kText);
    check_text(tokenizer, std::string_view(reinterpret_cast<const char*>(data) + size - own, own));
  } catch (const Error&) {
    // Refused: what nearly every input deserves.
  }
  return 0;
}
