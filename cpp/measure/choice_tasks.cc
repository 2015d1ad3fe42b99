// Readers of three untrusted forms, and llama.cpp's ways to draw tasks, so that the same ones are asked.
#include "measure/choice_tasks.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <numeric>
#include <random>

#include "base/error.h"

namespace spectralkv {
namespace {

constexpr std::uint32_t kChoiceSeed = 1;  // llama.cpp's
constexpr std::size_t kEndings = 4, kMostAnswers = 100;

std::vector<std::string_view> lines_of(std::string_view data) {
  std::vector<std::string_view> lines;
  while (!data.empty()) {
    const std::size_t end = std::min(data.find('\n'), data.size());
    std::string_view line = data.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
    data.remove_prefix(std::min(end + 1, data.size()));
  }
  return lines;
}

// A number in [low, high] that is all of the text but spaces around it; else -1.
int small_number(std::string_view text, int low, int high) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  int value = -1;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && stop == text.data() + text.size() && value >= low && value <= high ? value
                                                                                                    : -1;
}

// Places of tasks in the order in which HellaSwag's are asked: uniform draws without replacement, by
// multiplication (Lemire), as std::uniform_int_distribution draws them in libstdc++.
std::vector<std::size_t> draw_uniform(std::size_t n, std::size_t most) {
  std::mt19937 bits(kChoiceSeed);
  std::vector<std::size_t> left(n), drawn;
  std::iota(left.begin(), left.end(), std::size_t{0});
  while (drawn.size() < most) {
    const auto range = static_cast<std::uint32_t>(left.size());
    const std::uint32_t unfair = (0 - range) % range;
    std::uint64_t product = 0;
    do product = std::uint64_t{static_cast<std::uint32_t>(bits())} * range;
    while (static_cast<std::uint32_t>(product) < unfair);
    const auto at = left.begin() + static_cast<std::ptrdiff_t>(product >> 32);
    drawn.push_back(*at);
    left.erase(at);
  }
  return drawn;
}

// The same for the other kinds: a scaled float chooses, and the last takes the place of what was drawn.
std::vector<std::size_t> draw_scaled(std::size_t n, std::size_t most) {
  std::mt19937 bits(kChoiceSeed);
  std::vector<std::size_t> left(n), drawn;
  std::iota(left.begin(), left.end(), std::size_t{0});
  while (drawn.size() < most) {
    const float share = static_cast<float>(static_cast<std::uint32_t>(bits())) * 0x1p-32F;  // may round to 1
    const auto at =
        std::min(static_cast<std::size_t>(share * static_cast<float>(left.size())), left.size() - 1);
    drawn.push_back(left[at]);
    left[at] = left.back();
    left.pop_back();
  }
  return drawn;
}

std::vector<ChoiceTask> read_hellaswag(std::string_view data, const std::string& name, std::int64_t most) {
  const std::vector<std::string_view> lines = lines_of(data);
  constexpr std::size_t kLines = 2 + kEndings;
  check(!lines.empty() && lines.size() % kLines == 0, "measure", "'", name, "' has ", lines.size(),
        " lines; HellaSwag's tasks have six each");
  const std::size_t n = lines.size() / kLines;
  std::vector<ChoiceTask> tasks;
  const auto wanted = most > 0 ? std::min(static_cast<std::size_t>(most), n) : n;
  for (const std::size_t i : draw_uniform(n, wanted)) {
    const auto line = [&](std::size_t j) { return lines[i * kLines + j]; };
    const int right = small_number(line(1), 0, kEndings - 1);
    check(right >= 0, "measure", "'", name, "', line ", i * kLines + 2,
          ": expected the number of the right ending, 0 to 3");
    ChoiceTask task;
    for (std::size_t j = 0; j < kEndings; ++j) {
      task.texts.push_back(concat(line(0), " ", line(2 + j)));
      task.right.push_back(j == static_cast<std::size_t>(right));
    }
    tasks.push_back(std::move(task));
  }
  return tasks;
}

// The fields of a line of CSV; in quotes commas count as text, and two quotes are one.
std::vector<std::string> csv_fields(std::string_view line) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const bool two = quoted && line[i] == '"' && i + 1 < line.size() && line[i + 1] == '"';
    if (line[i] == '"' && !two) {
      quoted = !quoted;
    } else if (line[i] == ',' && !quoted) {
      fields.emplace_back();
    } else {
      fields.back() += line[i];
      if (two) ++i;
    }
  }
  return fields;
}

