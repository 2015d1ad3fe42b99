// Tasks with a choice of answers, in the files that llama-perplexity reads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace spectralkv {

enum class ChoiceKind { hellaswag, winogrande, multiple_choice };

struct ChoiceTask {
  std::vector<std::string> texts;   // one an answer: the question with it
  std::vector<std::string> starts;  // winogrande: each text up to the end of its choice; else empty
  std::vector<bool> right;          // of each answer
};

// The tasks of a file's bytes, `most` of them at most (0: all), drawn and ordered as llama.cpp does; `name`
// stands in messages. What is wrong with the file is a value error that says where.
//   hellaswag: six lines a task: context, number of the right ending (0 to 3), four endings.
//   winogrande: CSV, a task a line: number, sentence with a "_", two choices for it, 1 or 2.
//   multiple_choice: little-endian; u32 tasks, u32 position of each; a task is its question and two lists of
//   answers, the second of which is not used: a string is u32 length and bytes, a list u32 n, n strings, and
//   n i32, 1 for a right answer.
std::vector<ChoiceTask> read_choice_tasks(ChoiceKind kind, std::string_view data, const std::string& name,
                                          std::int64_t most);

}  // namespace spectralkv
