// Many requests together: each gets what it gets alone, to the last bit; what goes wrong with one stays with
// it.
#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "cpp/kv/codec_cases.h"
#include "engine/generate.h"
#include "support/tiny_model.h"

namespace spectralkv {
namespace {

// What became of a request.
struct Answer {
  std::vector<Token> tokens;
  std::vector<float> logprobs;
  std::string text, error;
  FinishReason reason = FinishReason::none;
  RequestTimings timings;

  bool operator==(const Answer& other) const {
    return tokens == other.tokens && logprobs == other.logprobs && text == other.text &&
           reason == other.reason;
  }
};

class SchedulerTest : public testing::TestWithParam<const char*> {
 protected:
  SchedulerTest() {
    model_.n_heads = 4, model_.n_kv_heads = 2, model_.n_embd = 256;
    engine_ =
        std::make_unique<Engine>(folder_.write("tiny.gguf", model_.bytes()), EngineOptions{.n_threads = 2});
  }

  SchedulerOptions options() const {
    SchedulerOptions o;
    o.n_ctx = 400, o.n_batch = 96, o.n_parallel = 64;
    o.type_k = o.type_v = GetParam();
    return o;
  }
  Request request(std::size_t i) const {
    Request r;
    const auto all = model_.text(5000);
    const std::size_t n = 1 + 37 * i % 230;
    r.prompt.assign(all.begin() + static_cast<std::ptrdiff_t>(60 * i),
                    all.begin() + static_cast<std::ptrdiff_t>(60 * i + n));
    r.options.max_tokens = 5 + static_cast<std::int64_t>(i % 40);
    r.options.ignore_end_tokens = true;
    r.options.top_logprobs = i % 3 == 0 ? 2 : -1;
    r.options.sampling.temperature = i % 2 == 0 ? 0 : 0.9;
    r.options.sampling.seed = 1000 + i;
    r.options.sampling.repeat_penalty = i % 5 == 0 ? 1.3 : 1.0;
    return r;
  }
  static void take(const Event& event, std::map<RequestId, Answer>& answers) {
    Answer& answer = answers[event.id];
    EXPECT_EQ(answer.reason, FinishReason::none) << "an event behind the last one of request " << event.id;
    if (event.token) {
      answer.tokens.push_back(event.token->token);
      answer.logprobs.push_back(event.token->logprob);
      answer.text += event.token->text;
    }
    answer.text += event.rest;
    answer.error = event.error;
    answer.reason = event.reason;
    answer.timings = event.timings;
  }
  static void drain(Scheduler& scheduler, std::map<RequestId, Answer>& answers) {
    for (int guard = 0; guard < 100000; ++guard) {
      for (const Event& event : scheduler.step()) take(event, answers);
      const SchedulerStats stats = scheduler.stats();
      if (stats.waiting + stats.running == 0) return;
    }
    FAIL() << "the scheduler does not come to an end";
  }
  // Of a session's own generation.
  Answer alone(const Request& request) {
    SessionOptions o;
    o.n_ctx = options().n_ctx, o.type_k = o.type_v = GetParam();
    Session session(*engine_, o);
    session.eval(request.prompt);
    GenerateOptions generate;
    static_cast<CompletionOptions&>(generate) = request.options;
    Generation generation(session, generate);
    Answer answer;
    while (const auto token = generation.next()) {
      answer.tokens.push_back(token->token);
      answer.logprobs.push_back(token->logprob);
      answer.text += token->text;
    }
    answer.reason = generation.reason();
    return answer;
  }

  test::TempFolder folder_;
  test::TinyModel model_;
  std::unique_ptr<Engine> engine_;
};

TEST_P(SchedulerTest, CompanionsChangeNothing) {
  Scheduler scheduler(*engine_, options());
  std::map<RequestId, Answer> answers;
  std::map<RequestId, Answer> expected;
  for (std::size_t i = 0; i < 64; ++i) {
    expected[scheduler.submit(request(i))] = alone(request(i));
    if (i % 3 == 0)
      for (const Event& event : scheduler.step()) take(event, answers);  // so that they join one by one
  }
  drain(scheduler, answers);
  for (const auto& [id, answer] : expected) EXPECT_TRUE(answers[id] == answer) << "request " << id;
  EXPECT_EQ(scheduler.stats().finished, 64);
  EXPECT_EQ(scheduler.stats().failed, 0);
}

INSTANTIATE_TEST_SUITE_P(Types, SchedulerTest,
                         testing::Values("f16", "q8_0,block=64,sink=2",
                                         "eoptshrinkq:2,block=64,window=32,sink=4"),
                         [](const auto& param) { return testing_support::test_name(param.param); });

}  // namespace
}  // namespace spectralkv
