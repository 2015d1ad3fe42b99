// The measurements behind bench.h.
#include "measure/bench.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "backend/backend.h"
#include "base/buffer.h"
#include "base/error.h"
#include "base/random.h"
#include "base/threads.h"

namespace spectralkv {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// A context that can be returned to.
class Hold {
 public:
  explicit Hold(Session& session) : session_(session) {
    path_ =
        (std::filesystem::temp_directory_path() / concat("spectralkv-bench-", ::getpid(), ".state")).string();
    session_.save_state(path_);
  }
  ~Hold() { std::filesystem::remove(path_, ignored_); }
  Hold(const Hold&) = delete;
  void back() { session_.load_state(path_); }

 private:
  Session& session_;
  std::string path_;
  std::error_code ignored_;
};

std::vector<Token> random_tokens(std::int64_t n, std::int64_t n_vocab) {
  std::vector<Token> tokens;
  for (std::int64_t i = 0; i < n; ++i)
    tokens.push_back(static_cast<Token>(random_bits(42, static_cast<std::uint64_t>(i)) %
                                        static_cast<std::uint64_t>(n_vocab)));
  return tokens;
}

std::vector<float> finite_logits(const Session& session) {
  const auto logits = session.logits();
  for (const float value : logits)
    check(std::isfinite(value), "measure", "bench: a logit is ", value, "; nothing was timed");
  return {logits.begin(), logits.end()};
}

std::ptrdiff_t likeliest(const std::vector<float>& logits) {
  return std::max_element(logits.begin(), logits.end()) - logits.begin();
}

// The distance of two rows of logits over the length of one.
double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double squares = 0, norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double value = static_cast<double>(a[i]), difference = value - static_cast<double>(b[i]);
    squares += difference * difference;
    norm += value * value;
  }
  return std::sqrt(squares / norm);
}

void verify(Session& session, std::span<const Token> tokens) {
  const auto some = tokens.first(std::min<std::size_t>(tokens.size(), 32));
  session.eval(some);
  const auto at_once = finite_logits(session);
  session.reset();
  for (const Token token : some) session.eval_next(token);
  const auto one_by_one = finite_logits(session);
  // A backend may round prompts and single tokens in different ways, which a near tie shows.
  check(likeliest(at_once) == likeliest(one_by_one) || distance(at_once, one_by_one) < 0.1, "measure",
        "bench: after ", some.size(), " tokens read at once token ", likeliest(at_once),
        " is likeliest, read one by one ", likeliest(one_by_one), "; nothing was timed");
  session.reset();
}

double read(Session& session, std::span<const Token> tokens, bool at_once,
            const std::function<bool()>& cancelled) {
  const auto start = Clock::now();
  if (at_once) {
    session.eval(tokens, cancelled);
  } else {
    for (const Token token : tokens) {
      session.eval_next(token);
      if (cancelled && cancelled()) fail(ErrorKind::interrupted, "measure", "bench: interrupted");
    }
  }
  return seconds_since(start);
}

BenchResult measure(Session& session, const BenchTest& test, int repetitions, std::span<const Token> tokens,
                    const BenchHooks& hooks) {
  BenchResult result{test, {}, {}, 0, 0};
  const auto behind = tokens.subspan(static_cast<std::size_t>(test.depth));
  const auto part = behind.first(static_cast<std::size_t>(test.n));
  const auto answer = behind.subspan(part.size(), static_cast<std::size_t>(test.answer));
  Hold hold(session);
  read(session, part.first(std::min<std::size_t>(part.size(), test.prompt ? part.size() : 4)), test.prompt,
       hooks.cancelled);  // warm
  Backend& backend = session.engine().backend();
  double cache_bytes = 0;
  Stages before, after;
  for (int r = 1; r <= repetitions; ++r) {
    hold.back();
    if (hooks.before) hooks.before(test, r);
    before = backend.stages();
    double seconds = read(session, part, test.prompt, hooks.cancelled);
    if (!answer.empty()) seconds += read(session, answer, false, hooks.cancelled);
    after = backend.stages();
    result.samples.push_back(static_cast<double>(test.total()) / seconds);
    result.seconds += seconds / repetitions;
    for (std::size_t s = 0; s < after.seconds.size(); ++s)
      result.stages.seconds[s] += (after.seconds[s] - before.seconds[s]) / repetitions;
    cache_bytes = static_cast<double>(session.cache_report().bytes());
  }
  result.stages.weight_bytes = after.weight_bytes - before.weight_bytes;
  const auto batch = test.prompt ? session.options().n_batch : 1;
  const auto passes = static_cast<double>((test.n + batch - 1) / batch + test.answer);
  result.bytes = static_cast<double>(result.stages.weight_bytes) + passes * cache_bytes;
  hold.back();
  return result;
}

}  // namespace

double BenchResult::mean() const {
  return std::accumulate(samples.begin(), samples.end(), 0.0) / static_cast<double>(samples.size());
}

double BenchResult::deviation() const {
  if (samples.size() < 2) return 0;
  double squares = 0;
  for (const double sample : samples) squares += (sample - mean()) * (sample - mean());
  return std::sqrt(squares / static_cast<double>(samples.size() - 1));
}

void run_bench(Engine& engine, const BenchOptions& options, const BenchHooks& hooks) {
  std::vector<BenchTest> tests = options.tests;
  std::stable_sort(tests.begin(), tests.end(),
                   [](const BenchTest& a, const BenchTest& b) { return a.depth < b.depth; });
  std::int64_t most = 32;
  for (const BenchTest& test : tests) most = std::max(most, test.depth + test.total());
  SessionOptions session_options = options.session;
  session_options.n_ctx = most;
  Session session(engine, session_options);
  engine.backend().lay_out_weights();
  session.calibrate(hooks.cancelled);
  const std::vector<Token> tokens = random_tokens(most, engine.config().n_vocab);
  verify(session, tokens);
  for (const BenchTest& test : tests) {
    const auto reached = session.tokens().size(), depth = static_cast<std::size_t>(test.depth);
    if (hooks.before && reached < depth) hooks.before(test, 0);
    read(session, std::span(tokens).subspan(reached, depth - reached), true, hooks.cancelled);
    const BenchResult result = measure(session, test, options.repetitions, tokens, hooks);
    if (hooks.done) hooks.done(result);
  }
}

double memory_bandwidth(int n_threads) {
  constexpr std::size_t kWords = std::size_t{256} << 17;  // 256 MiB
  ThreadPool pool(n_threads);
  const auto words = Buffer<std::uint64_t>::zeros(kWords);
  std::atomic<std::uint64_t> sum{0};  // so that the reading is not left out
  double best = 0;
  for (int pass = 0; pass < 5; ++pass) {
    const auto start = Clock::now();
    pool.for_range(static_cast<std::int64_t>(kWords / 64), [&](std::int64_t begin, std::int64_t end, int) {
      std::array<std::uint64_t, 8> lanes{};
      for (std::int64_t i = begin; i < end; ++i) {
        const std::uint64_t* at = words.data() + 64 * i;
        for (std::size_t line = 0; line < 64; line += 8) {
          __builtin_prefetch(at + line + 512, 0, 2);
          for (std::size_t l = 0; l < 8; ++l) lanes[l] += at[line + l];
        }
      }
      sum += std::accumulate(lanes.begin(), lanes.end(), std::uint64_t{0});
    });
    best = std::max(best, static_cast<double>(kWords * 8) / seconds_since(start));
  }
  check(sum == 0, "measure", "bench: memory was not what was written");
  return best;
}

}  // namespace spectralkv
