// The trie of special tokens.
#include "tokenizer/special_tokens.h"

#include "tokenizer/vocab_check.h"

namespace spectralkv {

SpecialTokens::SpecialTokens(const Vocab& vocab) {
  roots_.fill(-1);
  for (std::size_t i = 0; i < vocab.types.size(); ++i) {
    const TokenType type = vocab.types[i];
    const bool user = type == TokenType::user_defined;
    if (!user && type != TokenType::control && type != TokenType::unknown) continue;
    std::int32_t at = -1;
    for (const char byte : vocab.tokens[i]) {
      std::int32_t next = at < 0 ? roots_[static_cast<std::uint8_t>(byte)] : find_child(at, byte);
      if (next < 0) {
        next = add_node(byte);
        if (at < 0) {
          roots_[static_cast<std::uint8_t>(byte)] = next;
        } else {
          Node& parent = nodes_[static_cast<std::size_t>(at)];
          nodes_.back().sibling = parent.child;
          parent.child = next;
        }
      }
      at = next;
    }
    if (at < 0) continue;  // an empty text is never found
    Node& end = nodes_[static_cast<std::size_t>(at)];
    Token& slot = user ? end.always : end.written;
    if (slot < 0) slot = static_cast<Token>(i);
  }
}

SpecialTokens::Match SpecialTokens::longest(std::string_view text, bool parse_special) const {
  Match best;
  std::int32_t at = text.empty() ? -1 : roots_[static_cast<std::uint8_t>(text[0])];
  for (std::size_t length = 1; at >= 0; ++length) {
    const Node& node = nodes_[static_cast<std::size_t>(at)];
    const bool written = parse_special && node.written >= 0;
    if (written && (node.always < 0 || node.written < node.always)) {
      best = {node.written, length};
    } else if (node.always >= 0) {
      best = {node.always, length};
    }
    at = length < text.size() ? find_child(at, text[length]) : -1;
  }
  return best;
}

std::int32_t SpecialTokens::find_child(std::int32_t node, char byte) const {
  std::int32_t at = nodes_[static_cast<std::size_t>(node)].child;
  while (at >= 0 && nodes_[static_cast<std::size_t>(at)].byte != byte)
    at = nodes_[static_cast<std::size_t>(at)].sibling;
  return at;
}

std::int32_t SpecialTokens::add_node(char byte) {
  nodes_.emplace_back();
  nodes_.back().byte = byte;
  return static_cast<std::int32_t>(nodes_.size() - 1);
}

}  // namespace spectralkv
