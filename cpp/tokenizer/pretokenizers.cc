// The table of pre-tokenizers: names and what they stand for as llama.cpp has them, each a list of cuts.
#include "tokenizer/pretokenizers.h"

#include "tokenizer/split_rules.h"

namespace spectralkv {
namespace {

using namespace split_rules;

// [A-Za-zµÀ-Ö...] of deepseek-llm.
constexpr CodeRange kCasedLetters[] = {
#include "tokenizer/deepseek_letters.inl"
};
// [!-/:-~！-／：-～‘-‟　-。]
constexpr CodeRange kSigns[] = {{0x21, 0x2f},     {0x3a, 0x7e},     {0x2018, 0x201f},
                                {0x3000, 0x3002}, {0xff01, 0xff0f}, {0xff1a, 0xff5e}};
// [一-龥ࠀ-一가-퟿]
constexpr CodeRange kEastAsian[] = {{0x800, 0x9fa5}, {0xac00, 0xd7ff}};
// [一-龥぀-ゟ゠-ヿ]
constexpr CodeRange kHanAndKana[] = {{0x3040, 0x30ff}, {0x4e00, 0x9fa5}};

constexpr Cut kNumbersApart = isolate<match_mask<kNumber, 0>>;
constexpr Cut kEachNumber = isolate<match_mask<kNumber, 1>>;
constexpr Cut kThreeNumbers = isolate<match_mask<kNumber, 3>>;
constexpr Cut kLikeGpt2 = isolate<match_gpt2>;
constexpr Cut kLikeLlama3 = isolate<match_llama<3, kLetter, Trail::newlines, true>>;

constexpr Cut kDefault[] = {isolate<match_punctuation<false>>, kLikeGpt2, kNumbersApart,
                            isolate<match_three_digits>};
constexpr Cut kFalcon[] = {isolate<match_punctuation<true>>, kLikeGpt2, isolate<match_three_digits>};
constexpr Cut kGpt2[] = {kLikeGpt2};
constexpr Cut kDigitsGpt2[] = {kEachNumber, kLikeGpt2};
constexpr Cut kLlama3[] = {kLikeLlama3};
constexpr Cut kMiniCpm5[] = {kThreeNumbers, kLikeLlama3};
constexpr Cut kQwen2[] = {isolate<match_llama<1, kLetter, Trail::newlines, true>>};
constexpr Cut kQwen35[] = {isolate<match_llama<1, kLetter | kMark, Trail::newlines, true>>};
constexpr Cut kUfakZeka[] = {isolate<match_llama<1, kLetter, Trail::newlines, false>>};
constexpr Cut kSeedCoder[] = {isolate<match_llama<1, kLetter, Trail::none, true>>};
constexpr Cut kTekken[] = {isolate<match_cased<1, false>>};
constexpr Cut kGpt4o[] = {isolate<match_cased<3, true>>};
constexpr Cut kDeepSeekLlm[] = {isolate<match_newline>,
                                isolate<match_ranges_after_space<kCasedLetters>>,
                                isolate<match_ranges_after_space<kSigns>>,
                                cut_last_space,
                                isolate<match_ranges<kEastAsian>>,
                                kNumbersApart};
constexpr Cut kDeepSeekCoder[] = {isolate<match_newline>, isolate<match_after_space<kLetter>>,
                                  isolate<match_after_space<kPunctuation>>, isolate<match_ranges<kEastAsian>>,
                                  kEachNumber};
constexpr Cut kDeepSeekV3[] = {kThreeNumbers, isolate<match_ranges<kHanAndKana>>, isolate<match_deepseek3>};
constexpr Cut kBloom[] = {isolate<match_bloom>};
constexpr Cut kViking[] = {isolate<match_bloom>, kEachNumber};
constexpr Cut kSuperBpe[] = {kNumbersApart, cut_thousands};
// Its rule for <sentinel:NUMBER> is left out: the later ones cut at all of its signs and digits.
constexpr Cut kChameleon[] = {isolate<match_image>, isolate<match_indent>, kEachNumber,
                              isolate<match_one_punctuation>, kLikeGpt2};

// name, cuts, ignore_merges, add_bos
constexpr PreTokenizer kRows[] = {
    {"default", kDefault, false, false},
    {"falcon", kFalcon, false, false},

    {"gpt-2", kGpt2, false, false},
    {"phi-2", kGpt2, false, false},
    {"mpt", kGpt2, false, false},
    {"olmo", kGpt2, false, false},
    {"jais", kGpt2, false, false},
    {"trillion", kGpt2, false, false},
    {"granite-docling", kGpt2, false, false},
    {"gigachat", kGpt2, false, false},
    {"a.x-4.0", kGpt2, false, false},
    {"mellum", kGpt2, false, false},
    {"exaone4", kGpt2, false, false},

    {"smollm", kDigitsGpt2, false, false},
    {"starcoder", kDigitsGpt2, false, false},
    {"refact", kDigitsGpt2, false, false},
    {"command-r", kDigitsGpt2, false, false},
    {"codeshell", kDigitsGpt2, false, false},
    {"exaone", kDigitsGpt2, false, false},
    {"minerva-7b", kDigitsGpt2, false, false},
    {"mellum2", kDigitsGpt2, false, false},

    {"llama-bpe", kLlama3, true, true},
    {"llama3", kLlama3, true, true},
    {"llama-v3", kLlama3, true, true},
    {"falcon3", kLlama3, true, true},
    {"falcon-h1", kLlama3, true, true},
    {"pixtral", kLlama3, true, true},
    {"midm-2.0", kLlama3, true, true},
    {"lfm2", kLlama3, true, true},
    {"smaug-bpe", kLlama3, false, false},
    {"dbrx", kLlama3, false, false},
    {"chatglm-bpe", kLlama3, false, false},
    {"glm4", kLlama3, true, false},
    {"glm5", kLlama3, true, false},
    {"minicpm5", kMiniCpm5, true, false},

    {"qwen2", kQwen2, false, false},
    {"deepseek-r1-qwen", kQwen2, false, false},
    {"kormo", kQwen2, false, false},
    {"f2llmv2", kQwen2, false, false},
    {"megrez", kQwen2, false, false},
    {"stablelm2", kQwen2, false, false},
    {"hunyuan", kQwen2, false, false},
    {"solar-open", kQwen2, false, false},
    {"grok-2", kQwen2, false, false},
    {"qwen35", kQwen35, false, false},
    {"ufakzeka", kUfakZeka, false, false},
    {"seed-coder", kSeedCoder, false, false},

    {"tekken", kTekken, true, true},
    {"gpt-4o", kGpt4o, false, false},
    {"llama4", kGpt4o, false, false},
    {"kanana2", kGpt4o, false, false},
    {"talkie", kGpt4o, false, false},
    {"minimax-m2", kGpt4o, false, false},

    {"deepseek-llm", kDeepSeekLlm, false, false},
    {"deepseek-coder", kDeepSeekCoder, false, false},
    {"deepseek-v3", kDeepSeekV3, false, false},
    {"hunyuan-dense", kDeepSeekV3, false, false},
    {"joyai-llm", kDeepSeekV3, false, false},
    {"hy_v4", kDeepSeekV3, false, false},

    {"bloom", kBloom, false, false},
    {"poro-chat", kBloom, false, false},
    {"gpt3-finnish", kBloom, false, false},
    {"viking", kViking, false, false},
    {"superbpe", kSuperBpe, false, false},
    {"chameleon", kChameleon, false, true},
};

}  // namespace

Chars::Chars(std::string_view text) {
  codes.reserve(text.size());
  masks.reserve(text.size());
  starts.reserve(text.size() + 1);
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Char c = first_utf8(text.substr(at));
    const CharMask mask = char_mask(c.code);
    codes.push_back(c.code >= 128 && mask == kSpace ? U'\v' : c.code);
    masks.push_back(mask);
    starts.push_back(at);
    at += c.length;
  }
  starts.push_back(text.size());
}

std::span<const PreTokenizer> pretokenizers() {
  return kRows;
}

const PreTokenizer* find_pretokenizer(std::string_view name) {
  for (const PreTokenizer& row : kRows) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

std::vector<std::string_view> split_text(const PreTokenizer& rules, std::string_view text) {
  const Chars chars(text);
  std::vector<std::size_t> ends, shorter;
  if (!text.empty()) ends.push_back(chars.size());
  for (const Cut cut : rules.cuts) {
    shorter.clear();
    std::size_t begin = 0;
    for (const std::size_t end : ends) {
      cut(chars, begin, end, shorter);
      begin = end;
    }
    std::swap(ends, shorter);
  }
  std::vector<std::string_view> pieces;
  pieces.reserve(ends.size());
  std::size_t begin = 0;
  for (const std::size_t end : ends) {
    pieces.push_back(text.substr(chars.starts[begin], chars.starts[end] - chars.starts[begin]));
    begin = end;
  }
  return pieces;
}

}  // namespace spectralkv
