// Reads merges and checks them.
#include "tokenizer/merges.h"

#include "base/error.h"
#include "tokenizer/vocab_check.h"

namespace spectralkv {

MergeMap read_merges(const Vocab& vocab, const TokenMap& ids) {
  MergeMap merges(vocab.merges.size());
  std::string joined;
  for (std::size_t i = 0; i < vocab.merges.size(); ++i) {
    const std::string_view text = vocab.merges[i];
    const std::size_t space = text.find(' ', 1);
    const auto bad = [&](std::string_view what) {
      fail(ErrorKind::value, "tokenizer", vocab.source, ": merge ", i, " ", quoted(text), " ", what);
    };
    if (space == std::string_view::npos || space + 1 == text.size())
      bad("is not two tokens with a space between");
    Merge merge;
    merge.left = ids.find(text.substr(0, space));
    merge.right = ids.find(text.substr(space + 1));
    if (merge.left < 0) bad("has a left token that the vocabulary lacks");
    if (merge.right < 0) bad("has a right token that the vocabulary lacks");
    joined.assign(text.substr(0, space)).append(text.substr(space + 1));
    merge.result = ids.find(joined);
    if (merge.result < 0) bad("gives a token that the vocabulary lacks");
    merge.rank = static_cast<std::uint32_t>(i);
    merges.insert(merge);
  }
  return merges;
}

}  // namespace spectralkv
