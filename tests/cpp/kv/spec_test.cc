// Cache specs: what they mean, and what a wrong one is told.
#include <gtest/gtest.h>

#include <iterator>

#include "base/error.h"
#include "base/random.h"
#include "kv/codecs.h"

namespace spectralkv::spec_test {
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
  says("f16:x", "a number of bits");
  says("f16,color=red", "has no option 'color'");
  says("f16,=1", "option is empty");
  says("f16,a=1,a=2", "stands twice");
  says("f16;layers 0-99=f32", "not within 0 to 29");
  says("f16;layers 5-4=f32", "not within 0 to 29");
  says("f16;blocks 5=f32", "expected 'layers");
  says("f16;layers 5", "expected 'layers");
  says("f16;", "expected 'layers");
  says("f16;layers 5=f32;", "expected 'layers");
  says("f16;layers =f32", "layers '' are not within");
  says("f16;layers 1,=f32", "layers '' are not within");
  says("f16;layers 30=f32", "layers '30' are not within 0 to 29");
  says("f16;layers -1=f32", "not within 0 to 29");
  says("f16;layers 1-2=", "no type stands behind 'layers 1-2='; there are default, f32");
  says("f16;layers 0-3=f32;layers 3-4=q8_0", "layer 3 is named twice");
  says("f16;layers 2,1-4=f32", "layer 2 is named twice");
  says("q8_0,", "option is empty");
  says("q8_0,sink=4,", "option is empty");
  says("q8_0,,sink=4", "option is empty");
  says("q8_0,sink", "'sink' must be 0 to 4095, got ''");
  says("q8_0,sink=-1", "'sink' must be 0 to 4095, got '-1'");
  says("q8_0,sink=99999999999999999999", "'sink' must be");
  says("turboquant:99999999999999999999", "whole number of bits");
  says("turboquant:2:3", "a number of bits");
  says("turboquant:2.5", "whole number of bits");
  says("eoptshrinkq:2,paper=1", "takes no value");
  says("eoptshrinkq:3,allot=even,quantiser=trellis", "quantiser=trellis has 2 bits per entry, not 3");
  says("eoptshrinkq:2,quantiser=lattice", "'quantiser' must be one of scalar, trellis");
  says("turboquant:2,quantiser=trellis", "has no option 'quantiser'");
  says("eoptshrinkq:2,block=8", "'block' must be 16 to 4096, got '8'");
  says("eoptshrinkq:2,block=16,sink=16", "sink (16) must be less than block (16)");
}

TEST(Spec, AQuantiserIsNamedWhereItIsNotTheUsualOne) {
  EXPECT_EQ(build_codec("eoptshrinkq:2,quantiser=trellis", 64).text, "eoptshrinkq:2");
  EXPECT_EQ(build_codec("eoptshrinkq:2,sink=1,quantiser=scalar,scale=norm", 64).text,
            "eoptshrinkq:2,scale=norm,quantiser=scalar,sink=1");
  EXPECT_EQ(build_codec("eoptshrinkq:2,paper,quantiser=scalar", 64).text, "eoptshrinkq:2,paper");
  EXPECT_EQ(build_codec("eoptshrinkq:3,allot=even,quantiser=scalar", 64).text, "eoptshrinkq:3,allot=even");
}

// State files name the trellis and not scalar codes: so it was when there was nothing else.
TEST(Spec, StatesGoByTheDefaultsOfTheFirstVersion) {
  EXPECT_EQ(build_codec("eoptshrinkq:2,sink=1", 64).in_states, "eoptshrinkq:2,quantiser=trellis,sink=1");
  EXPECT_EQ(build_codec("eoptshrinkq:2,quantiser=scalar", 64).in_states, "eoptshrinkq:2");
  EXPECT_EQ(build_codec("turboquant:2", 64).in_states, "turboquant:2");
  EXPECT_EQ(with_scalar_residuals("default;layers 0-1=eoptshrinkq:3,sink=2;layers 2=q8_0"),
            "eoptshrinkq:2,quantiser=scalar;layers 0-1=eoptshrinkq:3,sink=2,quantiser=scalar;layers 2=q8_0");
  EXPECT_EQ(with_scalar_residuals("eoptshrinkq:2,quantiser=trellis"), "eoptshrinkq:2,quantiser=trellis");
}

TEST(Spec, OptionsComeInAnyOrder) {
  EXPECT_EQ(build_codec("eoptshrinkq:3,window=64,loss=nuclear,sink=2,factor_bits=4", 64).text,
            build_codec(" eoptshrinkq : 3 , factor_bits = 4,sink=2, loss=nuclear,window=64", 64).text);
}

// Pieces of specs in any order, with letters changed: each is refused by an error that quotes it, or builds a
// codec whose own text builds it again.
TEST(Spec, HostileOnesAreRefusedOrMeanWhatTheySay) {
  constexpr const char* kPieces[] = {":2",
                                     ":",
                                     ":9",
                                     ",",
                                     "sink=4",
                                     "window=128",
                                     "block=64",
                                     "block=17",
                                     "loss=nuclear",
                                     "paper",
                                     "factor_bits=3",
                                     "rotation=haar",
                                     "scale=unbiased",
                                     "quantiser=trellis",
                                     "loop=open",
                                     ";",
                                     "layers 0-1=",
                                     "layers 29=",
                                     "layers ",
                                     "=",
                                     "-",
                                     " ",
                                     "\n",
                                     "\xff",
                                     "%s",
                                     "4096",
                                     "999999999999999999999"};
  const auto table = codec_table();
  std::vector<std::string> pieces(std::begin(kPieces), std::end(kPieces));
  for (const CodecRow& row : table) pieces.emplace_back(row.name);
  int built = 0;
  for (std::uint64_t i = 0; i < 20000; ++i) {
    const auto draw = [&](std::uint64_t k, std::uint64_t n) { return random_bits(17, 16 * i + k) % n; };
    std::string spec = i % 2 == 0 ? "eoptshrinkq:2" : std::string(table[draw(0, table.size())].name);
    for (std::uint64_t k = 0, n = draw(1, 7); k < n; ++k) {
      if (random_bits(18, 16 * i + k) % 2 == 0) spec += ',';
      spec += pieces[draw(2 + k, pieces.size())];
    }
    if (draw(10, 3) == 0) spec[draw(11, spec.size())] = static_cast<char>(draw(12, 256));
    try {
      for (const auto& text : split_layers(spec, 30)) {
        const BuiltCodec codec = build_codec(text, 64);
        ASSERT_EQ(build_codec(codec.text, 64).text, codec.text) << spec;
        ASSERT_LT(codec.layout.sink, codec.layout.block) << spec;
      }
      ++built;
    } catch (const Error& error) {
      ASSERT_EQ(error.kind(), ErrorKind::value) << spec;
      ASSERT_NE(std::string(error.what()).find("cache type '"), std::string::npos) << error.what();
    }
  }
  EXPECT_GT(built, 500);
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
}  // namespace spectralkv::spec_test