ChoiceTask winogrande_task(std::string_view line, const std::string& place) {
  const std::vector<std::string> fields = csv_fields(line);
  check(fields.size() == 5, "measure", place, " has ", fields.size(),
        " fields; Winogrande's are number, sentence, two choices, and 1 or 2");
  const std::string& sentence = fields[1];
  const std::size_t gap = sentence.find('_');
  check(gap != std::string::npos, "measure", place, ": the sentence has no _ for the choices");
  const int right = small_number(fields[4], 1, 2);
  check(right >= 0, "measure", place, ": the answer is neither 1 nor 2");
  ChoiceTask task;
  for (int choice = 1; choice <= 2; ++choice) {
    task.starts.push_back(sentence.substr(0, gap) + fields[static_cast<std::size_t>(choice) + 1]);
    task.texts.push_back(task.starts.back() + sentence.substr(gap + 1));
    task.right.push_back(choice == right);
  }
  return task;
}

std::vector<ChoiceTask> read_winogrande(std::string_view data, const std::string& name, std::int64_t most) {
  const std::vector<std::string_view> lines = lines_of(data);
  check(!lines.empty(), "measure", "'", name, "' has no tasks");
  std::vector<ChoiceTask> all;
  for (std::size_t i = 0; i < lines.size(); ++i)
    all.push_back(winogrande_task(lines[i], concat("'", name, "', line ", i + 1)));
  if (most <= 0 || static_cast<std::size_t>(most) >= all.size()) return all;
  std::vector<ChoiceTask> tasks;
  for (const std::size_t i : draw_scaled(all.size(), static_cast<std::size_t>(most)))
    tasks.push_back(std::move(all[i]));
  return tasks;
}

class ChoiceFile {
 public:
  ChoiceFile(std::string_view data, const std::string& name) : data_(data), name_(name) {}

  std::vector<ChoiceTask> read(std::int64_t most) {
    const std::size_t n = number();
    check(n > 0 && n <= (data_.size() - at_) / sizeof(std::uint32_t), "measure", "'", name_,
          "' is no file of multiple choice tasks: it is to have ", n, " of them");
    std::vector<std::size_t> positions(n);
    for (std::size_t& position : positions) position = number();
    std::vector<ChoiceTask> tasks;
    if (most <= 0 || static_cast<std::size_t>(most) >= n) {
      for (std::size_t i = 0; i < n; ++i) tasks.push_back(task(i));
    } else {
      for (const std::size_t i : draw_scaled(n, static_cast<std::size_t>(most))) {
        at_ = positions[i];
        tasks.push_back(task(i));
      }
    }
    return tasks;
  }

 private:
  std::uint32_t number() {
    const std::string_view bytes = take(sizeof(std::uint32_t));
    std::uint32_t value = 0;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
  std::string_view text() { return take(number()); }
  std::string_view take(std::size_t n) {
    check(at_ <= data_.size() && n <= data_.size() - at_, "measure", "'", name_,
          "' is cut off or damaged: something of ", n, " bytes should stand at ", at_);
    at_ += n;
    return data_.substr(at_ - n, n);
  }

  ChoiceTask task(std::size_t number_of_task) {
    ChoiceTask result;
    const std::string_view question = text();
    check(!question.empty(), "measure", "'", name_, "': task ", number_of_task + 1, " has no question");
    for (const bool used : {true, false}) {
      const std::size_t n = number();
      check(n <= kMostAnswers && (n > 0 || !used), "measure", "'", name_, "': task ", number_of_task + 1,
            " has ", n, " answers; there are 1 to ", kMostAnswers);
      for (std::size_t i = 0; i < n; ++i) {
        const std::string_view answer = text();
        if (!used) continue;
        check(!answer.empty(), "measure", "'", name_, "': task ", number_of_task + 1, " has an empty answer");
        result.texts.push_back(concat(question, " ", answer));
      }
      for (std::size_t i = 0; i < n; ++i)
        if (const bool right = number() == 1; used) result.right.push_back(right);
    }
    return result;
  }

  std::string_view data_;
  const std::string& name_;
  std::size_t at_ = 0;
};

}  // namespace

std::vector<ChoiceTask> read_choice_tasks(ChoiceKind kind, std::string_view data, const std::string& name,
                                          std::int64_t most) {
  if (kind == ChoiceKind::hellaswag) return read_hellaswag(data, name, most);
  if (kind == ChoiceKind::winogrande) return read_winogrande(data, name, most);
  return ChoiceFile(data, name).read(most);
}

}  // namespace spectralkv
