// The command `bench`: speed of prompts and of generation by depth and cache type.
#include <algorithm>
#include <filesystem>
#include <tuple>

#include "backend/backend.h"
#include "base/processors.h"
#include "cli/bench_output.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/log.h"
#include "cli/model_options.h"
#include "cli/peer_rows.h"
#include "cli/streams.h"
#include "gguf/gguf.h"
#include "kv/codecs.h"

namespace spectralkv {
namespace {

// What an option that is given again adds to.
struct Numbers {
  std::vector<std::int64_t> values;
  bool given = false;  // else they are the default
};

struct BenchCommand {
  ModelOptions model;
  std::vector<std::string> models, type_k, type_v;
  Numbers prompts{{512}}, generations{{128}}, depths{{0}}, threads{{0}}, batches{{0}}, ubatches{{0}};
  std::vector<std::string> layers;                          // on the GPU, as written
  std::function<void(const std::string&)> set_layers;       // of the model's options
  std::vector<std::pair<std::int64_t, std::int64_t>> both;  // prompt and answer, of -pg
  int repetitions = 5;
  BenchFormat format = BenchFormat::md;
  bool profile = false;
};

// "512", or llama-bench's ranges: "1-4", "0-4096+1024", "128-1024*2".
void append_range(std::vector<std::int64_t>& out, const std::string& text, std::int64_t min,
                  std::int64_t max) {
  constexpr std::int64_t kMost = 1000;  // tests
  const std::size_t dash = text.find('-', 1);
  if (dash == std::string::npos) return out.push_back(parse_int(text, min, max));
  const std::string behind = text.substr(dash + 1);
  const std::size_t sign = behind.find_first_of("+*", 1);
  const bool times = sign != std::string::npos && behind[sign] == '*';
  const std::int64_t first = parse_int(text.substr(0, dash), times ? 1 : min, max);
  const std::int64_t last = parse_int(behind.substr(0, sign), first, max);
  const std::int64_t step =
      sign == std::string::npos ? 1 : parse_int(behind.substr(sign + 1), times ? 2 : 1, max);
  if (!times && (last - first) / step >= kMost)
    throw UsageError(concat("'", text, "' has more than ", kMost, " numbers"));
  for (std::int64_t n = first; n <= last; n = times ? n * step : n + step) out.push_back(n);
}

// "512,1024"
std::function<void(const std::string&)> append_numbers(Numbers& target, std::int64_t min, std::int64_t max) {
  return [&target, min, max](const std::string& text) {
    if (!target.given) target = {{}, true};
    for (const std::string& part : split_list(text)) append_range(target.values, part, min, max);
  };
}

// "f16,q8_0,sink=4": a comma in front of a type's name begins another type, any other one an option.
std::vector<std::string> split_types(const std::string& text) {
  std::vector<std::string> types;
  for (std::string& part : split_list(text)) {
    const std::string name = part.substr(0, part.find_first_of(":;"));
    const bool begins = name == "default" || std::ranges::any_of(codec_table(), [&](const CodecRow& row) {
                          return row.name == name;
                        });
    if (types.empty() || begins)
      types.push_back(std::move(part));
    else
      types.back() += "," + part;
  }
  return types;
}

std::function<void(const std::string&)> append_types(std::vector<std::string>& target) {
  return [&target](const std::string& text) {
    for (std::string& type : split_types(text)) target.push_back(std::move(type));
  };
}

// The model's row of that name, for several values.
Option several(Option row, const char* value, std::function<void(const std::string&)> set) {
  row.value = value;
  row.set = std::move(set);
  return row;
}

std::vector<Option> rows_of(BenchCommand& o) {
  constexpr std::int64_t kMost = std::int64_t{1} << 24;
  std::vector<Option> rows;
  for (Option& row : model_rows(o.model)) {
    if (row.names[0] == "-t" || row.names[0] == "-m") continue;
    if (row.names[0] == "-ngl") {
      o.set_layers = row.set;
      row = several(std::move(row), "N,...", [&o](const std::string& text) {
        for (std::string& part : split_list(text)) {
          o.set_layers(part);  // refuses what is wrong; the run sets it again
          o.layers.push_back(std::move(part));
        }
      });
    }
    rows.push_back(std::move(row));
  }
  append_rows(
      rows,
      {
          {{"-m", "--model"},
           "PATH",
           "the GGUF file; any part of a split one; a list, or again, for further models",
           [&o](const std::string& text) {
             // As llama-bench splits it, unless a comma belongs to the name of a file that is there.
             std::error_code unknown;
             const bool one = text.find(',') == std::string::npos || std::filesystem::exists(text, unknown);
             for (const std::string& path : one ? std::vector{text} : split_list(text)) {
               set_path(o.model.path)(path);
               o.models.push_back(path);
             }
           }},
          {{"-p", "--n-prompt"},
           "N,...",
           "tokens of the prompt tests, 0: none (default: 512); here and below also ranges, 1-4, "
           "0-4096+1024 or 128-1024*2, and the option again for more",
           append_numbers(o.prompts, 0, kMost)},
          {{"-n", "--n-gen"},
           "N,...",
           "tokens of the generation tests, 0: none (default: 128)",
           append_numbers(o.generations, 0, kMost)},
          {{"-d", "--n-depth"},
           "N,...",
           "tokens in the cache before a test (default: 0)",
           append_numbers(o.depths, 0, kMost)},
          {{"-t", "--threads"},
           "N,...",
           "CPU threads (default, and -1: one for each core that this process may use)",
           append_numbers(o.threads, -1, 1024)},
          {{"-ctk", "--cache-type-k"},
           "TYPE,...",
           concat("how keys are cached (default: ", kDefaultCodec, "); a list, or again, for further runs"),
           append_types(o.type_k),
           Peer::differs,
           "default: a compressed cache; of llama.cpp's types f32, f16, q8_0 and q4_0, and others, with "
           "options behind commas"},
          {{"-ctv", "--cache-type-v"},
           "TYPE,...",
           "how values are cached (default: as the keys); as often as -ctk, or once",
           append_types(o.type_v),
           Peer::differs,
           "one for each of -ctk, or one for all; default: as the keys"},
          {{"-pg"},
           "PP,TG",
           "a test of a prompt with the generation behind it; again for another",
           [&o](const std::string& text) {
             const std::vector<std::string> parts = split_list(text);
             if (parts.size() != 2) throw UsageError(concat("expected two numbers, not '", text, "'"));
             o.both.emplace_back(parse_int(parts[0], 1, kMost), parse_int(parts[1], 1, kMost));
           }},
          calibration_row(o.model.engine),
          {{"-r", "--repetitions"},
           "N",
           "how often each test is run (default: 5)",
           set_int(o.repetitions, 1, 1000)},
          {{"-o", "--output"},
           "FORMAT",
           "md (default), csv, json, jsonl or sql",
           set_choice<BenchFormat>(o.format, {{"md", BenchFormat::md},
                                              {"csv", BenchFormat::csv},
                                              {"json", BenchFormat::json},
                                              {"jsonl", BenchFormat::jsonl},
                                              {"sql", BenchFormat::sql}}),
           Peer::differs,
           "columns of its own"},
          {{"--profile"},
           "",
           "show which share of the time each part of the forward pass took (of the CPU alone)",
           set_flag(o.profile),
           Peer::ours},
      });
  std::vector<Option> batch = batch_rows(o.model);
  rows.push_back(several(std::move(batch[0]), "N,...", append_numbers(o.batches, 1, kMostBatch)));
  rows.push_back(several(std::move(batch[1]), "N,...", append_numbers(o.ubatches, 1, kMostBatch)));
  append_rows(rows, bench_peer_rows(o.model.ignored));
  return rows;
}

// Pairs of cache types: K alone stands for both.
std::vector<std::pair<std::string, std::string>> cache_types(const BenchCommand& o) {
  std::vector<std::string> k = o.type_k, v = o.type_v;
  if (k.empty()) k.push_back(o.model.session.type_k);
  if (v.empty()) v = o.type_k.empty() ? std::vector{o.model.session.type_v} : k;
  if (v.size() == 1) v.resize(k.size(), v[0]);
  if (v.size() != k.size())
    throw UsageError(concat("-ctk is given ", k.size(), " times and -ctv ", v.size(), " times"));
  std::vector<std::pair<std::string, std::string>> pairs;
  for (std::size_t i = 0; i < k.size(); ++i) pairs.emplace_back(k[i], v[i]);
  return pairs;
}

// Each of the first with each of the second.
template <class A, class B>
std::vector<std::pair<A, B>> with_each(const std::vector<A>& first, const std::vector<B>& second) {
  std::vector<std::pair<A, B>> out;
  for (const A& a : first)
    for (const B& b : second) out.emplace_back(a, b);
  return out;
}

std::vector<BenchTest> tests_of(const BenchCommand& o) {
  std::vector<BenchTest> tests;
  for (const std::int64_t depth : o.depths.values) {
    for (const std::int64_t n : o.prompts.values)
      if (n > 0) tests.push_back({n, depth, true});
    for (const std::int64_t n : o.generations.values)
      if (n > 0) tests.push_back({n, depth, false});
    for (const auto& [prompt, answer] : o.both) tests.push_back({prompt, depth, true, answer});
  }
  if (tests.empty())
    throw UsageError("-p and -n are both 0, and there is no -pg: there is nothing to measure");
  return tests;
}

// What an engine is opened for.
struct BenchRun {
  std::string model, layers;  // layers: "": not given
  std::int64_t threads;
};

// Each of the models with each of the others.
std::vector<BenchRun> runs_of(const std::vector<std::string>& models, const BenchCommand& o) {
  std::vector<BenchRun> out;
  const std::vector<std::string> layers = o.layers.empty() ? std::vector<std::string>{""} : o.layers;
  for (const std::string& model : models)
    for (const std::string& on_gpu : layers)
      for (const std::int64_t n : o.threads.values) out.push_back({model, on_gpu, n});
  return out;
}

// Tokens of a forward pass, by each -b with each -ub; 0 where neither was given.
std::vector<std::int64_t> batches_of(const BenchCommand& o) {
  std::vector<std::int64_t> out;
  for (const std::int64_t b : o.batches.values)
    for (const std::int64_t ub : o.ubatches.values)
      out.push_back(b == 0 ? ub : ub == 0 ? b : std::min(b, ub));
  return out;
}

int run_all(BenchCommand& o, const CliHooks& hooks) {
  const auto types = cache_types(o);
  BenchOptions bench;
  bench.tests = tests_of(o);
  bench.repetitions = o.repetitions;
  std::vector<std::string> paths = o.models;
  const std::string last = model_path(o.model, hooks);  // which complains of -m beside -hf
  if (paths.empty()) paths.push_back(last);
  for (const std::string& path : paths)
    Gguf{path};  // one that cannot be read is told before anything is written
  Progress progress(true);
  bool first = true;
  if (const std::string note = ignored_note(o.model.ignored); !note.empty()) Log(LogLevel::info).info(note);
  const std::vector<std::int64_t> batches = batches_of(o);
  const BenchColumns shown{o.profile, batches.size() > 1};
  write_out(bench_head(o.format, shown));
  try {
    for (const auto& [path, layers, threads] : runs_of(paths, o)) {
      if (!layers.empty()) o.set_layers(layers);
      o.model.engine.n_threads = static_cast<int>(std::max<std::int64_t>(threads, 0));
      Engine engine = open_engine(path, o.model, hooks, Log(LogLevel::info));
      BenchSetup setup;
      setup.model_filename = path;
      const std::string description = engine.description();  // "llama 135M q4_1, cpu avx512, 2 threads"
      const std::size_t comma = description.find(", ");
      setup.model_type = description.substr(0, comma);
      setup.backend = description.substr(comma + 2, description.rfind(", ") - comma - 2);
      for (const GgufTensor& tensor : engine.file().tensors()) setup.model_size += tensor.bytes;
      setup.n_threads = threads <= 0 ? default_threads() : static_cast<int>(threads);
      setup.bandwidth = engine.backend().memory_bandwidth();
      if (setup.bandwidth == 0) setup.bandwidth = memory_bandwidth(setup.n_threads);
      for (const auto& [types_of_run, batch] : with_each(types, batches)) {
        const auto& [k, v] = types_of_run;
        bench.session = o.model.session;
        bench.session.n_batch = setup.n_batch = batch == 0 ? engine.backend().usual_batch() : batch;
        bench.session.type_k = k;
        bench.session.type_v = v;
        std::tie(setup.type_k, setup.type_v) = cache_names(engine, k, v);
        BenchHooks on;
        on.cancelled = InterruptGuard::interrupted;
        on.before = [&](const BenchTest& test, int r) {
          progress.update(
              concat(bench_name(test), " with ", setup.type_k, r == 0 ? ", reading to the depth" : ""), r,
              o.repetitions + 1);
        };
        on.done = [&](const BenchResult& result) {
          progress.wipe();
          write_out((first ? "" : bench_separator(o.format)) + bench_row(o.format, shown, setup, result));
          first = false;
        };
        run_bench(engine, bench, on);
      }
    }
  } catch (...) {
    write_out(bench_tail(o.format));  // what was measured can be read
    throw;
  }
  write_out(bench_tail(o.format));
  return 0;
}

}  // namespace

std::vector<Option> bench_options() {
  BenchCommand options;
  return without_setters(rows_of(options));
}

int bench_command(const std::vector<std::string>& args, const CliHooks& hooks) {
  BenchCommand options;
  const std::vector<Option> rows = rows_of(options);
  if (gave_help(hooks, "bench", "-m MODEL [OPTIONS]",
                "Measures tokens per second, mean and standard deviation: ppN reads a prompt of N "
                "tokens, tgN reads N tokens\n"
                "one by one, as generation does, ppN+tgM one after the other, all behind the tokens of the "
                "depth. GB/s counts "
                "the bytes of weights and\n"
                "cache that were read; the last column compares them with the memory bandwidth, "
                "measured in the same run.",
                rows, args))
    return 0;
  parse_args(rows, args);
  return run_all(options, hooks);
}

}  // namespace spectralkv
