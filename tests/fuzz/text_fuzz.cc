// Fuzzes what tokenizers make of texts: byte-level ones give every text back, marked texts hold no control
// token, and pieces put together are what `decode` gives. driver.cc runs it without libFuzzer.
//
// An input is a byte, which chooses the vocabulary, and the text.
#include <cstdlib>
#include <memory>
#include <string_view>

#include "base/error.h"
#include "cpp/tokenizer/vocabularies.h"
#include "fuzz/fuzz.h"
#include "tokenizer/pretokenizers.h"

namespace spectralkv {
namespace {

struct Known {
  std::unique_ptr<Tokenizer> tokenizer;
  bool byte_level;
};

std::vector<Known> make_all() {
  std::vector<Known> all;
  const auto keep = [&](Vocab vocab) {
    const bool bytes = vocab.model == "gpt2";
    add(vocab, "<|end|>", TokenType::control);
    add(vocab, "<us", TokenType::user_defined);
    all.push_back({std::make_unique<Tokenizer>(std::move(vocab)), bytes});
  };
  for (const PreTokenizer& rules : pretokenizers())
    keep(byte_level({"a b", "Ġ a", "Ġ Ġ", "1 2", "Ã ©", "ab c"}, std::string(rules.name)));
  for (const auto prefix :
       {SpacePrefix::none, SpacePrefix::each, SpacePrefix::each_without, SpacePrefix::first_without})
    for (const bool bytes : {false, true}) {
      Vocab vocab = scored(bytes);
      for (const char* piece : {"a", "b", "c", "\u00e9", "ab", "\u2581a", "\u2581\u2581", "bc"})
        add(vocab, piece, TokenType::normal, -static_cast<float>(vocab.tokens.size()));
      vocab.space_prefix = prefix;
      keep(std::move(vocab));
    }
  return all;
}

void check_text(const Known& known, std::string_view text) {
  const Tokenizer& tokenizer = *known.tokenizer;
  for (const bool special : {false, true}) {
    const std::vector<Token> ids = tokenizer.encode(text, false, special);
    std::string pieces;
    for (const Token id : ids) {
      if (id < 0 || id >= tokenizer.n_vocab()) std::abort();
      pieces += tokenizer.piece(id, true);
    }
    if (tokenizer.decode(ids, true, false) != pieces) std::abort();
    if (known.byte_level && pieces != text) std::abort();
  }
  const std::string marked = tokenizer.mark_plain(text);
  const std::vector<Token> ids = tokenizer.encode_marked(marked);
  for (const Token id : ids)
    if (tokenizer.is_control(id) && id != tokenizer.vocab().unk) std::abort();
  if (text.find(kPlainMark) == std::string_view::npos) {
    if (Tokenizer::without_marks(marked) != text) std::abort();
    if (ids != tokenizer.encode(text, false, false)) std::abort();
  }
  Utf8Stream stream;
  std::string out;
  for (const char byte : text) out += stream.put(std::string_view(&byte, 1));
  out += stream.finish();
  Utf8Stream whole;
  std::string at_once = whole.put(text);
  at_once += whole.finish();
  if (out != at_once) std::abort();
}

}  // namespace
}  // namespace spectralkv

std::vector<std::string> fuzz_seeds() {
  std::vector<std::string> seeds;
  for (std::size_t i = 0; i < spectralkv::make_all().size(); ++i)
    seeds.push_back(
        static_cast<char>(i) +
        std::string("don't I'LL 12345 \u0663 \u00c9COLE e\u0301 \u6771\u4eac \r\n \n  x$+<=>!? <|end|><us "
                    "\xff\xc3 \xf0\x9f\x99\x82\u2028 abc  a</s>"));
  return seeds;
}

std::vector<std::string> fuzz_words() {
  return {"<|end|>",
          "<us",
          "<s>",
          "</s>",
          "<unk>",
          "<0x41>",
          "\u2581",
          "\xef\xb7\x90",
          "'re",
          " \n",
          "\r\n",
          "\u00a0",
          "\u3000",
          "\u0130",
          "\u017f",
          "123",
          "\xf0\x9f\x99\x82",
          "\xf4\x90\x80\x80",
          "\xed\xa0\x80",
          "\xc0\x80",
          "abc",
          " a"};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace spectralkv;
  static const auto all = make_all();
  if (size == 0) return 0;
  check_text(all[data[0] % all.size()], std::string_view(reinterpret_cast<const char*>(data) + 1, size - 1));
  return 0;
}
