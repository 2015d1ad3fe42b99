// Times decoding of several sequences of different lengths, one by one and together in steps. Before it
// times, it compares what both ways give, bit for bit.
//
//   step_bench MODEL [TYPE] [--sequences 8] [--tokens 8] [--depth 100] [--threads 2] [--repeat 5]
//
// Sequence s begins with a prompt of (s + 1) DEPTH / SEQUENCES tokens.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "bench/arguments.h"
#include "engine/engine.h"
#include "kv/cache.h"
#include "model/model.h"

namespace spectralkv {
namespace {

struct Options {
  std::string model, type = "default";
  std::int64_t sequences = 8, tokens = 8, depth = 100, threads = 2, repeat = 5;
};

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class Bench {
 public:
  explicit Bench(const Options& options)
      : o_(options), engine_(o_.model, EngineOptions{.n_threads = static_cast<int>(o_.threads)}) {
    const ModelConfig& c = engine_.config();
    const auto format = std::make_shared<const CacheFormat>(c.cache_shape(), o_.type, o_.type);
    scratch_ = std::make_unique<Scratch>(engine_.backend(), c, std::max<std::int64_t>(512, o_.sequences),
                                         o_.sequences);
    for (std::int64_t s = 0; s < o_.sequences; ++s) {
      std::vector<Token>& text = texts_.emplace_back();
      const std::int64_t prompt = std::max<std::int64_t>(1, (s + 1) * o_.depth / o_.sequences);
      for (std::int64_t t = 0; t < prompt + o_.tokens; ++t)
        text.push_back(static_cast<Token>((7919 * (t + 1) + 104729 * (s + 1)) % c.n_vocab));
      caches_.push_back(engine_.backend().make_cache(format, std::ssize(text)));
      for (std::int64_t at = 0; at < prompt; at += 512)
        step({{caches_.back().get(), part(s, at, std::min<std::int64_t>(512, prompt - at)), 0}});
    }
  }

  void run() {
    std::vector<float> alone, together;
    one_by_one(&alone);
    in_steps(&together);
    check(alone.size() == together.size() &&
              std::memcmp(alone.data(), together.data(), alone.size() * sizeof(float)) == 0,
          "bench", "sequences that decode together have other logits than alone");
    std::vector<double> slow, fast;
    for (std::int64_t i = 0; i < o_.repeat; ++i) {
      slow.push_back(one_by_one(nullptr));
      fast.push_back(in_steps(nullptr));
    }
    std::sort(slow.begin(), slow.end());
    std::sort(fast.begin(), fast.end());
    const auto n = static_cast<double>(o_.sequences * o_.tokens);
    const double before = n / slow[slow.size() / 2], after = n / fast[fast.size() / 2];
    std::printf(
        "%s, cache %s: %lld sequences, %lld tokens each: one by one %.2f tok/s, together %.2f tok/s, "
        "%.2f times; the same bits\n",
        engine_.description().c_str(), o_.type.c_str(), static_cast<long long>(o_.sequences),
        static_cast<long long>(o_.tokens), before, after, after / before);
  }

 private:
  std::span<const Token> part(std::int64_t s, std::int64_t at, std::int64_t n) const {
    return std::span(texts_[static_cast<std::size_t>(s)])
        .subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(n));
  }
  void step(const std::vector<StepPart>& parts) {
    engine_.model().forward(engine_.backend(), *scratch_, parts);
    engine_.backend().finish();
  }
  StepPart next(std::int64_t s, KvCache& cache) const { return {&cache, part(s, cache.n_tokens(), 1), 1}; }
  std::vector<std::unique_ptr<KvCache>> forks() const {
    std::vector<std::unique_ptr<KvCache>> all;
    for (const auto& cache : caches_) all.push_back(cache->fork(cache->n_ctx()));
    return all;
  }
  // Row `row` of the last step's logits goes to place `at` of `out`, where that is wanted.
  void keep(std::vector<float>* out, std::int64_t row, std::int64_t at) {
    if (out == nullptr) return;
    const auto vocab = static_cast<std::size_t>(engine_.config().n_vocab);
    out->resize(static_cast<std::size_t>(o_.sequences * o_.tokens) * vocab);
    engine_.backend().read(scratch_->logits.rows(o_.sequences).row(row),
                           std::span(*out).subspan(static_cast<std::size_t>(at) * vocab, vocab));
  }

  // Seconds for all tokens of all sequences.
  double one_by_one(std::vector<float>* logits) {
    const auto caches = forks();
    const double start = seconds();
    for (std::int64_t s = 0; s < o_.sequences; ++s)
      for (std::int64_t t = 0; t < o_.tokens; ++t) {
        step({next(s, *caches[static_cast<std::size_t>(s)])});
        keep(logits, 0, s * o_.tokens + t);
      }
    return seconds() - start;
  }
  double in_steps(std::vector<float>* logits) {
    const auto caches = forks();
    const double start = seconds();
    for (std::int64_t t = 0; t < o_.tokens; ++t) {
      std::vector<StepPart> parts;
      for (std::int64_t s = 0; s < o_.sequences; ++s)
        parts.push_back(next(s, *caches[static_cast<std::size_t>(s)]));
      step(parts);
      for (std::int64_t s = 0; s < o_.sequences; ++s) keep(logits, s, s * o_.tokens + t);
    }
    return seconds() - start;
  }

  Options o_;
  Engine engine_;
  std::unique_ptr<Scratch> scratch_;
  std::vector<std::vector<Token>> texts_;
  std::vector<std::unique_ptr<KvCache>> caches_;  // behind their prompts
};

int main_of(int argc, char** argv) {
  Options options;
  const auto words = bench::read_arguments(argc, argv,
                                           {{"--sequences", &options.sequences},
                                            {"--tokens", &options.tokens},
                                            {"--depth", &options.depth},
                                            {"--threads", &options.threads},
                                            {"--repeat", &options.repeat}});
  bench::take_model("step_bench", words, options.model, options.type);
  Bench(options).run();
  return 0;
}

}  // namespace
}  // namespace spectralkv

int main(int argc, char** argv) {
  return spectralkv::bench::run(spectralkv::main_of, argc, argv);
}
