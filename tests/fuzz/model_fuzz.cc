// Fuzzes whole models: each is refused, or reads tokens and gives logits for its vocabulary. driver.cc runs
// it without libFuzzer.
//
// An input is a GGUF file of a small model; other fuzzers read its container and its vocabulary alone.
#include <cstdlib>
#include <fstream>

#include "base/error.h"
#include "engine/engine.h"
#include "fuzz/fuzz.h"
#include "support/tiny_model.h"

namespace spectralkv {
namespace {

// A session of a large model would take what the machine has: what it may be is the user's to say.
constexpr std::int64_t kLargestContext = 64;

struct Fixture {
  test::TempFolder folder;
  std::string path = folder.write("model.gguf", "");
};

}  // namespace
}  // namespace spectralkv

std::vector<std::string> fuzz_seeds() {
  std::vector<std::string> seeds;
  for (const auto& row : spectralkv::test::tiny_architectures()) {
    spectralkv::test::TinyModel model;
    model.n_layers = 1;
    model.n_embd = 16;
    model.n_heads = 2;
    model.n_kv_heads = 1;
    model.n_ff = 16;
    model.arch = row.name;
    seeds.push_back(model.bytes());
  }
  return seeds;
}

std::vector<std::string> fuzz_words() {
  std::vector<std::string> words{"GGUF", "general.architecture", "general.file_type",
                                 "tokenizer.ggml.tokens"};
  for (const auto& row : spectralkv::test::tiny_architectures()) {
    words.emplace_back(row.name);
    for (const char* key : {".block_count", ".context_length", ".embedding_length", ".attention.head_count",
                            ".attention.head_count_kv", ".attention.key_length", ".rope.dimension_count",
                            ".rope.freq_base", ".rope.scaling.type", ".expert_count", ".vocab_size"})
      words.push_back(std::string(row.name) + key);
  }
  for (const char* name :
       {"token_embd.weight", "output.weight", "output_norm.weight", "blk.0.attn_q.weight",
        "blk.0.attn_k.weight", "blk.0.attn_q.bias", "blk.0.ffn_up.weight", "rope_freqs.weight"})
    words.emplace_back(name);
  return words;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace spectralkv;
  static const Fixture f;
  std::ofstream(f.path, std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  try {
    Engine engine(f.path, EngineOptions{.n_threads = 1});
    SessionOptions options;
    options.n_ctx = kLargestContext;
    options.type_k = options.type_v = "f16";
    Session session(engine, options);
    const std::vector<Token> tokens{0, 1, 0};
    session.eval(tokens);
    if (static_cast<std::int64_t>(session.logits().size()) != engine.config().n_vocab) std::abort();
    session.eval_next(0);
  } catch (const Error&) {
    // Refused: what nearly every input deserves.
  }
  return 0;
}
