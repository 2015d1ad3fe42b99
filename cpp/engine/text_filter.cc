// Stop strings over the borders of tokens.
#include "engine/text_filter.h"

#include <algorithm>

#include "base/error.h"

namespace spectralkv {
namespace {

std::vector<std::string> as_shown(std::vector<std::string> stop) {
  for (auto& text : stop) {
    Utf8Stream stream;
    std::string clean = stream.put(text);
    clean += stream.finish();
    text = std::move(clean);
  }
  return stop;
}

// The length of the longest end of `text` that is the start, but not the whole, of `stop`.
std::size_t overlap(std::string_view text, std::string_view stop) {
  for (std::size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n)
    if (text.substr(text.size() - n) == stop.substr(0, n)) return n;
  return 0;
}

}  // namespace

StopFilter::StopFilter(std::vector<std::string> stop) : stop_(std::move(stop)) {
  for (const auto& text : stop_) check(!text.empty(), "engine", "a stop string is empty");
}

std::string StopFilter::put(std::string_view text) {
  if (stopped_) return {};
  held_ += text;
  std::size_t first_begin = 0, first_end = std::string::npos;
  for (const auto& stop : stop_) {
    const std::size_t begin = held_.find(stop);
    if (begin == std::string::npos) continue;
    const std::size_t end = begin + stop.size();
    if (end < first_end || (end == first_end && begin < first_begin)) {
      first_begin = begin;
      first_end = end;
    }
  }
  std::size_t safe = held_.size();
  if (first_end != std::string::npos) {
    stopped_ = true;
    safe = first_begin;
  } else {
    for (const auto& stop : stop_) safe = std::min(safe, held_.size() - overlap(held_, stop));
  }
  std::string shown = held_.substr(0, safe);
  held_.erase(0, safe);
  if (stopped_) held_.clear();
  return shown;
}

std::string StopFilter::finish() {
  std::string rest = std::move(held_);
  held_.clear();
  return rest;
}

TextFilter::TextFilter(const std::vector<std::string>& stop) : stop_(as_shown(stop)) {}

std::string TextFilter::put(std::string_view bytes) {
  return stop_.put(utf8_.put(bytes));
}

std::string TextFilter::finish() {
  std::string text = stop_.put(utf8_.finish());
  text += stop_.finish();
  return text;
}

}  // namespace spectralkv
