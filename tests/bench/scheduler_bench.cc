// Times requests one by one and together, and what a long prompt does to those that decode. Before it tells,
// it compares what all of them give.
//
//   scheduler_bench MODEL [TYPE] [--requests 16] [--tokens 64] [--prompt 100] [--shared 0] [--threads 2]
//                   [--pause_ms 200]
//
// Each prompt begins with SHARED tokens that all have in common, and has PROMPT of its own.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "bench/arguments.h"
#include "engine/scheduler.h"

namespace spectralkv {
namespace {

struct Options {
  std::string model, type = "default";
  std::int64_t requests = 16, tokens = 64, prompt = 100, shared = 0, threads = 2, pause_ms = 200;
};

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Outcome {
  std::map<RequestId, std::vector<Token>> tokens;
  std::vector<double> first, gaps;  // seconds until the first token; between tokens
  double total = 0;
  SchedulerStats stats;
};

double at(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))];
}

class Bench {
 public:
  explicit Bench(const Options& options)
      : o_(options), engine_(o_.model, EngineOptions{.n_threads = static_cast<int>(o_.threads)}) {}

  void run() {
    const Outcome slow = in_turns(1), fast = in_turns(o_.requests);
    check(slow.tokens == fast.tokens, "bench", "requests that run together get other tokens than alone");
    std::printf("%s, cache %s: %lld requests of %lld + %lld tokens, %lld new ones each; the same tokens\n",
                engine_.description().c_str(), o_.type.c_str(), static_cast<long long>(o_.requests),
                static_cast<long long>(o_.shared), static_cast<long long>(o_.prompt),
                static_cast<long long>(o_.tokens));
    tell("one by one", slow);
    tell("together", fast);
    long_prompt_beside();
  }

 private:
  Request request(std::int64_t i, std::int64_t prompt) const {
    const auto token = [&](std::int64_t t, std::int64_t s) {
      return static_cast<Token>((7919 * (t + 1) + 104729 * (s + 1)) % engine_.config().n_vocab);
    };
    Request r;
    for (std::int64_t t = 0; t < o_.shared; ++t) r.prompt.push_back(token(t, 0));
    for (std::int64_t t = 0; t < prompt; ++t) r.prompt.push_back(token(t, i + 1));
    r.options.max_tokens = o_.tokens;
    r.options.ignore_end_tokens = true;
    r.options.sampling.seed = static_cast<std::uint64_t>(i);
    return r;
  }
  Scheduler scheduler(std::int64_t parallel) {
    SchedulerOptions options;
    options.n_ctx = 8192;
    options.n_parallel = parallel;
    options.type_k = options.type_v = o_.type;
    options.pause_s = static_cast<double>(o_.pause_ms) / 1000;
    return Scheduler(engine_, options);
  }
  void drain(Scheduler& scheduler, Outcome& out, double start) {
    std::map<RequestId, double> last;
    while (scheduler.wait(0))
      for (const Event& event : scheduler.step()) {
        const double now = seconds();
        if (!event.token) continue;
        out.tokens[event.id].push_back(event.token->token);
        if (last.count(event.id) > 0)
          out.gaps.push_back(now - last[event.id]);
        else
          out.first.push_back(now - start);
        last[event.id] = now;
      }
    out.total = seconds() - start;
    out.stats = scheduler.stats();
  }
  Outcome in_turns(std::int64_t parallel) {
    Scheduler all = scheduler(parallel);
    Outcome out;
    const double start = seconds();
    for (std::int64_t i = 0; i < o_.requests; ++i) all.submit(request(i, o_.prompt));
    drain(all, out, start);
    return out;
  }
  void tell(const char* what, const Outcome& out) const {
    std::printf(
        "  %-11s %7.1f tok/s, first token p50 %6.2f s p95 %6.2f s, between tokens p50 %5.1f ms p95 %5.1f ms, "
        "%lld of %lld prompt tokens shared\n",
        what, static_cast<double>(o_.requests * o_.tokens) / out.total, at(out.first, 0.5),
        at(out.first, 0.95), 1e3 * at(out.gaps, 0.5), 1e3 * at(out.gaps, 0.95),
        static_cast<long long>(out.stats.cached_tokens), static_cast<long long>(out.stats.prompt_tokens));
  }
  // Four requests decode; then a prompt of 2000 tokens comes.
  void long_prompt_beside() {
    Scheduler all = scheduler(8);
    Outcome out;
    const double start = seconds();
    for (std::int64_t i = 0; i < 4; ++i) all.submit(request(i, 20));
    for (int i = 0; i < 20; ++i) all.step();
    all.submit(request(9, 2000));
    drain(all, out, start);
    std::printf(
        "  a prompt of 2000 beside 4 that decode: longest step %.0f ms, %lld prompt tokens a step at the "
        "end\n",
        1e3 * out.stats.longest_pause_s, static_cast<long long>(out.stats.beside_tokens));
  }

  Options o_;
  Engine engine_;
};

int main_of(int argc, char** argv) {
  Options options;
  const auto words = bench::read_arguments(argc, argv,
                                           {{"--requests", &options.requests},
                                            {"--tokens", &options.tokens},
                                            {"--prompt", &options.prompt},
                                            {"--shared", &options.shared},
                                            {"--threads", &options.threads},
                                            {"--pause_ms", &options.pause_ms}});
  bench::take_model("scheduler_bench", words, options.model, options.type);
  Bench(options).run();
  return 0;
}

}  // namespace
}  // namespace spectralkv

int main(int argc, char** argv) {
  return spectralkv::bench::run(spectralkv::main_of, argc, argv);
}
