// Decides what generated text may be shown: whole characters only, and nothing that could yet become a stop
// string.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace spectralkv {

// Holds text back while its end could be the start of a stop string. The text ends before the stop string
// that is complete first (of several that end at the same place, the longest), however the text was cut into
// pieces.
class StopFilter {
 public:
  // An empty stop string is a value error.
  explicit StopFilter(std::vector<std::string> stop);

  // Takes more text, whole characters; gives what is safe to show. Gives nothing more once stopped.
  std::string put(std::string_view text);
  // What is still held back, at the end.
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stop_;
  std::string held_;
  bool stopped_ = false;
};

// Bytes of tokens in, text to show out.
class TextFilter {
 public:
  // Bytes in the stop strings that are no UTF-8 are read as U+FFFD, as they are in the text.
  explicit TextFilter(const std::vector<std::string>& stop);

  std::string put(std::string_view bytes);
  std::string finish();
  bool stopped() const { return stop_.stopped(); }

 private:
  Utf8Stream utf8_;
  StopFilter stop_;
};

}  // namespace spectralkv
