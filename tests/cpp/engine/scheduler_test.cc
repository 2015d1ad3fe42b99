// Many requests together: each gets what it gets alone, to the last bit; what goes wrong with one stays with
// it.
#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "backend/backend.h"
#include "base/error.h"
#include "cpp/kv/codec_cases.h"
#include "engine/generate.h"
#include "support/tiny_model.h"

namespace spectralkv::scheduler_test {
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
        std::make_unique<Engine>(folder_.write("tiny.gguf", model_.bytes()), EngineOptions{.n_threads = 1});
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

// Requests that begin alike, all at once and later on: what is shared changes no bit.
TEST_P(SchedulerTest, SharedStartsChangeNothing) {
  Scheduler scheduler(*engine_, options());
  std::map<RequestId, Answer> answers, expected;
  const auto ask = [&](std::size_t i, std::size_t shared, std::size_t own) {
    Request r = request(i);
    const auto all = model_.text(5000);
    r.prompt.assign(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(shared));
    r.prompt.insert(r.prompt.end(), all.end() - static_cast<std::ptrdiff_t>(i * 20 + own),
                    all.end() - static_cast<std::ptrdiff_t>(i * 20));
    expected[scheduler.submit(r)] = alone(r);
  };
  for (std::size_t i = 0; i < 12; ++i) ask(i, 210, 3 + i);
  drain(scheduler, answers);
  const auto first = scheduler.stats();
  EXPECT_GE(first.found, 11);
  EXPECT_GE(first.cached_tokens, 11 * 128);
  for (std::size_t i = 0; i < 12; ++i) ask(12 + i, 100 + 13 * i, 1 + i % 3);
  drain(scheduler, answers);
  for (const auto& [id, answer] : expected) EXPECT_TRUE(answers[id] == answer) << "request " << id;
  EXPECT_GT(scheduler.stats().cached_tokens, first.cached_tokens);
  EXPECT_LT(scheduler.stats().read_tokens, first.prompt_tokens + 12 * 200);
}

// One prompt asked for many times at once is read once.
TEST_P(SchedulerTest, OnePromptManyAnswers) {
  Scheduler scheduler(*engine_, options());
  std::map<RequestId, Answer> answers, expected;
  for (std::size_t i = 0; i < 8; ++i) {
    Request r = request(i);
    r.prompt = request(5).prompt;
    expected[scheduler.submit(r)] = alone(r);
  }
  drain(scheduler, answers);
  for (const auto& [id, answer] : expected) EXPECT_TRUE(answers[id] == answer) << "request " << id;
  const SchedulerStats stats = scheduler.stats();
  EXPECT_EQ(stats.found, 7);
  EXPECT_LT(stats.read_tokens - stats.decoded_tokens, std::ssize(request(5).prompt) + 7 * 64);
}

// A budget that a few fit into: the others wait, the youngest are put back, and all get what they would get.
TEST_P(SchedulerTest, ABudgetMakesRequestsWait) {
  SchedulerOptions o = options();
  const CacheFormat format(engine_->config().cache_shape(), o.type_k, o.type_v);
  const CacheCost cost(format);
  o.cache_bytes = 3 * (cost.exact(300) + cost.most(0, 300));
  Scheduler scheduler(*engine_, o);
  std::map<RequestId, Answer> answers, expected;
  std::int64_t most_running = 0;
  for (std::size_t i = 0; i < 16; ++i) {
    Request r = request(i);
    r.options.max_tokens = 150;
    expected[scheduler.submit(r)] = alone(r);
  }
  for (bool busy = true; busy;) {
    for (const Event& event : scheduler.step()) take(event, answers);
    const SchedulerStats stats = scheduler.stats();
    EXPECT_LE(stats.cache_bytes, o.cache_bytes);
    most_running = std::max(most_running, stats.running);
    busy = stats.waiting + stats.running > 0;
  }
  for (const auto& [id, answer] : expected)
    EXPECT_TRUE(answers[id] == answer) << "request " << id << " " << answers[id].error;
  EXPECT_GT(most_running, 1);
  EXPECT_LT(most_running, 16);
  EXPECT_EQ(scheduler.stats().failed, 0);
  EXPECT_GT(scheduler.stats().preemptions, 0);

  Request large = request(0);
  large.prompt = model_.text(300);
  o.cache_bytes = cost.exact(100) / 2;
  Scheduler small(*engine_, o);
  try {
    small.submit(large);
    FAIL() << "taken";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(std::to_string(o.cache_bytes)), std::string::npos)
        << error.what();
  }
}

