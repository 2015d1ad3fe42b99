// The rules that pre-tokenizers are made of, written by hand after the regular expressions above each:
// alternatives in order, the first that matches wins, repetition is greedy and gives back what the rest of
// its alternative needs. A cut is a rule applied to a piece: matches become pieces of their own, and so does
// what lies between two of them. Classes are those of unicode.h; \s outside ASCII reads as U+000B (see
// Chars).
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <span>
#include <string_view>
#include <vector>

#include "tokenizer/pretokenizers.h"

namespace spectralkv::split_rules {

// First and last code point of each range, ascending.
struct CodeRange {
  char32_t first, last;
};

inline bool lies_in(std::span<const CodeRange> ranges, char32_t code) {
  const auto next = std::upper_bound(ranges.begin(), ranges.end(), code,
                                     [](char32_t c, const CodeRange& range) { return c < range.first; });
  return next != ranges.begin() && code <= std::prev(next)->last;
}

inline bool is_newline(char32_t code) {
  return code == '\r' || code == '\n';
}
inline bool is_ascii_digit(char32_t code) {
  return code >= '0' && code <= '9';
}
inline bool is_ascii_letter(char32_t code) {
  return (code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z');
}

template <class Predicate>
std::size_t skip_while(std::size_t begin, std::size_t end, Predicate holds) {
  while (begin < end && holds(begin)) ++begin;
  return begin;
}

inline std::size_t skip_mask(const Chars& chars, std::size_t begin, std::size_t end, CharMask mask) {
  return skip_while(begin, end, [&](std::size_t i) { return (chars.masks[i] & mask) != 0; });
}

inline std::size_t skip_ranges(const Chars& chars, std::size_t begin, std::size_t end,
                               std::span<const CodeRange> ranges) {
  return skip_while(begin, end, [&](std::size_t i) { return lies_in(ranges, chars.codes[i]); });
}

// A match is the end of what a rule matches at `begin`, begin < end; `begin` where it does not. Linear over a
// whole text: what a match reads beyond its end is read again a bounded number of times.
using Match = std::size_t (*)(const Chars& chars, std::size_t begin, std::size_t end);

template <Match match>
void isolate(const Chars& chars, std::size_t begin, std::size_t end, std::vector<std::size_t>& ends) {
  for (std::size_t at = begin; at < end;) {
    const std::size_t stop = match(chars, at, end);
    if (stop == at) {
      ++at;
      continue;
    }
    if (at > begin) ends.push_back(at);
    ends.push_back(stop);
    begin = at = stop;
  }
  if (begin < end) ends.push_back(end);
}

// [mask]{1,most} ; 0: without bound.
template <CharMask mask, std::size_t most>
std::size_t match_mask(const Chars& chars, std::size_t begin, std::size_t end) {
  return skip_mask(chars, begin, most != 0 && end - begin > most ? begin + most : end, mask);
}

// [\r\n]
inline std::size_t match_newline(const Chars& chars, std::size_t begin, std::size_t) {
  return begin + (is_newline(chars.codes[begin]) ? 1 : 0);
}

// [0-9][0-9][0-9]
inline std::size_t match_three_digits(const Chars& chars, std::size_t begin, std::size_t end) {
  if (end - begin < 3) return begin;
  const auto digit = [&](std::size_t i) { return is_ascii_digit(chars.codes[i]); };
  return skip_while(begin, begin + 3, digit) == begin + 3 ? begin + 3 : begin;
}

// \s?[mask]+
template <CharMask mask>
std::size_t match_after_space(const Chars& chars, std::size_t begin, std::size_t end) {
  const std::size_t first = begin + ((chars.masks[begin] & kSpace) != 0 ? 1 : 0);
  const std::size_t stop = skip_mask(chars, first, end, mask);
  return stop > first ? stop : begin;
}

// \s?[ranges]+
template <const auto& ranges>
std::size_t match_ranges_after_space(const Chars& chars, std::size_t begin, std::size_t end) {
  const std::size_t first = begin + ((chars.masks[begin] & kSpace) != 0 ? 1 : 0);
  const std::size_t stop = skip_ranges(chars, first, end, ranges);
  return stop > first ? stop : begin;
}

// [ranges]+
template <const auto& ranges>
std::size_t match_ranges(const Chars& chars, std::size_t begin, std::size_t end) {
  return skip_ranges(chars, begin, end, ranges);
}

// \s+$ : the white space that a piece ends with.
inline void cut_last_space(const Chars& chars, std::size_t begin, std::size_t end,
                           std::vector<std::size_t>& ends) {
  std::size_t stop = end;
  while (stop > begin && (chars.masks[stop - 1] & kSpace) != 0) --stop;
  if (stop > begin && stop < end) ends.push_back(stop);
  ends.push_back(end);
}

// (?=(\d{3})+(?!\d)) : between the digits of ASCII, by threes from their end; matches nothing itself.
inline void cut_thousands(const Chars& chars, std::size_t begin, std::size_t end,
                          std::vector<std::size_t>& ends) {
  const auto digit = [&](std::size_t i) { return is_ascii_digit(chars.codes[i]); };
  for (std::size_t at = begin; at < end;) {
    const std::size_t stop = skip_while(at, end, digit);
    for (std::size_t group = at + (stop - at) % 3; group < stop; group += 3)
      if (group > begin) ends.push_back(group);
    at = stop == at ? at + 1 : stop;
  }
  if (begin < end) ends.push_back(end);
}

// \s+(?!\S)|\s+ : white space up to the last one before something else, which is left to the next piece.
inline std::size_t match_space(const Chars& chars, std::size_t begin, std::size_t end) {
  const std::size_t stop = skip_mask(chars, begin, end, kSpace);
  return stop == end || stop <= begin + 1 ? stop : stop - 1;
}

// \s*[\r\n]+|\s+(?!\S)|\s+ : through the last line end of the white space, if there is one.
inline std::size_t match_space_lines(const Chars& chars, std::size_t begin, std::size_t end) {
  for (std::size_t stop = skip_mask(chars, begin, end, kSpace); stop > begin; --stop) {
    if (is_newline(chars.codes[stop - 1])) return stop;
  }
  return match_space(chars, begin, end);
}

// 's|'t|'re|'ve|'m|'ll|'d : letters of ASCII, in any_case capital ones too.
inline std::size_t match_contraction(const Chars& chars, std::size_t begin, std::size_t end, bool any_case) {
  const auto letter = [&](std::size_t i) -> char32_t {
    if (i >= end) return 0;
    const char32_t code = chars.codes[i];
    return any_case && code >= 'A' && code <= 'Z' ? code + 32 : code;
  };
  if (letter(begin) != '\'') return begin;
  const char32_t one = letter(begin + 1), two = letter(begin + 2);
  if (one == 's' || one == 't' || one == 'm' || one == 'd') return begin + 2;
  if ((one == 'r' && two == 'e') || (one == 'v' && two == 'e') || (one == 'l' && two == 'l'))
    return begin + 3;
  return begin;
}

// [^\s\p{L}\p{N}]
inline bool is_other(CharMask mask) {
  return (mask & (kLetter | kNumber | kSpace)) == 0;
}

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
inline std::size_t match_gpt2(const Chars& chars, std::size_t begin, std::size_t end) {
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
inline bool may_lead_a_word(const Chars& chars, std::size_t i) {
  return !is_newline(chars.codes[i]) && (chars.masks[i] & (kLetter | kNumber)) == 0;
}

// [^\r\n\p{L}\p{N}]?[letters]+ : a mark that leads nothing is a word itself where letters include marks.
template <CharMask letters>
std::size_t match_word(const Chars& chars, std::size_t begin, std::size_t end) {
  const std::size_t first = begin + (may_lead_a_word(chars, begin) ? 1 : 0);
  const std::size_t stop = skip_mask(chars, first, end, letters);
  return stop > first ? stop : skip_mask(chars, begin, end, letters);
}

// What may follow ` ?[^\s\p{L}\p{N}]+`.
enum class Trail { none, newlines, newlines_and_slashes };

//  ?[^\s\p{N}[letters]]+ and its trail.
template <CharMask letters, Trail trail>
std::size_t match_others(const Chars& chars, std::size_t begin, std::size_t end) {
  const std::size_t first = begin + (chars.codes[begin] == ' ' ? 1 : 0);
  const auto other = [&](std::size_t i) { return (chars.masks[i] & (letters | kNumber | kSpace)) == 0; };
  const std::size_t stop = skip_while(first, end, other);
  if (stop == first) return begin;
  if (trail == Trail::none) return stop;
  return skip_while(stop, end, [&](std::size_t i) {
    return is_newline(chars.codes[i]) || (trail == Trail::newlines_and_slashes && chars.codes[i] == '/');
  });
}

// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[letters]+|\p{N}{1,digits}|
// ?[^\s\p{N}[letters]]+[trail]*|\s*[\r\n]+|\s+(?!\S)|\s+
template <std::size_t digits, CharMask letters, Trail trail, bool contractions>
std::size_t match_llama(const Chars& chars, std::size_t begin, std::size_t end) {
  if (contractions) {
    if (const std::size_t stop = match_contraction(chars, begin, end, true); stop > begin) return stop;
  }
  for (const Match part : {match_word<letters>, match_mask<kNumber, digits>, match_others<letters, trail>}) {
    if (const std::size_t stop = part(chars, begin, end); stop > begin) return stop;
  }
  return match_space_lines(chars, begin, end);
}

// Heads and tails of words in llama.cpp's form of the o200k and tekken rules: letters but for the small, or
// the capital, ones of ASCII. The rules of Hugging Face's files ask for the case of all letters, and count
// marks in; a GGUF file gets what llama.cpp makes of it.
inline bool is_head(const Chars& chars, std::size_t i) {
  return (chars.masks[i] & kLetter) != 0 && !(chars.codes[i] >= 'a' && chars.codes[i] <= 'z');
}
inline bool is_tail(const Chars& chars, std::size_t i) {
  return (chars.masks[i] & kLetter) != 0 && !(chars.codes[i] >= 'A' && chars.codes[i] <= 'Z');
}

// [head]*[tail]+|[head]+[tail]* : the heads are taken while they last and given back one by one until a tail
// follows; where none does, the second alternative takes them.
inline std::size_t match_cased_word(const Chars& chars, std::size_t first, std::size_t end) {
  const std::size_t heads = skip_while(first, end, [&](std::size_t i) { return is_head(chars, i); });
  const auto tails = [&](std::size_t from) {
    return skip_while(from, end, [&](std::size_t i) { return is_tail(chars, i); });
  };
  for (std::size_t split = heads;; --split) {
    if (const std::size_t stop = tails(split); stop > split) return stop;
    if (split == first) return heads;
  }
}

// [^\r\n\p{L}\p{N}]?[head]*[tail]+(contraction)?|[^\r\n\p{L}\p{N}]?[head]+[tail]*(contraction)?|\p{N}{1,digits}|
// ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
template <std::size_t digits, bool contractions>
std::size_t match_cased(const Chars& chars, std::size_t begin, std::size_t end) {
  const std::size_t first = begin + (may_lead_a_word(chars, begin) ? 1 : 0);
  if (const std::size_t stop = match_cased_word(chars, first, end); stop > first)
    return contractions ? match_contraction(chars, stop, end, true) : stop;
  for (const Match part : {match_mask<kNumber, digits>, match_others<kLetter, Trail::newlines_and_slashes>}) {
    if (const std::size_t stop = part(chars, begin, end); stop > begin) return stop;
  }
  return match_space_lines(chars, begin, end);
}

// [\p{P}$+<=>^~|]+ , with `back_quote` in the class for one of the two that use it.
template <bool back_quote>
std::size_t match_punctuation(const Chars& chars, std::size_t begin, std::size_t end) {
  constexpr std::string_view kSymbols = "$+<=>^~|`";
  return skip_while(begin, end, [&](std::size_t i) {
    const char32_t code = chars.codes[i];
    return (chars.masks[i] & kPunctuation) != 0 ||
           (code < 128 &&
            kSymbols.substr(0, back_quote ? 9 : 8).find(static_cast<char>(code)) != std::string_view::npos);
  });
}

// [!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]
inline bool is_ascii_punctuation(const Chars& chars, std::size_t i) {
  return chars.codes[i] < 128 && (chars.masks[i] & (kPunctuation | kSymbol)) != 0;
}

// [\p{P}!-/:-@\[-`{-~]
inline std::size_t match_one_punctuation(const Chars& chars, std::size_t begin, std::size_t) {
  return begin + ((chars.masks[begin] & kPunctuation) != 0 || is_ascii_punctuation(chars, begin) ? 1 : 0);
}

// [ASCII punctuation][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|
// ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ What is none of these, as control characters, lies between
// matches.
inline std::size_t match_deepseek3(const Chars& chars, std::size_t begin, std::size_t end) {
  if (is_ascii_punctuation(chars, begin)) {
    const auto letter = [&](std::size_t i) { return is_ascii_letter(chars.codes[i]); };
    if (const std::size_t stop = skip_while(begin + 1, end, letter); stop > begin + 1) return stop;
  }
  const bool leads =
      !is_newline(chars.codes[begin]) && (chars.masks[begin] & (kLetter | kPunctuation | kSymbol)) == 0;
  for (const std::size_t first : {begin + (leads ? 1 : 0), begin}) {
    if (const std::size_t stop = skip_mask(chars, first, end, kLetter | kMark); stop > first) return stop;
  }
  const std::size_t first = begin + (chars.codes[begin] == ' ' ? 1 : 0);
  if (const std::size_t stop = skip_mask(chars, first, end, kPunctuation | kSymbol); stop > first)
    return skip_while(stop, end, [&](std::size_t i) { return is_newline(chars.codes[i]); });
  return match_space_lines(chars, begin, end);
}

//  ?[^(\s|.,!?…。，、।۔،)]+
inline std::size_t match_bloom(const Chars& chars, std::size_t begin, std::size_t end) {
  constexpr std::u32string_view kStops = U"(|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)";
  const std::size_t first = begin + (chars.codes[begin] == ' ' ? 1 : 0);
  const std::size_t stop = skip_while(first, end, [&](std::size_t i) {
    return (chars.masks[i] & kSpace) == 0 && kStops.find(chars.codes[i]) == std::u32string_view::npos;
  });
  return stop > first ? stop : begin;
}

// The end of `text` (ASCII) at `begin`, or `begin`.
inline std::size_t match_text(const Chars& chars, std::size_t begin, std::size_t end, std::string_view text) {
  if (end - begin < text.size()) return begin;
  const auto same = [&](std::size_t i) { return chars.codes[i] == static_cast<char32_t>(text[i - begin]); };
  const std::size_t stop = begin + text.size();
  return skip_while(begin, stop, same) == stop ? stop : begin;
}

// IMGIMG[A-I]{1,4}Z
inline std::size_t match_image(const Chars& chars, std::size_t begin, std::size_t end) {
  const std::size_t first = match_text(chars, begin, end, "IMGIMG");
  if (first == begin) return begin;
  const std::size_t stop = skip_while(first, std::min(end, first + 4), [&](std::size_t i) {
    return chars.codes[i] >= 'A' && chars.codes[i] <= 'I';
  });
  return stop > first && stop < end && chars.codes[stop] == 'Z' ? stop + 1 : begin;
}

// [\t\n]|    |  (four spaces, or two)
inline std::size_t match_indent(const Chars& chars, std::size_t begin, std::size_t end) {
  if (chars.codes[begin] == '\t' || chars.codes[begin] == '\n') return begin + 1;
  const std::size_t four = match_text(chars, begin, end, "    ");
  return four > begin ? four : match_text(chars, begin, end, "  ");
}

}  // namespace spectralkv::split_rules
