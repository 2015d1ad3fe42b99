// Cache specs: what they mean, and what a wrong one is told.
#include <gtest/gtest.h>

#include "base/error.h"
#include "kv/codecs.h"

namespace spectralkv {
namespace {

std::string refusal(const std::string& spec) {
  try {
    for (const auto& text : split_layers(spec, 30)) build_codec(text, 64);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Spec, LayersTakeTheirOwn) {
  const auto texts = split_layers("f16;layers 0-1,28-29=f32", 30);
  ASSERT_EQ(texts.size(), 30u);
  for (std::size_t l = 0; l < 30; ++l) EXPECT_EQ(texts[l], l < 2 || l > 27 ? "f32" : "f16") << l;
  EXPECT_EQ(split_layers("f16; layers 3 = f32", 5)[3], "f32");
}

TEST(Spec, RefusalsSayWhatIsWrong) {
  const auto says = [](const std::string& spec, const std::string& words) {
    EXPECT_NE(refusal(spec).find(words), std::string::npos) << spec << ": " << refusal(spec);
  };
  says("", "names no codec");
  says("f17", "there is no 'f17'; there are default, f32, f16");
  says("f16:2", "takes no bits");
  says("f16:x", "whole number of bits");
  says("f16,color=red", "has no option 'color'");
  says("f16,=1", "option is empty");
  says("f16,a=1,a=2", "stands twice");
  says("f16;layers 0-99=f32", "not within 0 to 29");
  says("f16;layers 5-4=f32", "not within 0 to 29");
  says("f16;blocks 5=f32", "expected 'layers");
  says("f16;layers 5", "expected 'layers");
}

TEST(Spec, EveryRowBuildsAndNamesItself) {
  for (const CodecRow& row : codec_table()) {
    const std::string name(row.name);
    const std::string text = row.min_bits > 0 ? name + ":2" : name;
    const BuiltCodec built = build_codec(text, 64);
    EXPECT_EQ(built.codec->head_dim(), 64);
    EXPECT_EQ(build_codec(built.text, 64).text, built.text);
  }
}

}  // namespace
}  // namespace spectralkv