// What a scheduler held is given back with it, whatever became of its requests.
TEST_P(SchedulerTest, EndsGiveBackAllBlocks) {
  ASSERT_EQ(engine_->backend().sealed_bytes(), 0);
  {
    Scheduler scheduler(*engine_, options());
    std::map<RequestId, Answer> answers;
    std::vector<RequestId> ids;
    for (std::size_t i = 0; i < 20; ++i) {
      Request r = request(i);
      if (i % 4 == 0) r.deadline = std::chrono::steady_clock::now() - std::chrono::seconds(1);
      ids.push_back(scheduler.submit(r));
    }
    for (int i = 0; i < 4; ++i)
      for (const Event& event : scheduler.step()) take(event, answers);
    for (std::size_t i = 1; i < 20; i += 4)
      EXPECT_EQ(scheduler.cancel(ids[i]), answers[ids[i]].reason == FinishReason::none);
    EXPECT_FALSE(scheduler.cancel(12345));
    drain(scheduler, answers);
    for (std::size_t i = 0; i < 20; ++i) {
      const Answer& answer = answers[ids[i]];
      if (i % 4 == 0) {
        EXPECT_EQ(answer.reason, FinishReason::deadline);
        EXPECT_TRUE(answer.tokens.empty());
      } else if (i % 4 == 1 && answer.reason == FinishReason::cancelled) {
        const Answer whole = alone(request(i));
        ASSERT_LE(answer.tokens.size(), whole.tokens.size());
        EXPECT_TRUE(std::equal(answer.tokens.begin(), answer.tokens.end(), whole.tokens.begin()));
      } else {
        EXPECT_TRUE(answer == alone(request(i))) << i;
      }
      EXPECT_FALSE(scheduler.cancel(ids[i]));
    }
    EXPECT_GT(engine_->backend().sealed_bytes(), 0);
  }
  EXPECT_EQ(engine_->backend().sealed_bytes(), 0);
}

// Requests that cannot be taken say why, and change nothing.
TEST_P(SchedulerTest, RefusesByName) {
  Scheduler scheduler(*engine_, options());
  const auto refusal = [&](const auto& change) -> std::string {
    Request r = request(3);
    change(r);
    try {
      scheduler.submit(r);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::value);
      return error.what();
    }
    return "taken";
  };
  using R = Request&;
  EXPECT_NE(refusal([](R r) { r.prompt.clear(); }).find("without a prompt"), std::string::npos);
  EXPECT_NE(refusal([](R r) {
              r.prompt.assign(401, 5);
            }).find("a prompt of 401 tokens does not fit into the context of 400"),
            std::string::npos);
  EXPECT_NE(refusal([](R r) { r.prompt[1] = 40; }).find("token 40 "), std::string::npos);
  EXPECT_NE(refusal([](R r) { r.prompt[1] = -1; }).find("token -1 "), std::string::npos);
  EXPECT_NE(refusal([](R r) { r.allowed.assign(3, 1); }).find("has 3 words"), std::string::npos);
  EXPECT_NE(refusal([](R r) { r.options.top_logprobs = 41; }).find("top_logprobs"), std::string::npos);
  EXPECT_NE(refusal([](R r) { r.options.stop = {""}; }).find("stop string is empty"), std::string::npos);
  EXPECT_NE(refusal([](R r) { r.options.sampling.top_p = -1; }).find("top_p"), std::string::npos);
  EXPECT_TRUE(scheduler.step().empty());
  EXPECT_FALSE(scheduler.wait(0.01));
  EXPECT_EQ(scheduler.stats().requests, 0);

  SchedulerOptions wrong = options();
  wrong.n_batch = 10;
  EXPECT_THROW(Scheduler(*engine_, wrong), Error);
  wrong = options(), wrong.type_k = "nothing";
  EXPECT_THROW(Scheduler(*engine_, wrong), Error);
}

TEST_P(SchedulerTest, EndsOfContextAndNoTokensAtAll) {
  Scheduler scheduler(*engine_, options());
  std::map<RequestId, Answer> answers;
  Request none = request(3);
  none.options.max_tokens = 0;
  Request full = request(3);
  full.prompt = model_.text(400);
  full.options.max_tokens = 20;
  Request endless = request(4);
  endless.options.max_tokens = -1;
  const RequestId a = scheduler.submit(none), b = scheduler.submit(full), c = scheduler.submit(endless);
  EXPECT_TRUE(scheduler.wait(0));
  drain(scheduler, answers);
  EXPECT_EQ(answers[a].reason, FinishReason::length);
  EXPECT_TRUE(answers[a].tokens.empty());
  EXPECT_EQ(answers[b].tokens.size(), 1u);
  EXPECT_TRUE(answers[b] == alone(full));
  EXPECT_EQ(answers[c].tokens.size(), 401 - endless.prompt.size());
  EXPECT_TRUE(answers[c] == alone(endless));
}

