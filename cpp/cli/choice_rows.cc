// Their lines have llama-perplexity's columns, so that what reads those reads these.
#include "cli/choice_rows.h"

#include <algorithm>
#include <cstdint>

#include "base/error.h"
#include "cli/json.h"
#include "cli/log.h"
#include "cli/streams.h"

namespace spectralkv {
namespace {

constexpr std::int64_t kMostTasks = std::int64_t{1} << 31;

const char* choice_name(ChoiceKind kind) {
  switch (kind) {
    case ChoiceKind::hellaswag:
      return "hellaswag";
    case ChoiceKind::winogrande:
      return "winogrande";
    case ChoiceKind::multiple_choice:
      break;
  }
  return "multiple-choice";
}

Option kind_row(ChoiceInput& input, ChoiceKind kind, const char* help, const char* differs = "") {
  const auto set = [&input, kind](const std::string&) {
    if (input.kind && *input.kind != kind)
      throw UsageError(concat("--", choice_name(*input.kind), " was given already"));
    input.kind = kind;
  };
  return {{concat("--", choice_name(kind))},
          "",
          help,
          set,
          *differs == '\0' ? Peer::same : Peer::differs,
          differs};
}

Option tasks_row(ChoiceKind kind, std::int64_t& n) {
  return {{concat("--", choice_name(kind), "-tasks")},
          "N",
          concat("tasks of its file to ask, in a fixed random order; 0: all (default: ",
                 n == 0 ? "all" : std::to_string(n), ")"),
          set_int(n, 0, kMostTasks)};
}

std::string percent(double share, int digits) {
  return fixed(100 * share, digits);
}

}  // namespace

std::vector<Option> choice_rows(ChoiceInput& input) {
  return {
      kind_row(input, ChoiceKind::hellaswag,
               "score HellaSwag's tasks in the file of -f: six lines each, context, number of the right "
               "ending from 0, four endings"),
      tasks_row(ChoiceKind::hellaswag, input.hellaswag_tasks),
      kind_row(input, ChoiceKind::winogrande,
               "score Winogrande's tasks in the file of -f: CSV of number, sentence with a _, two choices, 1 "
               "or 2",
               "a line that is no task is an error, and the last line counts"),
      tasks_row(ChoiceKind::winogrande, input.winogrande_tasks),
      kind_row(input, ChoiceKind::multiple_choice,
               "score tasks with one right answer in the file of -bf, llama-perplexity's binary form (ARC, "
               "MMLU, TruthfulQA)"),
      tasks_row(ChoiceKind::multiple_choice, input.multiple_choice_tasks),
  };
}

std::vector<ChoiceTask> read_choice_file(const ChoiceInput& input, const std::string& path) {
  const ChoiceKind kind = *input.kind;
  const bool binary = kind == ChoiceKind::multiple_choice;
  const std::int64_t most = kind == ChoiceKind::hellaswag    ? input.hellaswag_tasks
                            : kind == ChoiceKind::winogrande ? input.winogrande_tasks
                                                             : input.multiple_choice_tasks;
  return read_choice_tasks(kind, binary ? read_whole_file(path) : read_text_file(path), path, most);
}

std::string choice_heading(ChoiceKind kind) {
  switch (kind) {
    case ChoiceKind::hellaswag:
      return "\ntask\tacc_norm\t95% confidence interval\n";
    case ChoiceKind::winogrande:
      return "\ntask\taccuracy\tscore of 1  score of 2  chosen  right\n";
    case ChoiceKind::multiple_choice:
      break;
  }
  return "\ntask\tacc_norm\n";
}

std::string choice_line(ChoiceKind kind, const ChoiceResult& so_far, const ChoiceScore& score,
                        const ChoiceTask& task) {
  const double share = so_far.accuracy().value;
  std::string line = concat(so_far.n_tasks, "\t");
  if (kind == ChoiceKind::hellaswag) {
    const auto [low, high] = so_far.interval();
    line += concat(percent(share, 8), "%\t[", percent(low, 4), "%, ", percent(high, 4), "%]");
  } else if (kind == ChoiceKind::winogrande) {
    const auto right = std::find(task.right.begin(), task.right.end(), true) - task.right.begin();
    line +=
        concat(percent(share, 4), "\t", ::spectralkv::right(fixed(score.logprobs[0], 6), 10), "  ",
               ::spectralkv::right(fixed(score.logprobs[1], 6), 10), "  ", score.best + 1, "  ", right + 1);
  } else {
    line += percent(share, 8);
  }
  return line + "\n";
}

std::string choice_summary(ChoiceKind kind, const ChoiceResult& result) {
  const auto text = [](const Estimate& e) {
    return concat(percent(e.value, 4), " +/- ", percent(e.error, 4));
  };
  const std::string accuracy = text(result.accuracy());
  if (kind == ChoiceKind::multiple_choice)
    return concat("\nFinal result: ", accuracy, "\nRandom chance: ", text(result.chance()), "\n");
  return concat("\nFinal ", kind == ChoiceKind::hellaswag ? "HellaSwag" : "Winogrande", " score(",
                result.n_tasks, " tasks): ", accuracy, "\n");
}

std::string choice_json(ChoiceKind kind, const ChoiceResult& result) {
  const auto [low, high] = result.interval();
  JsonWriter out("{}");
  out.add("task", choice_name(kind));
  out.add("n_tasks", result.n_tasks);
  out.add("accuracy", result.accuracy().value);
  out.add("accuracy_stderr", result.accuracy().error);
  out.add("wilson_low", low);
  out.add("wilson_high", high);
  out.add("random_chance", result.chance().value);
  out.add("type_k", result.cache.k.codec);
  out.add("type_v", result.cache.v.codec);
  return out.lines() + "\n";
}

}  // namespace spectralkv
