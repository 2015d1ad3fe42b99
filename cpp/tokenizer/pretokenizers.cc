// The matchers, written by hand after the regular expressions above each: alternatives in order, the first
// that matches wins, repetition is greedy and gives back what the rest of its alternative needs.
#include "tokenizer/pretokenizers.h"

namespace spectralkv {
namespace {

bool is_newline(char32_t code) {
  return code == '\r' || code == '\n';
}

bool is_other(CharMask mask) {
  return (mask & (kLetter | kNumber | kSpace)) == 0;
}  // [^\s\p{L}\p{N}]

template <class Predicate>
std::size_t skip_while(std::size_t begin, std::size_t end, Predicate holds) {
  while (begin < end && holds(begin)) ++begin;
  return begin;
}

std::size_t skip_mask(const Chars& chars, std::size_t begin, std::size_t end, CharMask mask) {
  return skip_while(begin, end, [&](std::size_t i) { return (chars.masks[i] & mask) != 0; });
}

// \s+(?!\S)|\s+ : white space up to the last one before something else, which is left to the next piece.
std::size_t match_space(const Chars& chars, std::size_t begin, std::size_t end) {
  const std::size_t stop = skip_mask(chars, begin, end, kSpace);
  return stop == end || stop == begin + 1 ? stop : stop - 1;
}

// \s*[\r\n]+|\s+(?!\S)|\s+ : through the last line end of the white space, if there is one.
std::size_t match_space_lines(const Chars& chars, std::size_t begin, std::size_t end) {
  for (std::size_t stop = skip_mask(chars, begin, end, kSpace); stop > begin; --stop) {
    if (is_newline(chars.codes[stop - 1])) return stop;
  }
  return match_space(chars, begin, end);
}

// 's|'t|'re|'ve|'m|'ll|'d : the end, or begin when there is none. With any_case letters compare by Unicode's
// simple case folding, where the long s (U+017F) is an s.
std::size_t match_contraction(const Chars& chars, std::size_t begin, std::size_t end, bool any_case) {
  const auto letter = [&](std::size_t i) -> char32_t {
    if (i >= end) return 0;
    const char32_t code = chars.codes[i];
    if (!any_case) return code;
    return code >= 'A' && code <= 'Z' ? code + 32 : code == 0x17f ? U's' : code;
  };
  if (chars.codes[begin] != '\'') return begin;
  const char32_t one = letter(begin + 1), two = letter(begin + 2);
  if (one == 's' || one == 't' || one == 'm' || one == 'd') return begin + 2;
  if ((one == 'r' && two == 'e') || (one == 'v' && two == 'e') || (one == 'l' && two == 'l'))
    return begin + 3;
  return begin;
}

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
std::size_t match_gpt2(const Chars& chars, std::size_t begin, std::size_t end) {
  if (const std::size_t stop = match_contraction(chars, begin, end, false); stop > begin) return stop;
  const bool space = chars.codes[begin] == ' ' && begin + 1 < end && (chars.masks[begin + 1] & kSpace) == 0;
  const std::size_t first = begin + (space ? 1 : 0);
  const CharMask mask = chars.masks[first];
  if ((mask & kLetter) != 0) return skip_mask(chars, first, end, kLetter);
  if ((mask & kNumber) != 0) return skip_mask(chars, first, end, kNumber);
  if ((mask & kSpace) != 0) return match_space(chars, begin, end);
  return skip_while(first, end, [&](std::size_t i) { return is_other(chars.masks[i]); });
}

// [^\r\n\p{L}\p{N}]
bool may_lead_a_word(const Chars& chars, std::size_t i) {
  return !is_newline(chars.codes[i]) && (chars.masks[i] & (kLetter | kNumber)) == 0;
}

// ` ?[^\s\p{L}\p{N}]+` and what may trail it: line ends, in tekken slashes too. The end, or begin when there
// is none.
std::size_t match_others(const Chars& chars, std::size_t begin, std::size_t end, bool slashes) {
  const std::size_t first = begin + (chars.codes[begin] == ' ' ? 1 : 0);
  const std::size_t stop = skip_while(first, end, [&](std::size_t i) { return is_other(chars.masks[i]); });
  if (stop == first) return begin;
  return skip_while(stop, end, [&](std::size_t i) {
    return is_newline(chars.codes[i]) || (slashes && chars.codes[i] == '/');
  });
}

// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}|
// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
template <std::size_t digits>
std::size_t match_llama(const Chars& chars, std::size_t begin, std::size_t end) {
  if (const std::size_t stop = match_contraction(chars, begin, end, true); stop > begin) return stop;
  const std::size_t first = begin + (may_lead_a_word(chars, begin) ? 1 : 0);
  if (const std::size_t stop = skip_mask(chars, first, end, kLetter); stop > first) return stop;
  if ((chars.masks[begin] & kNumber) != 0) {
    return skip_mask(chars, begin, end - begin > digits ? begin + digits : end, kNumber);
  }
  if (const std::size_t stop = match_others(chars, begin, end, false); stop > begin) return stop;
  return match_space_lines(chars, begin, end);
}

constexpr CharMask kHead =
    kUpper | kTitle | kModifier | kOtherLetter | kMark;                // [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]
constexpr CharMask kTail = kLower | kModifier | kOtherLetter | kMark;  // [\p{Ll}\p{Lm}\p{Lo}\p{M}]

// [head]*[tail]+ : the end, or first when there is none. The heads are taken while they last and given back
// one by one until a tail follows.
std::size_t match_small_word(const Chars& chars, std::size_t first, std::size_t end) {
  for (std::size_t split = skip_mask(chars, first, end, kHead);; --split) {
    if (const std::size_t stop = skip_mask(chars, split, end, kTail); stop > split) return stop;
    if (split == first) return first;
  }
}

// [head]+[tail]* : the end, or first when there is none.
std::size_t match_big_word(const Chars& chars, std::size_t first, std::size_t end) {
  const std::size_t split = skip_mask(chars, first, end, kHead);
  return split == first ? first : skip_mask(chars, split, end, kTail);
}

// [^\r\n\p{L}\p{N}]?[head]*[tail]+|[^\r\n\p{L}\p{N}]?[head]+[tail]*|\p{N}|
// ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+| \s+(?!\S)|\s+
std::size_t match_tekken(const Chars& chars, std::size_t begin, std::size_t end) {
  const std::size_t first = begin + (may_lead_a_word(chars, begin) ? 1 : 0);
  for (const auto word : {match_small_word, match_big_word}) {
    if (const std::size_t stop = word(chars, first, end); stop > first) return stop;
    if (const std::size_t stop = word(chars, begin, end); stop > begin)
      return stop;  // a mark that led is given back
  }
  if ((chars.masks[begin] & kNumber) != 0) return begin + 1;
  if (const std::size_t stop = match_others(chars, begin, end, true); stop > begin) return stop;
  return match_space_lines(chars, begin, end);
}

constexpr PreTokenizer kRows[] = {
    // name, match, digits_first, ignore_merges
    {"gpt-2", match_gpt2, false, false},
    {"phi-2", match_gpt2, false, false},
    {"llama-bpe", match_llama<3>, false, true},
    {"llama3", match_llama<3>, false, true},
    {"llama-v3", match_llama<3>, false, true},
    {"smollm", match_gpt2, true, false},
    {"starcoder", match_gpt2, true, false},
    {"refact", match_gpt2, true, false},
    {"tekken", match_tekken, false, true},
    {"qwen2", match_llama<1>, false, false},
    {"deepseek-r1-qwen", match_llama<1>, false, false},
};

}  // namespace

Chars::Chars(std::string_view text) {
  codes.reserve(text.size());
  masks.reserve(text.size());
  starts.reserve(text.size() + 1);
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Char c = first_utf8(text.substr(at));
    codes.push_back(c.code);
    masks.push_back(char_mask(c.code));
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
  std::vector<std::string_view> pieces;
  for (std::size_t begin = 0; begin < chars.size();) {
    const auto no_number = [&](std::size_t i) { return (chars.masks[i] & kNumber) == 0; };
    const std::size_t end = rules.digits_first ? skip_while(begin, chars.size(), no_number) : chars.size();
    do {  // end == begin: a number that stands alone
      const std::size_t stop = begin < end ? rules.match(chars, begin, end) : begin + 1;
      pieces.push_back(text.substr(chars.starts[begin], chars.starts[stop] - chars.starts[begin]));
      begin = stop;
    } while (begin < end);
  }
  return pieces;
}

}  // namespace spectralkv