// A mask holds for its request alone, until another one comes; one that allows nothing ends that request.
TEST_P(SchedulerTest, MasksAreOfOneRequest) {
  Scheduler scheduler(*engine_, options());
  std::map<RequestId, Answer> answers;
  Request masked = request(7), other = request(8), impossible = request(9);
  masked.options.max_tokens = 6;
  const auto only = [](Token token) {
    std::vector<std::uint32_t> words(2);
    words[static_cast<std::size_t>(token / 32)] |= 1u << (token % 32);
    return words;
  };
  masked.allowed = only(33);
  impossible.allowed.assign(2, 0);
  const RequestId a = scheduler.submit(masked), b = scheduler.submit(other), c = scheduler.submit(impossible);
  const std::vector<Token> wanted = {33, 4, 4, 35, 5, 6};
  for (int guard = 0; guard < 1000 && scheduler.wait(0); ++guard)
    for (const Event& event : scheduler.step()) {
      take(event, answers);
      const std::size_t n = answers[a].tokens.size();
      if (event.id == a && event.reason == FinishReason::none && wanted[n] != wanted[n - 1]) {
        EXPECT_TRUE(scheduler.allow(a, only(wanted[n])));
      }
    }
  EXPECT_EQ(answers[a].tokens, wanted);
  EXPECT_TRUE(answers[b] == alone(other));
  EXPECT_EQ(answers[c].reason, FinishReason::error);
  EXPECT_NE(answers[c].error.find("no token that could be sampled"), std::string::npos);
  EXPECT_FALSE(scheduler.allow(a, only(4)));
  EXPECT_THROW(scheduler.allow(b, std::vector<std::uint32_t>(1)), Error);
}

// Others submit and cancel while steps run.
TEST_P(SchedulerTest, ThreadsMayAsk) {
  Scheduler scheduler(*engine_, options());
  std::map<RequestId, Answer> answers, expected;
  std::mutex mutex;
  std::vector<std::thread> askers;
  for (std::size_t t = 0; t < 4; ++t)
    askers.emplace_back([&, t] {
      for (std::size_t i = 0; i < 6; ++i) {
        const RequestId id = scheduler.submit(request(6 * t + i));
        if (i % 3 == 2) scheduler.cancel(id);
        const std::lock_guard lock(mutex);
        if (i % 3 != 2) expected[id].timings.prompt_tokens = static_cast<std::int64_t>(6 * t + i);
      }
    });
  while (scheduler.stats().finished < 24) {
    scheduler.wait(0.1);
    for (const Event& event : scheduler.step()) take(event, answers);
  }
  for (auto& asker : askers) asker.join();
  for (const auto& [id, which] : expected)
    EXPECT_TRUE(answers[id] == alone(request(static_cast<std::size_t>(which.timings.prompt_tokens))));
}

// What one process has kept is found by the next one, and what is saved by name can be loaded.
TEST_P(SchedulerTest, KeptSequencesOutlastTheProcess) {
  SchedulerOptions o = options();
  o.kept_folder = folder_.write("x", "") + "-kept";
  std::filesystem::create_directory(o.kept_folder);
  const std::string slot = o.kept_folder + "/slot";
  Request first = request(5), second = request(5);
  second.prompt.insert(second.prompt.end(), {5, 6, 7});
  {
    Scheduler scheduler(*engine_, o);
    std::map<RequestId, Answer> answers;
    scheduler.submit(first);
    drain(scheduler, answers);
    while (scheduler.wait(0)) EXPECT_TRUE(scheduler.step().empty());
    EXPECT_EQ(scheduler.stats().kept_files, scheduler.stats().kept);
    EXPECT_GT(scheduler.stats().kept_file_bytes, 0);
    EXPECT_EQ(scheduler.save(first.prompt, slot), std::ssize(first.prompt));
    EXPECT_EQ(scheduler.save(model_.text(300), slot + "2"), 0);
    EXPECT_FALSE(std::filesystem::exists(slot + "2"));
  }
  const auto run = [&](Scheduler& scheduler) {
    std::map<RequestId, Answer> answers;
    const RequestId id = scheduler.submit(second);
    drain(scheduler, answers);
    EXPECT_TRUE(answers[id] == alone(second));
    return answers[id].timings.cached_tokens;
  };
  Scheduler restarted(*engine_, o);
  EXPECT_EQ(run(restarted), std::ssize(first.prompt));
  o.kept_folder.clear();
  Scheduler other(*engine_, o);
  EXPECT_EQ(other.load(slot), first.prompt);
  EXPECT_EQ(run(other), std::ssize(first.prompt));
  EXPECT_THROW(other.load(slot + "2"), Error);
  o.n_ctx = 100;
  Scheduler shorter(*engine_, o);
  EXPECT_THROW(shorter.load(slot), Error);
}

