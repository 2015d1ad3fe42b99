// Which answer of each task a model holds for the likeliest, and how often that is the right one.
#pragma once

#include <functional>

#include "measure/choice_tasks.h"
#include "measure/perplexity.h"

namespace spectralkv {

struct ChoiceOptions {
  std::int64_t n_ctx = 0;  // tokens of an answer with its question, at most; 0: the model's context
  std::int64_t n_batch = 128;
  int n_threads = 0;  // for the log-probabilities; 0: one a core
  CacheTypes types;
};

struct ChoiceScore {
  std::vector<double> logprobs;  // of each answer, the mean over its tokens
  std::size_t best = 0;
  bool right = false;
};

struct ChoiceResult {
  std::int64_t n_tasks = 0, n_right = 0, n_answers = 0;
  bool sealed = false;  // some task was long enough for the cache to compress a part of it
  CacheReport cache;    // after the last task

  Estimate accuracy() const;
  Estimate chance() const;                     // of who guesses
  std::pair<double, double> interval() const;  // of 95 %, Wilson's
};

struct ChoiceHooks {
  // After each task: the result so far, and the task's score.
  std::function<void(const ChoiceResult& so_far, const ChoiceScore& score)> scored;
  std::function<bool()> cancelled;
};

// Answers are scored from where those of a task differ on; Winogrande's behind the choice, if more than three
// tokens of each text differ, and without the last token, if there are others. A task that is too long, or
// has an answer without a token to score, is a value error.
ChoiceResult score_choices(Engine& engine, const std::vector<ChoiceTask>& tasks, const ChoiceOptions& options,
                           const ChoiceHooks& hooks);

}  // namespace spectralkv
