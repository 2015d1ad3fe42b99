// The command `perplexity`: how well a text is predicted through a cache, and how far the cache bends the
// model.
#include <algorithm>

#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/log.h"
#include "cli/model_options.h"
#include "cli/perplexity_output.h"
#include "cli/progress.h"
#include "cli/streams.h"
#include "cli/summary.h"
#include "cli/text_input.h"
#include "measure/perplexity.h"

namespace spectralkv {
namespace {

constexpr std::int64_t kDefaultChunk = 2048;

struct CommandOptions {
  ModelOptions model;
  PerplexityOptions measure;
  CacheTypes base;
  TextInput input;
  std::string base_file;
  bool kl = false, json = false;
  LogLevel log = LogLevel::info;
};

Protocol parse_protocol(const std::string& text) {
  if (text == "decode") return Protocol::decode;
  if (text == "prefix") return Protocol::prefix;
  throw UsageError(concat("expected decode or prefix, not '", text, "'"));
}

std::vector<Option> rows_of(CommandOptions& o) {
  std::vector<Option> rows = model_rows(o.model);
  append_rows(rows, input_rows(o.input));
  append_rows(rows, {
                        {{"--chunks"},
                         "N",
                         "chunks of the text to read, at most all (default)",
                         set_int(o.measure.n_chunks, 1, 1 << 30)},
                    });
  append_rows(rows, session_rows(o.model));
  append_rows(rows,
              {
                  {{"--protocol"},
                   "NAME",
                   "decode: read every token through the cache, in order (default); prefix: read a prefix "
                   "exactly, compress all "
                   "of it, then read the rest with its own keys and values exact",
                   [&o](const std::string& text) { o.measure.protocol = parse_protocol(text); }},
                  {{"--prefix"},
                   "N",
                   "tokens at the start of a chunk that are not scored (default: half of it; --protocol "
                   "prefix needs it)",
                   set_int(o.measure.prefix, 0, std::int64_t{1} << 31)},
                  {{"--kl-divergence"},
                   "",
                   "compare with the same model over the base cache, side by side",
                   set_flag(o.kl)},
                  {{"--kl-divergence-base"},
                   "PATH",
                   "write the logits of all scored positions to this file; with --kl-divergence: compare "
                   "with those of such a file in place of a base cache",
                   set_text(o.base_file)},
                  {{"--base-ctk"}, "TYPE", "how the base caches keys (default: f16)", set_text(o.base.k)},
                  {{"--base-ctv"}, "TYPE", "how the base caches values (default: f16)", set_text(o.base.v)},
                  {{"--json"}, "", "print one JSON object", set_flag(o.json)},
                  {{"--log-disable"},
                   "",
                   "log nothing but errors",
                   [&o](const std::string&) { o.log = LogLevel::off; }},
              });
  return rows;
}

// The tokens, and the length of a chunk where none was given.
std::vector<Token> take_input(CommandOptions& o, const Engine& engine, const CliHooks& hooks) {
  std::vector<Token> tokens = read_input(o.input, engine.tokenizer(), hooks);
  const bool from_ids = !o.input.tokens.empty();
  if (const Vocab& vocab = engine.tokenizer().vocab(); vocab.add_bos && !from_ids)
    o.measure.chunk_start = vocab.bos;
  const bool whole = o.measure.protocol == Protocol::prefix || from_ids;
  o.measure.n_ctx = o.model.session.n_ctx;
  const auto n = static_cast<std::int64_t>(tokens.size());
  if (!o.model.context_given)
    o.measure.n_ctx = std::min({whole ? n : kDefaultChunk, n, engine.config().context_length});
  else if (o.measure.n_ctx == 0)
    o.measure.n_ctx = engine.config().context_length;
  return tokens;
}

int measure(CommandOptions& o, const CliHooks& hooks) {
  const Log log(o.log);
  Engine engine(model_path(o.model, hooks), o.model.engine);
  const std::vector<Token> tokens = take_input(o, engine, hooks);
  o.measure.n_batch = std::min<std::int64_t>(o.model.session.n_batch, 128);
  o.measure.n_threads = o.model.engine.n_threads;
  o.measure.types = {o.model.session.type_k, o.model.session.type_v};
  if (!o.base_file.empty())
    (o.kl ? o.measure.base_logits : o.measure.save_logits) = o.base_file;
  else if (o.kl)
    o.measure.base = o.base;
  log.info("model: ", engine.description());
  if (const std::string warning = threads_warning(o.model.engine.n_threads); !warning.empty())
    log.info("warning: ", warning);
  log.info("perplexity: ", tokens.size(), " tokens, chunks of ", o.measure.n_ctx, ", K ", o.measure.types.k,
           ", V ", o.measure.types.v,
           !o.kl                 ? ""
           : o.base_file.empty() ? concat(", against K ", o.base.k, ", V ", o.base.v)
                                 : concat(", against '", o.base_file, "'"));

  Progress progress(o.log != LogLevel::off);
  PerplexityHooks on;
  on.cancelled = InterruptGuard::interrupted;
  on.progress = [&](std::int64_t done, std::int64_t total) { progress.update("tokens", done, total); };
  on.chunk = [&](std::int64_t chunk, double ppl) {
    if (o.json) return;
    progress.wipe();
    write_out(concat("[", chunk, "]", fixed(ppl, 4), ","));
  };
  const PerplexityResult result = measure_perplexity(engine, tokens, o.measure, on);
  progress.wipe();
  if (o.json) {
    write_out(result_json(result, o.measure.protocol));
  } else {
    write_out(concat("\nFinal estimate: PPL = ", estimate_text(result.ppl, 4), "\n"));
    if (result.comparison) write_out(comparison_text(result));
  }
  log.info(cache_line(result.cache));
  return 0;
}

}  // namespace

int perplexity_command(const std::vector<std::string>& args, const CliHooks& hooks) {
  CommandOptions options;
  const std::vector<Option> rows = rows_of(options);
  if (asks_for_help(rows, args)) {
    write_out(command_help(hooks, "perplexity", "-m MODEL (-f PATH | --tokens PATH) [-c N] [OPTIONS]",
                           concat("Reads a text in chunks and shows how well its tokens are predicted: the "
                                  "perplexity so far after each "
                                  "chunk,\nthen the final one. Each chunk starts with an empty cache and is "
                                  "scored behind its prefix.\n"
                                  "Without -c, a chunk has ",
                                  kDefaultChunk,
                                  " tokens, or all that --tokens or --protocol prefix have; "
                                  "the model's own context at most."),
                           rows));
    return 0;
  }
  parse_args(rows, args);
  check_input(options.input);
  if (options.measure.protocol == Protocol::prefix && options.measure.prefix < 1)
    throw UsageError(
        "--protocol prefix needs --prefix N, the tokens that are read exactly and then compressed");
  if ((!options.kl || !options.base_file.empty()) && (options.base.k != "f16" || options.base.v != "f16"))
    throw UsageError("--base-ctk and --base-ctv belong to --kl-divergence without a file");
  return measure(options, hooks);
}

}  // namespace spectralkv