INSTANTIATE_TEST_SUITE_P(Types, SchedulerTest,
                         testing::Values("f16", "q8_0,block=64,sink=2",
                                         "eoptshrinkq:2,block=64,window=32,sink=4"),
                         [](const auto& param) { return testing_support::test_name(param.param); });

// A model of one layer, whose token 39 has a key that no f16 can hold.
std::string with_an_unreadable_token(const test::TempFolder& folder, const test::TinyModel& model) {
  std::string bytes = model.bytes();
  const Gguf file(folder.write("whole.gguf", bytes));
  const auto change = [&](const char* name, const auto& edit) {
    const WeightView w = file.weight(name);
    const std::string was(reinterpret_cast<const char*>(w.data),
                          static_cast<std::size_t>(w.rows * w.cols) * sizeof(float));
    std::vector<float> values(static_cast<std::size_t>(w.rows * w.cols));
    std::memcpy(values.data(), was.data(), was.size());
    for (std::int64_t r = 0; r < w.rows; ++r) edit(r, values[static_cast<std::size_t>(r * w.cols)]);
    const std::size_t at = bytes.find(was);
    std::memcpy(bytes.data() + at, values.data(), was.size());
  };
  change("token_embd.weight", [](std::int64_t token, float& first) { first = token == 39 ? 1.0f : 0.0f; });
  change("blk.0.attn_k.weight", [](std::int64_t, float& first) { first = 1e7f; });
  return folder.write("unreadable.gguf", bytes);
}

// A step that fails takes only those with it that are to blame; the others get what they would have got.
TEST(SchedulerFailure, StaysWithItsRequest) {
  test::TempFolder folder;
  test::TinyModel model;
  model.n_layers = 1;
  Engine engine(with_an_unreadable_token(folder, model), EngineOptions{.n_threads = 1});
  SchedulerOptions options;
  options.n_ctx = 300, options.type_k = options.type_v = "turboquant:2,block=64,window=32";
  const auto request = [&](std::size_t i) {
    Request r;
    const auto all = model.text(1000);
    r.prompt.assign(all.begin() + static_cast<std::ptrdiff_t>(10 * i),
                    all.begin() + static_cast<std::ptrdiff_t>(10 * i + 100 + i));
    for (Token& token : r.prompt)
      if (token == 39) token = 38;
    r.options.max_tokens = 12;
    r.options.ignore_end_tokens = true;
    r.options.sampling.seed = i;
    r.options.sampling.logit_bias = {{39, -std::numeric_limits<float>::infinity()}};
    return r;
  };
  const auto run = [&](Scheduler& scheduler) {
    std::map<RequestId, std::vector<Token>> tokens;
    std::map<RequestId, std::string> errors;
    while (scheduler.wait(0))
      for (const Event& event : scheduler.step()) {
        if (event.token) tokens[event.id].push_back(event.token->token);
        if (event.reason == FinishReason::error) errors[event.id] = event.error;
      }
    return std::pair(tokens, errors);
  };
  std::map<RequestId, std::vector<Token>> expected;
  for (RequestId i = 1; i <= 6; ++i) {
    Scheduler scheduler(engine, options);
    scheduler.submit(request(i));
    expected[i] = run(scheduler).first[1];
  }
  {
    Scheduler scheduler(engine, options);
    for (RequestId i = 1; i <= 6; ++i) {
      Request r = request(i);
      if (i == 2) r.prompt[50] = 39;
      if (i == 5) r.options.sampling.logit_bias = {{39, 1e6f}};
      scheduler.submit(r);
    }
    auto [tokens, errors] = run(scheduler);
    for (const RequestId i : {1, 3, 4, 6}) EXPECT_EQ(tokens[i], expected[i]) << i;
    EXPECT_EQ(errors.size(), 2u);
    EXPECT_TRUE(tokens[2].empty());
    EXPECT_NE(errors[2].find("token 50 holds"), std::string::npos) << errors[2];
    EXPECT_EQ(tokens[5], std::vector<Token>{39});
    EXPECT_NE(errors[5].find("beyond f16"), std::string::npos) << errors[5];
    const SchedulerStats stats = scheduler.stats();
    EXPECT_EQ(stats.failed, 2);
    EXPECT_EQ(stats.finished, 6);
    EXPECT_GE(stats.failed_steps, 2);
  }
  EXPECT_EQ(engine.backend().sealed_bytes(), 0);
}

}  // namespace
}  // namespace spectralkv::scheduler_test
