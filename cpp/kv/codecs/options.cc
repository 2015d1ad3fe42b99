// Options of every lossy codec.
#include "kv/codecs/options.h"

#include "base/error.h"

namespace spectralkv {

CacheLayout take_layout(CodecSpec& spec, const CacheLayout& defaults) {
  CacheLayout layout;
  layout.block = spec.take_int("block", defaults.block, 16, 4096);
  layout.sink = spec.take_int("sink", defaults.sink, 0, 4095);
  layout.window = spec.take_int("window", defaults.window, 0, 1 << 20);
  if (layout.sink >= layout.block)
    spec.refuse(concat("sink (", layout.sink, ") must be less than block (", layout.block, ")"));
  return layout;
}

std::string layout_text(const CacheLayout& layout, const CacheLayout& defaults) {
  std::string text;
  if (layout.sink != defaults.sink) text += concat(",sink=", layout.sink);
  if (layout.window != defaults.window) text += concat(",window=", layout.window);
  if (layout.block != defaults.block) text += concat(",block=", layout.block);
  return text;
}

void check_head_dim(const CodecSpec& spec, std::int64_t head_dim) {
  if (head_dim < 16 || head_dim > 4096 || head_dim % 16 != 0)
    spec.refuse(
        concat("it needs a head dim that is a multiple of 16, 16 to 4096, and the model's is ", head_dim));
}

}  // namespace spectralkv
