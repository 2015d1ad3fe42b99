// `perplexity --hellaswag`, --winogrande and --multiple-choice.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/args.h"
#include "measure/choice_scores.h"

namespace spectralkv {

struct ChoiceInput {
  std::optional<ChoiceKind> kind;  // nothing: no tasks are to be scored
  std::int64_t hellaswag_tasks = 400, winogrande_tasks = 0, multiple_choice_tasks = 0;  // 0: all
};

std::vector<Option> choice_rows(ChoiceInput& input);
// The tasks of the file at that path.
std::vector<ChoiceTask> read_choice_file(const ChoiceInput& input, const std::string& path);

// Of llama-perplexity's lines: the one above those of the tasks, a task's, and what stands below.
std::string choice_heading(ChoiceKind kind);
std::string choice_line(ChoiceKind kind, const ChoiceResult& so_far, const ChoiceScore& score,
                        const ChoiceTask& task);
std::string choice_summary(ChoiceKind kind, const ChoiceResult& result);
std::string choice_json(ChoiceKind kind, const ChoiceResult& result);

}  // namespace spectralkv
