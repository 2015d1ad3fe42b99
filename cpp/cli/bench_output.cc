// The formats; columns in the order of columns().
#include "cli/bench_output.h"

#include <utility>
#include <vector>

#include "cli/json.h"
#include "cli/log.h"

namespace spectralkv {
namespace {

struct Cell {
  std::string name, text;
  bool number;
};

constexpr const char* kTable = "spectralkv_bench";  // of SQL
constexpr const char* kNotMeasured = "null";        // as JSON has it; an empty field of CSV

double gigabytes(const BenchResult& r) {
  return r.bytes / r.seconds / 1e9;
}

// The columns of the table that people read.
std::vector<std::pair<std::string, std::string>> columns(const BenchColumns& shown, const BenchSetup& s,
                                                         const BenchResult* r) {
  std::vector<std::pair<std::string, std::string>> out = {
      {"model", s.model_type}, {"size", human_bytes(s.model_size)},
      {"backend", s.backend},  {"threads", std::to_string(s.n_threads)},
      {"K", s.type_k},         {"V", s.type_v}};
  if (shown.batch) out.emplace_back("batch", std::to_string(s.n_batch));
  out.emplace_back("test", r ? bench_name(r->test) : "");
  out.emplace_back("t/s", r ? fixed(r->mean(), 2) + " ± " + fixed(r->deviation(), 2) : "");
  out.emplace_back("GB/s", r ? fixed(gigabytes(*r), 1) : "");
  out.emplace_back("of bandwidth", r ? fixed(1e11 * gigabytes(*r) / s.bandwidth, 0) + " %" : "");
  for (std::size_t i = 0; shown.profile && i < kStageNames.size(); ++i)
    out.emplace_back(kStageNames[i], !r ? ""
                                     : r->stages.timed()
                                         ? fixed(100 * r->stages.seconds[i] / r->seconds, 1) + " %"
                                         : "CPU only");
  return out;
}

// Every figure, for programs.
std::vector<Cell> cells(const BenchSetup& s, const BenchResult& r) {
  std::vector<Cell> out = {{"model_filename", s.model_filename, false},
                           {"model_type", s.model_type, false},
                           {"backend", s.backend, false},
                           {"type_k", s.type_k, false},
                           {"type_v", s.type_v, false},
                           {"test", bench_name(r.test), false}};
  const auto number = [&](const char* name, double value) {
    out.push_back({name, json_number(value), true});
  };
  number("model_size", static_cast<double>(s.model_size));
  number("n_threads", s.n_threads);
  number("n_batch", static_cast<double>(s.n_batch));
  number("n_prompt", static_cast<double>(r.test.prompt ? r.test.n : 0));
  number("n_gen", static_cast<double>(r.test.prompt ? r.test.answer : r.test.n));
  number("n_depth", static_cast<double>(r.test.depth));
  number("avg_ts", r.mean());
  number("stddev_ts", r.deviation());
  number("gb_per_s", gigabytes(r));
  number("bandwidth_gb_per_s", s.bandwidth / 1e9);
  for (std::size_t i = 0; i < kStageNames.size(); ++i)
    out.push_back({concat(kStageNames[i], "_s"),
                   r.stages.timed() ? json_number(r.stages.seconds[i]) : kNotMeasured, true});
  return out;
}

// Between quotes, those within it doubled.
std::string quoted(const std::string& text, char quote) {
  std::string out(1, quote);
  for (const char c : text) out.append(c == quote ? 2 : 1, c);
  out.push_back(quote);
  return out;
}

std::string csv_text(const Cell& cell) {
  if (cell.number) return cell.text == kNotMeasured ? "" : cell.text;
  return quoted(cell.text, '"');
}

std::string json_object(const BenchSetup& setup, const BenchResult& result, bool lines) {
  JsonWriter out("{}");
  for (const Cell& cell : cells(setup, result)) {
    if (cell.number)
      out.add_raw(cell.name, cell.text);
    else
      out.add(cell.name, cell.text);
  }
  JsonWriter samples("[]");
  for (const double sample : result.samples) samples.push_raw(json_number(sample));
  out.add_raw("samples_ts", samples.compact());
  return lines ? out.lines() : out.compact();
}

}  // namespace

std::string bench_name(const BenchTest& test) {
  return concat(test.prompt ? "pp" : "tg", test.n, test.answer > 0 ? concat("+tg", test.answer) : "",
                test.depth > 0 ? concat(" @ d", test.depth) : "");
}

std::string bench_head(BenchFormat format, const BenchColumns& shown) {
  if (format == BenchFormat::json) return "[\n";
  if (format == BenchFormat::jsonl) return "";
  std::string names, rule;
  if (format == BenchFormat::csv) {
    for (const Cell& cell : cells({}, {{}, {1}, {}, 1, 0}))
      names += concat(names.empty() ? "" : ",", cell.name);
    return names + "\n";
  }
  if (format == BenchFormat::sql) {
    for (const Cell& cell : cells({}, {{}, {1}, {}, 1, 0}))
      names += concat(names.empty() ? "  " : ",\n  ", cell.name, cell.number ? " REAL" : " TEXT");
    return concat("CREATE TABLE IF NOT EXISTS ", kTable, " (\n", names, "\n);\n");
  }
  for (const auto& [name, text] : columns(shown, {}, nullptr)) {
    names += concat("| ", name, " ");
    rule += "|---";
  }
  return concat(names, "|\n", rule, "|\n");
}

std::string bench_separator(BenchFormat format) {
  return format == BenchFormat::json ? ",\n" : "";
}

std::string bench_tail(BenchFormat format) {
  return format == BenchFormat::json ? "\n]\n" : "";
}

std::string bench_row(BenchFormat format, const BenchColumns& shown, const BenchSetup& setup,
                      const BenchResult& result) {
  std::string out;
  switch (format) {
    case BenchFormat::json:
      return json_object(setup, result, false);
    case BenchFormat::jsonl:
      return json_object(setup, result, false) + "\n";
    case BenchFormat::csv:
      for (const Cell& cell : cells(setup, result)) out += concat(out.empty() ? "" : ",", csv_text(cell));
      return out + "\n";
    case BenchFormat::sql: {
      std::string names;
      for (const Cell& cell : cells(setup, result)) {
        names += concat(names.empty() ? "" : ", ", cell.name);
        out += concat(out.empty() ? "" : ", ", cell.number ? cell.text : quoted(cell.text, '\''));
      }
      return concat("INSERT INTO ", kTable, " (", names, ") VALUES (", out, ");\n");
    }
    case BenchFormat::md:
      break;
  }
  for (const auto& [name, text] : columns(shown, setup, &result)) out += concat("| ", text, " ");
  return out + "|\n";
}

}  // namespace spectralkv
