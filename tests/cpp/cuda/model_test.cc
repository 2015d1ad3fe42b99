// A whole model on the device against the CPU: through the library that the program loads, with its graphs.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <map>
#include <utility>

#include "backend/backend.h"
#include "base/error.h"
#include "cpp/cuda/model_cases.h"
#include "engine/calibrate.h"
#include "engine/generate.h"
#include "engine/scheduler.h"
#include "kv/cache.h"
#include "measure/fidelity.h"
#include "measure/perplexity.h"
#include "model/model.h"

namespace spectralkv {
namespace {

using namespace model_cases;

// The weights are f32, so rounding differs in the cache alone: an f16 cache rounds keys and values that
// differ in their last bits to f16, and a compressed one may choose another code where a value lies near a
// bound. Both are far below what the codec itself loses.
TEST_P(CudaModel, LogitsAreTheCpusWhilePromptAndDecodingGoOn) {
  Engine cpu(path_, options(false)), gpu(path_, options(true));
  Session a(cpu, session(GetParam())), b(gpu, session(GetParam()));
  const auto text = model().text(300);
  const std::span<const Token> all(text);
  a.eval(all.first(250));
  b.eval(all.first(250));
  const double bound = std::string_view(GetParam()) == "f32" ? 1e-5 : 2e-2;
  EXPECT_LT(distance(b.logits(), a.logits()), bound);
  for (std::size_t i = 250; i < 270; ++i) {  // over the end of a block, with a recorded pass
    a.eval_next(text[i]);
    b.eval_next(text[i]);
    ASSERT_LT(distance(b.logits(), a.logits()), bound) << "token " << i;
  }
  EXPECT_EQ(a.cache_report().k.sealed_bytes > 0, b.cache_report().k.sealed_bytes > 0);
}

TEST_P(CudaModel, StatesGoBothWays) {
  Engine cpu(path_, options(false)), gpu(path_, options(true));
  const auto text = model().text(200);
  const std::string file = path_ + ".state";
  for (const bool to_gpu : {true, false}) {
    Session from(to_gpu ? cpu : gpu, session(GetParam())), to(to_gpu ? gpu : cpu, session(GetParam()));
    from.eval(text);
    from.save_state(file);
    to.load_state(file);
    EXPECT_TRUE(std::equal(to.logits().begin(), to.logits().end(), from.logits().begin()));
    from.eval_next(5);
    to.eval_next(5);
    EXPECT_LT(distance(to.logits(), from.logits()), 2e-2);
  }
}

INSTANTIATE_TEST_SUITE_P(Caches, CudaModel, testing::Values("f32", "f16", "eoptshrinkq:2,quantiser=scalar"),
                         [](const auto& type) {
                           std::string name = type.param;
                           for (char& c : name)
                             if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
                           return name;
                         });

std::vector<Token> generate(Session& session, double temperature) {
  GenerateOptions options;
  options.sampling.temperature = temperature;
  options.sampling.seed = 7;
  options.sampling.top_k = 5;
  options.max_tokens = 12;
  options.ignore_end_tokens = true;
  Generation generation(session, options);
  std::vector<Token> tokens;
  while (const auto next = generation.next()) tokens.push_back(next->token);
  return tokens;
}

// Requests together, with starts that they share: what a session gives alone, as sums of products differ in
// their last bits. And the bytes of pages come down to nothing.
TEST_F(CudaEngine, TheSchedulerGivesWhatSessionsGive) {
  Engine gpu(path_, options(true));
  const auto text = model().text(260);
  for (const char* type : {"f32", "eoptshrinkq:2,window=16"}) {
    {
      SchedulerOptions o;
      o.n_ctx = 400, o.n_batch = 64, o.type_k = o.type_v = type;
      Scheduler scheduler(gpu, o);
      std::map<RequestId, std::vector<Token>> expected, got;
      for (std::size_t i = 0; i < 3; ++i) {
        Request request;
        request.prompt.assign(text.begin(), text.begin() + 150);
        request.prompt.insert(request.prompt.end(), text.end() - static_cast<std::ptrdiff_t>(i + 1),
                              text.end());
        request.options.sampling.temperature = 0;
        request.options.max_tokens = 5;
        request.options.ignore_end_tokens = true;
        Session session(gpu, CudaModel::session(type));
        session.eval(request.prompt);
        GenerateOptions alone;
        static_cast<CompletionOptions&>(alone) = request.options;
        Generation generation(session, alone);
        std::vector<Token>& tokens = expected[scheduler.submit(request)];
        while (const auto next = generation.next()) tokens.push_back(next->token);
      }
      while (scheduler.wait(0))
        for (const Event& event : scheduler.step()) {
          EXPECT_EQ(event.error, "");
          if (event.token) got[event.id].push_back(event.token->token);
        }
      if (std::string_view(type) == "f32") {
        EXPECT_EQ(got, expected);
      }
      EXPECT_EQ(scheduler.stats().found, 2);
      EXPECT_GE(scheduler.stats().cached_tokens, 2 * 86);
      EXPECT_GT(gpu.backend().sealed_bytes(), 0);
    }
    EXPECT_EQ(gpu.backend().sealed_bytes(), 0);
  }
}

// An exact cache and f32 weights: the logits differ in their last bits, so choices are the same.
TEST_F(CudaEngine, GreedyAndSampledTokensAreTheCpus) {
  Engine cpu(path_, options(false)), gpu(path_, options(true));
  EXPECT_EQ(gpu.backend().description().rfind("cuda ", 0), 0u);
  for (const double temperature : {0.0, 0.8}) {
    Session a(cpu, session("f32")), b(gpu, session("f32"));
    a.eval(model().text(20));
    b.eval(model().text(20));
    EXPECT_EQ(generate(b, temperature), generate(a, temperature));
  }
}

// Sessions come and go at the same addresses, while others live: no pass may be replayed for another's.
TEST_F(CudaEngine, RecordedPassesKeepToTheirSession) {
  Engine cpu(path_, options(false)), gpu(path_, options(true));
  Session other(gpu, session("f32"));
  other.eval(model().text(3));
  for (int round = 0; round < 3; ++round) {
    Session a(cpu, session("f32")), b(gpu, session("f32"));
    const auto text = model().text(static_cast<std::size_t>(10 + round));
    a.eval(text);
    b.eval(text);
    for (Token token = 3; token < 8; ++token) {
      other.eval_next(token);
      a.eval_next(token);
      b.eval_next(token);
      ASSERT_LT(distance(b.logits(), a.logits()), 1e-5) << "round " << round;
    }
    b.truncate(5);
    a.truncate(5);
    b.eval_next(9);
    a.eval_next(9);
    ASSERT_LT(distance(b.logits(), a.logits()), 1e-5);
  }
}

// Every architecture, over a prompt and recorded passes. The rows of q and k of some are turned in a copy
// that is gone once it is on the device, where the next one may lie at its place.
TEST_F(CudaEngine, EveryArchitectureIsTheCpus) {
  for (const test::TinyArchitecture& row : test::tiny_architectures()) {
    SCOPED_TRACE(row.name);
    test::TinyModel of_row = model();
    of_row.arch = row.name;
    of_row.n_layers = 4;
    const std::string path = folder_.write("row.gguf", of_row.bytes());
    Engine cpu(path, options(false)), gpu(path, options(true));
    Session a(cpu, session("f32")), b(gpu, session("f32"));
    const auto text = of_row.text(70);
    const std::span<const Token> all(text);
    a.eval(all.first(60));
    b.eval(all.first(60));
    EXPECT_LT(distance(b.logits(), a.logits()), 1e-5);
    for (std::size_t i = 60; i < 64; ++i) {
      a.eval_next(text[i]);
      b.eval_next(text[i]);
      ASSERT_LT(distance(b.logits(), a.logits()), 1e-5) << "token " << i;
    }
    a.eval(all.subspan(64, 2));  // few tokens, in 8 bits where weights are quantised
    b.eval(all.subspan(64, 2));
    EXPECT_LT(distance(b.logits(), a.logits()), 1e-5);
  }
}

// A longer prompt replaces work space of attention that the recorded pass of one token points into.
TEST_P(CudaModel, RecordedPassesOutliveALongerPrompt) {
  Engine cpu(path_, options(false)), gpu(path_, options(true));
  Session a(cpu, session(GetParam())), b(gpu, session(GetParam()));
  const auto text = model().text(120);
  const double bound = std::string_view(GetParam()) == "f32" ? 1e-5 : 2e-2;
  std::size_t at = 0;
  for (const std::size_t prompt : {10u, 100u}) {
    const auto tokens = std::span<const Token>(text).subspan(at, prompt);
    a.eval(tokens);
    b.eval(tokens);
    at += prompt;
    for (int i = 0; i < 3; ++i, ++at) {
      a.eval_next(text[at]);
      b.eval_next(text[at]);
      ASSERT_LT(distance(b.logits(), a.logits()), bound) << "token " << at;
    }
  }
}

// Several sequences in one step, prompts beside single tokens, are as the CPU has each alone; and a fork goes
// on beside the sequence that it was made of, and in a longer context.
TEST_P(CudaModel, StepsOverManySequencesAreTheCpus) {
  Engine cpu(path_, options(false)), gpu(path_, options(true));
  const ModelConfig& c = gpu.config();
  const auto format = std::make_shared<const CacheFormat>(c.cache_shape(), GetParam(), GetParam());
  Scratch scratch(gpu.backend(), c, 400, 5);
  std::vector<std::unique_ptr<KvCache>> caches;
  for (int s = 0; s < 3; ++s) caches.push_back(gpu.backend().make_cache(format, 400));
  const double bound = std::string_view(GetParam()) == "f32" ? 1e-5 : 2e-2;
  const auto text = model().text(900);
  const auto tokens = [&](std::size_t s, std::int64_t from, std::int64_t n) {
    return std::span<const Token>(text).subspan(300 * s + static_cast<std::size_t>(from),
                                                static_cast<std::size_t>(n));
  };
  const auto run = [&](const std::vector<StepPart>& step, std::int64_t row) {
    gpu.model().forward(gpu.backend(), scratch, step);
    std::vector<float> logits(static_cast<std::size_t>(c.n_vocab));
    gpu.backend().read(scratch.logits.rows(5).row(row), logits);
    return logits;
  };
  const auto expect = [&](const std::vector<float>& got, std::size_t s, std::int64_t n, Token then) {
    Session alone(cpu, session(GetParam()));
    alone.eval(tokens(s, 0, n));
    if (then >= 0) alone.eval_next(then);
    EXPECT_LT(distance(got, alone.logits()), bound) << s << ", " << n;
  };
  run({{caches[0].get(), tokens(0, 0, 250), 0}}, 0);
  expect(run({{caches[0].get(), tokens(0, 250, 1), 1},
              {caches[1].get(), tokens(1, 0, 122), 0},
              {caches[2].get(), tokens(2, 0, 30), 3}},
             3),
         2, 30, -1);
  for (std::int64_t t = 0; t < 8; ++t) {  // over the ends of two blocks
    const auto got = run({{caches[2].get(), tokens(2, 30 + t, 1), 1},
                          {caches[1].get(), tokens(1, 122 + t, 1), t % 2},
                          {caches[0].get(), tokens(0, 251 + t, 1), 1}},
                         1 + t % 2);
    if (t == 7) expect(got, 0, 259, -1);
  }
  const auto fork = caches[0]->fork(500);
  EXPECT_EQ(fork->n_tokens(), 259);
  const Token own = 7, other = 9, last = 4;
  expect(run({{fork.get(), {&own, 1}, 1}, {caches[0].get(), {&other, 1}, 1}}, 0), 0, 259, own);
  caches[0].reset();
  const auto got = run({{fork.get(), {&last, 1}, 1}}, 0);
  Session alone(cpu, session(GetParam()));
  alone.eval(tokens(0, 0, 259));
  alone.eval_next(own);
  alone.eval_next(last);
  EXPECT_LT(distance(got, alone.logits()), bound);
}

// Heads with codecs, metrics and drawn rows of their own: as a calibration of this model has them. Rows in
// f16 differ by their last bit here and there, and so do points that a trellis is searched with, whose path
// is then another one for some steps, as good as the CPU's: the logits are no further apart than the CPU's
// are from those of exact keys and values. Scalar codes change only at the border between two.
TEST_F(CudaEngine, CalibratedSessionsAreTheCpus) {
  const std::string calibration = path_ + ".calibration.gguf", state = path_ + ".state";
  {
    Engine exact(path_, options(false));
    calibrate(exact, model().text(kLeastCalibration), {}).save(calibration);
  }
  const auto calibrated = [&](bool gpu) {
    EngineOptions o = options(gpu);
    o.calibration.source = calibration;
    return o;
  };
  Engine cpu(path_, calibrated(false)), gpu(path_, calibrated(true));
  const auto text = model().text(300);
  const std::span<const Token> all(text);
  for (const auto& [type, trellis] :
       {std::pair{"eoptshrinkq:2", true}, std::pair{"eoptshrinkq:2.5,quantiser=scalar", false}}) {
    Session a(cpu, session(type)), b(gpu, session(type)), exact(cpu, session("f32"));
    for (Session* s : {&a, &b, &exact}) s->eval(all.first(250));
    for (std::size_t i = 250; i < 270; ++i) {
      const double bound = 2e-2 + (trellis ? distance(a.logits(), exact.logits()) : 0);
      ASSERT_LT(distance(b.logits(), a.logits()), bound) << type << ", token " << i;
      for (Session* s : {&a, &b, &exact}) s->eval_next(text[i]);
    }
    const CacheReport on_cpu = a.cache_report(), on_gpu = b.cache_report();
    EXPECT_EQ(on_gpu.k.sealed_entries, on_cpu.k.sealed_entries);
    EXPECT_NEAR(on_gpu.k.paper_bits, on_cpu.k.paper_bits, 0.05);
    EXPECT_NEAR(on_gpu.v.paper_bits, on_cpu.v.paper_bits, 0.05);
    for (const bool to_gpu : {true, false}) {
      Session to(to_gpu ? gpu : cpu, session(type));
      (to_gpu ? a : b).save_state(state);
      to.load_state(state);
      to.eval_next(5);
      Session beside(to_gpu ? cpu : gpu, session(type));
      beside.load_state(state);
      beside.eval_next(5);
      EXPECT_LT(distance(to.logits(), beside.logits()), 2e-2) << type;
    }
  }
}

// Two caches get the rows of an exact reading, layer by layer, and go on with what they hold.
TEST_F(CudaEngine, ThePrefixProtocolIsTheCpus) {
  Engine cpu(path_, options(false)), gpu(path_, options(true));
  PerplexityOptions o;
  o.protocol = Protocol::prefix;
  o.n_ctx = 300;
  o.prefix = 270;
  o.n_batch = 140;
  o.n_threads = 1;
  o.types = {"eoptshrinkq:2", "turboquant:2"};
  o.base = CacheTypes{"f16", "q8_0"};
  const auto text = model().text(600);
  const PerplexityResult a = measure_perplexity(cpu, text, o, {}), b = measure_perplexity(gpu, text, o, {});
  EXPECT_NEAR(b.ppl.value / a.ppl.value, 1, 5e-3);
  EXPECT_NEAR(b.comparison->ppl_base.value / a.comparison->ppl_base.value, 1, 5e-3);
  EXPECT_NEAR(b.comparison->kl.value / a.comparison->kl.value, 1, 5e-2);
  EXPECT_EQ(b.cache.k.sealed_entries, a.cache.k.sealed_entries);
}

TEST_F(CudaEngine, FidelityIsTheCpus) {
  Engine cpu(path_, options(false)), gpu(path_, options(true));
  FidelityOptions o;
  o.n_queries = 20;
  o.n_threads = 1;
  const auto text = model().text(300);
  const FidelityResult a = measure_fidelity(cpu, text, o, {}), b = measure_fidelity(gpu, text, o, {});
  ASSERT_EQ(b.layers.size(), a.layers.size());
  for (std::size_t l = 0; l < a.layers.size(); ++l)
    EXPECT_NEAR(b.layers[l].types.attention_error[0] / a.layers[l].types.attention_error[0], 1, 1e-2);
}

TEST_F(CudaEngine, APartOfTheLayersIsRefused) {
  EngineOptions some = options(true);
  some.n_gpu_layers = 1;
  try {
    Engine engine(path_, some);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("a part of the layers"), std::string::npos) << e.what();
  }
  for (const int all : {99, -5}) {
    some.n_gpu_layers = all;
    EXPECT_EQ(Engine(path_, some).backend().description().rfind("cuda ", 0), 0u) << all;
  }
}

TEST_F(CudaEngine, ErrorsCrossTheLibrarysBorder) {
  Engine gpu(path_, options(true));
  try {
    Session s(gpu, session("nonsense"));
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::value);
  }
}

TEST_F(CudaEngine, TooLittleMemoryIsAnErrorWithTheSize) {
  Engine gpu(path_, options(true));
  try {
    gpu.backend().allocate(std::int64_t{1} << 45);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::memory);
    EXPECT_NE(std::string(e.what()).find(std::to_string(std::int64_t{1} << 47)), std::string::npos)
        << e.what();
  }
}

std::string refusal(const std::string& library, const std::string& model) {
  ::setenv("SPECTRALKV_CUDA_LIBRARY", library.c_str(), 1);
  try {
    EngineOptions options;
    options.n_gpu_layers = -1;
    Engine engine(model, options);
    return "none";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::value);
    return e.what();
  }
}

TEST_F(CudaEngine, LibrariesThatAreNoneAreRefusedByName) {
  EXPECT_NE(refusal("/nowhere/lib.so", path_).find("does not exist"), std::string::npos);
  EXPECT_NE(refusal(path_, path_).find("cannot load"), std::string::npos);
  EXPECT_NE(refusal(library(SPECTRALKV_TEST_OTHER_LIBRARY), path_).find("is no backend of spectralkv"),
            std::string::npos);
}

}  // namespace
}  // namespace spectralkv
