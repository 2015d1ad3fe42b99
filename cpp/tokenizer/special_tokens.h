// The tokens that are looked for in a text before anything else: a trie, walked once from each byte that
// begins one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace spectralkv {

class SpecialTokens {
 public:
  // User-defined tokens always count; control and unknown ones when the caller parses them. Of equal texts
  // the first id.
  explicit SpecialTokens(const Vocab& vocab);

  struct Match {
    Token id = -1;  // -1: none
    std::size_t length = 0;
  };
  // The longest token that text begins with.
  Match longest(std::string_view text, bool parse_special) const;

 private:
  struct Node {
    std::int32_t child = -1;    // the first of them
    std::int32_t sibling = -1;  // the next child of the same parent
    char byte = 0;
    Token always = -1;   // a user-defined token ends here
    Token written = -1;  // a control or unknown token ends here
  };
  std::int32_t find_child(std::int32_t node, char byte) const;
  std::int32_t add_node(char byte);

  std::array<std::int32_t, 256> roots_;  // by first byte, -1: none
  std::vector<Node> nodes_;
};

}  // namespace spectralkv
