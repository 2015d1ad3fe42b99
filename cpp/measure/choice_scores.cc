// The answers of a task one after the other, with what they have in common read once.
#include "measure/choice_scores.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "measure/perplexity_stats.h"

namespace spectralkv {
namespace {

constexpr std::size_t kTrailing = 3;  // tokens behind a choice that are too few to judge it by

// The tokens from `first` to before `end` are scored.
struct ScoredTokens {
  std::vector<Token> tokens;
  std::size_t first = 0, end = 0;
};

std::vector<ScoredTokens> scored_tokens(const ChoiceTask& task, const Tokenizer& tokenizer) {
  std::vector<ScoredTokens> answers;
  for (const std::string& text : task.texts) {
    ScoredTokens answer;
    answer.tokens = tokenizer.encode_prompt(text, false);
    answer.end = answer.tokens.size();
    answers.push_back(std::move(answer));
  }
  std::size_t common = answers[0].end;
  for (const ScoredTokens& answer : answers) {
    const auto most = static_cast<std::ptrdiff_t>(std::min(common, answer.end));
    const auto& first = answers[0].tokens;
    common = static_cast<std::size_t>(
        std::mismatch(first.begin(), first.begin() + most, answer.tokens.begin()).first - first.begin());
  }
  const bool behind_choice =
      !task.starts.empty() && std::all_of(answers.begin(), answers.end(),
                                          [&](const ScoredTokens& a) { return a.end - common > kTrailing; });
  for (std::size_t i = 0; i < answers.size(); ++i) {
    ScoredTokens& answer = answers[i];
    answer.first = std::min(common, answer.end - std::min<std::size_t>(answer.end, 1));
    if (behind_choice) {
      const std::size_t start = tokenizer.encode_prompt(task.starts[i], false).size();
      if (start < answer.end) answer.first = start;
    }
    answer.first = std::max<std::size_t>(answer.first, 1);  // nothing predicts the first token
    if (!task.starts.empty() && answer.end > answer.first + 1) --answer.end;
  }
  return answers;
}

class ChoiceScorer {
 public:
  ChoiceScorer(Engine& engine, const std::vector<ChoiceTask>& tasks, const ChoiceOptions& options,
               const ChoiceHooks& hooks)
      : tasks_(tasks), hooks_(hooks), pool_(options.n_threads), session_(engine, settled(engine, options)) {}

  ChoiceResult run() {
    ChoiceResult result;
    for (std::size_t t = 0; t < tasks_.size(); ++t) {
      ChoiceScore score;
      for (const ScoredTokens& answer : answers_[t]) score.logprobs.push_back(mean_logprob(answer));
      score.best = static_cast<std::size_t>(std::max_element(score.logprobs.begin(), score.logprobs.end()) -
                                            score.logprobs.begin());
      // Winogrande's second choice needs to be as good only.
      if (!tasks_[t].starts.empty() && score.logprobs[0] == score.logprobs[1]) score.best = 1;
      score.right = tasks_[t].right[score.best];
      ++result.n_tasks;
      result.n_right += score.right ? 1 : 0;
      result.n_answers += std::ssize(score.logprobs);
      result.cache = session_.cache_report();
      result.sealed = result.sealed || result.cache.k.sealed_entries + result.cache.v.sealed_entries > 0;
      if (hooks_.scored) hooks_.scored(result, score);
    }
    return result;
  }

 private:
  // The tokens of all tasks, and a session that holds the longest answer.
  SessionOptions settled(const Engine& engine, const ChoiceOptions& options) {
    const std::int64_t trained = engine.config().context_length;
    const std::int64_t most = options.n_ctx == 0 ? trained : std::min(options.n_ctx, trained);
    SessionOptions session;
    session.n_ctx = 1;
    for (std::size_t t = 0; t < tasks_.size(); ++t) {
      answers_.push_back(scored_tokens(tasks_[t], engine.tokenizer()));
      for (const ScoredTokens& answer : answers_.back()) {
        check(answer.end > answer.first, "measure", "task ", t + 1,
              " has an answer without a token to score");
        session.n_ctx = std::max(session.n_ctx, std::ssize(answer.tokens));
      }
      check(session.n_ctx <= most, "measure", "task ", t + 1, " takes ", session.n_ctx,
            " tokens, more than the context of ", most, " (-c)");
    }
    session.n_batch = options.n_batch;
    session.type_k = options.types.k;
    session.type_v = options.types.v;
    return session;
  }

  double mean_logprob(const ScoredTokens& answer) {
    const std::span<const Token> all(answer.tokens);
    const std::size_t from = answer.first - 1;  // its logits are those of the first scored token
    const auto known = static_cast<std::size_t>(session_.keep_common(all.first(from)));
    session_.eval(all.subspan(known, from - known), hooks_.cancelled);
    double sum = 0;
    session_.eval_rows(
        all.subspan(from, answer.end - answer.first),
        [&](ConstMatrix rows, std::int64_t first) {
          const auto n = static_cast<std::size_t>(rows.rows);
          scores_.resize(n);
          score_rows(pool_, rows, {}, all.subspan(static_cast<std::size_t>(first) + 1, n), scores_);
          for (const PositionScore& score : scores_) sum += score.logprob;
        },
        hooks_.cancelled);
    return sum / static_cast<double>(answer.end - answer.first);
  }

  const std::vector<ChoiceTask>& tasks_;
  const ChoiceHooks& hooks_;
  ThreadPool pool_;
  std::vector<std::vector<ScoredTokens>> answers_;
  Session session_;  // behind answers_, which its options come with
  std::vector<PositionScore> scores_;
};

Estimate share_of(std::int64_t part, std::int64_t all, std::int64_t n) {
  const double p = static_cast<double>(part) / static_cast<double>(all);
  return {p, n > 1 ? std::sqrt(p * (1 - p) / static_cast<double>(n - 1)) : 0};
}

}  // namespace

Estimate ChoiceResult::accuracy() const {
  return share_of(n_right, n_tasks, n_tasks);
}

Estimate ChoiceResult::chance() const {
  return share_of(n_tasks, n_answers, n_tasks);
}

std::pair<double, double> ChoiceResult::interval() const {
  constexpr double kNormal = 1.95996398454;  // 97.5 % of a normal distribution lie below
  const double p = accuracy().value, z = kNormal * kNormal / static_cast<double>(n_tasks);
  const double half = std::sqrt(z * (p * (1 - p) + z / 4)), centre = p + z / 2;
  return {(centre - half) / (1 + z), (centre + half) / (1 + z)};
}

ChoiceResult score_choices(Engine& engine, const std::vector<ChoiceTask>& tasks, const ChoiceOptions& options,
                           const ChoiceHooks& hooks) {
  return ChoiceScorer(engine, tasks, options, hooks).run();
}

}  // namespace spectralkv
