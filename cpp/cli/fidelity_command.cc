// The command `fidelity`: what a cache type does to a model's keys, values and attention over a text.
#include "measure/fidelity.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <span>

#include "base/atomic_file.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/fidelity_output.h"
#include "cli/interrupt.h"
#include "cli/log.h"
#include "cli/model_options.h"
#include "cli/streams.h"
#include "cli/text_input.h"

namespace spectralkv {
namespace {

struct FidelityCommand {
  ModelOptions model;
  FidelityOptions measure;
  TextInput input;
  std::string json, plot;
  bool heads = false;
  LogLevel log = LogLevel::info;
};

// "0,4-7": the numbers, rising, each once.
std::vector<std::int64_t> parse_layers(const std::string& text) {
  constexpr std::int64_t kMost = 100000;
  std::set<std::int64_t> layers;
  for (const std::string& range : split_list(text)) {
    const std::size_t dash = range.find('-');
    const std::int64_t first = parse_int(range.substr(0, dash), 0, kMost);
    const std::int64_t last =
        dash == std::string::npos ? first : parse_int(range.substr(dash + 1), first, kMost);
    for (std::int64_t l = first; l <= last; ++l) layers.insert(l);
  }
  return {layers.begin(), layers.end()};
}

std::vector<Option> rows_of(FidelityCommand& o) {
  std::vector<Option> rows = model_rows(o.model);
  append_rows(rows, input_rows(o.input));
  append_rows(rows, session_rows(o.model));
  append_rows(rows,
              {
                  {{"--queries"},
                   "N",
                   concat("tokens at the end whose queries read the blocks before them "
                          "(default: ",
                          o.measure.n_queries, ")"),
                   set_int(o.measure.n_queries, 1, 65536)},
                  {{"--layers"},
                   "LIST",
                   "the layers to measure, from 0, as in 0,4-7 (default: all)",
                   [&o](const std::string& text) { o.measure.layers = parse_layers(text); }},
                  {{"--heads"}, "", "a line for each KV head, in place of means", set_flag(o.heads)},
                  {{"--all-codecs"},
                   "",
                   "measure every codec on the same keys and values too: error against bits",
                   set_flag(o.measure.all_codecs)},
                  {{"--json"},
                   "PATH",
                   "write everything as one JSON object; \"-\": to standard output in place of the table",
                   set_text(o.json)},
                  {{"--plot"},
                   "FOLDER",
                   "draw spectra, ranks, and errors against bits as PNG images (includes --all-codecs)",
                   set_text(o.plot)},
                  quiet_row(o.log),
              });
  return rows;
}

// The tokens, and how many of them to read.
std::vector<Token> take_input(FidelityCommand& o, const Engine& engine, const CliHooks& hooks) {
  std::vector<Token> tokens = read_input(o.input, engine.tokenizer(), hooks);
  const auto n = static_cast<std::int64_t>(tokens.size());
  const bool chosen = o.model.context_given && o.model.session.n_ctx > 0;
  o.measure.n_ctx =
      chosen ? o.model.session.n_ctx : std::min(n, settled_session(o.model, engine.config()).n_ctx);
  return tokens;
}

// Before any work: that results can be written where they are wanted.
void check_outputs(const FidelityCommand& o, const CliHooks& hooks) {
  if (!o.plot.empty()) {
    check(static_cast<bool>(hooks.plot_fidelity), "cli", "--plot: ", hooks.no_plot);
    std::error_code error;
    std::filesystem::create_directories(o.plot, error);
    if (error || !std::filesystem::is_directory(o.plot))
      fail(ErrorKind::os, "cli", "--plot: cannot make the folder '", o.plot,
           "': ", error ? error.message() : "there is a file of this name");
  }
  if (!o.json.empty() && o.json != "-") const AtomicFile trial(o.json, "cli");
}

void write_file(const std::string& path, const std::string& text) {
  AtomicFile file(path, "cli");
  file.write(std::as_bytes(std::span(text)));
  file.commit();
}

int measure(FidelityCommand& o, const CliHooks& hooks) {
  const Log log(o.log);
  check_outputs(o, hooks);
  Engine engine = open_engine(model_path(o.model, hooks), o.model, hooks, log);
  const std::vector<Token> tokens = take_input(o, engine, hooks);
  o.measure.n_batch = settled_batch(o.model, engine);
  o.measure.n_threads = o.model.engine.n_threads;
  o.measure.type_k = o.model.session.type_k;
  o.measure.type_v = o.model.session.type_v;
  o.measure.all_codecs |= !o.plot.empty();
  log.info("model: ", engine.description());
  const auto [name_k, name_v] = cache_names(engine, o.measure.type_k, o.measure.type_v);
  log.info("fidelity: ", o.measure.n_ctx, " of ", tokens.size(), " tokens, K ", name_k, ", V ", name_v);

  Progress progress(o.log != LogLevel::off);
  FidelityHooks on;
  on.cancelled = InterruptGuard::interrupted;
  on.progress = [&](const char* unit, std::int64_t done, std::int64_t total) {
    progress.update(unit, done, total);
  };
  const FidelityResult result = measure_fidelity(engine, tokens, o.measure, on);
  progress.wipe();

  const std::filesystem::path text(o.input.file.empty() ? o.input.tokens : o.input.file);
  const std::string json = fidelity_json(result, engine.description(), text.filename().string());
  write_out(o.json == "-" ? json : fidelity_table(result, o.heads));
  if (!o.json.empty() && o.json != "-") write_file(o.json, json);
  if (!o.plot.empty()) log.info(hooks.plot_fidelity(json, o.plot));
  return 0;
}

}  // namespace

int fidelity_command(const std::vector<std::string>& args, const CliHooks& hooks) {
  FidelityCommand options;
  const std::vector<Option> rows = rows_of(options);
  if (gave_help(
          hooks, "fidelity", "-m MODEL (-f PATH | --tokens PATH) [-c N] [-ctk TYPE -ctv TYPE] [OPTIONS]",
          "Reads a text with an exact cache, cuts each layer's keys (after RoPE) and values into the blocks "
          "of "
          "the\n"
          "cache type, and shows what the type does to them: for K and V of each layer\n"
          "  rank, edge   outliers beyond the bulk edge of a block, and the edge (a squared singular value)\n"
          "  width        bits an entry of the stored factors, the mean over components\n"
          "  bits, rows   bits an entry of the residual; rows of a block with a second stage\n"
          "  gain         logit error without the metric of the head, over that with it\n"
          "  rel. MSE     |decoded - exact|^2 / |exact|^2\n"
          "  logit err    root mean square error of q k / sqrt(d) with the queries of the last tokens\n"
          "  logit bias   slope of that error on the exact logit\n"
          "  attn err     |output - exact output|^2 / |exact output|^2 of attention with this side decoded,\n"
          "               and with K and V\n"
          "  max|r|/|r|   how much of a row of the residual its largest entry holds\n"
          "  paper        bits per entry as the paper counts; honest: every byte of the blocks\n"
          "Memory: the exact cache in f32, and one layer's rows a few times; -c limits both.",
          rows, args))
    return 0;
  parse_args(rows, args);
  check_input(options.input);
  return measure(options, hooks);
}

}  // namespace spectralkv
