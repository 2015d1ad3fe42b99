// The command `perplexity`: how well a text is predicted through a cache, how far the cache bends the model,
// and which answers of tasks it prefers.
#include <algorithm>
#include <optional>

#include "cli/choice_rows.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/json.h"
#include "cli/log.h"
#include "cli/model_options.h"
#include "cli/peer_rows.h"
#include "cli/streams.h"
#include "cli/summary.h"
#include "cli/text_input.h"
#include "measure/peer_logits.h"
#include "measure/perplexity.h"

namespace spectralkv {
namespace {

constexpr std::int64_t kDefaultChunk = 512;  // as llama-perplexity has it

struct PerplexityCommand {
  ModelOptions model;
  PerplexityOptions measure;
  CacheTypes base;
  TextInput input;
  ChoiceInput choices;
  std::string base_file, peer_file;  // of logits: ours, llama.cpp's
  bool kl = false, json = false;
  LogLevel log = LogLevel::info;
};

std::vector<Option> rows_of(PerplexityCommand& o) {
  std::vector<Option> rows = model_rows(o.model);
  append_rows(rows, input_rows(o.input));
  append_rows(rows, {
                        {{"-bf", "--binary-file"},
                         "PATH",
                         "the same as -f: tasks of --multiple-choice are no text",
                         set_text(o.input.file)},
                        {{"--chunks"},
                         "N",
                         "chunks of the text to read, at most all of it; -1: all (default)",
                         [&o](const std::string& text) {
                           o.measure.n_chunks = std::max<std::int64_t>(parse_int(text, -1, 1 << 30), 0);
                         }},
                    });
  append_rows(rows, session_rows(o.model));
  append_rows(
      rows,
      {
          {{"--protocol"},
           "NAME",
           "decode: read every token through the cache, in order (default); prefix: read a prefix "
           "exactly, compress all "
           "of it, then read the rest with its own keys and values exact",
           set_choice<Protocol>(o.measure.protocol,
                                {{"decode", Protocol::decode}, {"prefix", Protocol::prefix}}),
           Peer::ours},
          {{"--prefix"},
           "N",
           "tokens at the start of a chunk that are not scored (default: half of it; --protocol "
           "prefix needs it)",
           set_int(o.measure.prefix, 0, std::int64_t{1} << 31),
           Peer::ours},
          {{"--kl-divergence"},
           "",
           "compare with the same model over the base cache, side by side, or with a file",
           set_flag(o.kl),
           Peer::differs,
           "without a file, a base cache is read side by side"},
          {{"--kl-divergence-base", "--save-all-logits"},
           "PATH",
           "write the distributions of all scored positions to this file, in llama-perplexity's format; with "
           "--kl-divergence: compare with those of such a file in place of a base cache",
           set_path(o.peer_file)},
          {{"--kl-base"},
           "PATH",
           "the same in a format of its own, which holds the logits exactly and may have another --prefix",
           set_path(o.base_file),
           Peer::ours},
          {{"--base-ctk"}, "TYPE", "how the base caches keys (default: f16)", set_text(o.base.k), Peer::ours},
          {{"--base-ctv"},
           "TYPE",
           "how the base caches values (default: f16)",
           set_text(o.base.v),
           Peer::ours},
          {{"--json"}, "", "print one JSON object", set_flag(o.json), Peer::ours},
          quiet_row(o.log),
      });
  append_rows(rows, choice_rows(o.choices));
  append_rows(rows, override_rows(o.model.overrides));
  append_rows(rows, common_peer_rows(o.model.ignored));
  append_rows(rows,
              {
                  refused({"-p", "--prompt"}, "the text comes from a file: -f"),
                  no_effect(o.model.ignored, {"-s", "--seed"}, "N", "nothing is drawn"),
                  refused({"--ppl-stride"}, "chunks do not overlap"),
                  no_effect(o.model.ignored, {"--ppl-output-type"}, "N", "a chunk's line is of one kind"),
              });
  return rows;
}

// The tokens, and the length of a chunk where none was given.
std::vector<Token> take_input(PerplexityCommand& o, const Engine& engine, const CliHooks& hooks) {
  // llama.cpp's file has the text that it was made of.
  const bool from_base = o.input.file.empty() && o.input.tokens.empty();
  std::optional<PeerLogitsReader> base;
  if (from_base) base.emplace(o.peer_file);
  std::vector<Token> tokens = base ? base->tokens() : read_input(o.input, engine.tokenizer(), hooks);
  const bool from_ids = !o.input.tokens.empty();
  if (const Vocab& vocab = engine.tokenizer().vocab(); vocab.add_bos && !from_ids)
    o.measure.chunk_start = vocab.bos;
  const bool whole = o.measure.protocol == Protocol::prefix || from_ids;
  o.measure.n_ctx = o.model.session.n_ctx;
  const auto n = static_cast<std::int64_t>(tokens.size());
  if (!o.model.context_given)
    o.measure.n_ctx =
        base ? base->shape().n_ctx : std::min({whole ? n : kDefaultChunk, n, engine.config().context_length});
  else if (o.measure.n_ctx == 0)
    o.measure.n_ctx = engine.config().context_length;
  return tokens;
}

// "4.2997 +/- 0.0213".
std::string estimate_text(const Estimate& e, int digits) {
  return fixed(e.value, digits) + " +/- " + fixed(e.error, digits);
}

// Lines of the comparison with the base cache; the result must have one.
std::string comparison_text(const PerplexityResult& r) {
  const auto& c = *r.comparison;
  const auto line = [](const char* name, const std::string& value) {
    return concat(left(name, 22), ": ", value, "\n");
  };
  const auto percent = [](const Estimate& e) {
    return estimate_text({100 * e.value, 100 * e.error}, 3) + " %";
  };
  std::string out = concat("\n", line("positions compared", std::to_string(r.n_compared)));
  out += line("PPL", estimate_text(r.ppl, 4)) + line("PPL base", estimate_text(c.ppl_base, 4));
  out += line("ln(PPL / PPL base)", estimate_text(c.log_ppl_ratio, 6)) + "\n";
  out += line("mean KLD", estimate_text(c.kl, 6)) + line("maximum KLD", fixed(c.kl_max, 6));
  out += line("99.9 % KLD", fixed(c.kl_p999, 6)) + line("99 % KLD", fixed(c.kl_p99, 6));
  out += line("95 % KLD", fixed(c.kl_p95, 6)) + line("90 % KLD", fixed(c.kl_p90, 6));
  out += line("median KLD", fixed(c.kl_median, 6)) + "\n";
  out += line("mean dp", percent(c.mean_dp)) + line("RMS dp", percent(c.rms_dp));
  return out + line("same top p", percent(c.same_top));
}

// One object; what was not measured is null.
std::string result_json(const PerplexityResult& r, Protocol protocol) {
  JsonWriter out("{}");
  const auto optional = [&](const char* key, double value, bool known) {
    out.add_raw(key, known ? json_number(value) : "null");
  };
  const bool kl = r.comparison.has_value();
  const auto c = r.comparison.value_or(PerplexityResult::Comparison{});
  out.add("ppl", r.ppl.value);
  out.add("ppl_stderr", r.ppl.error);
  optional("ppl_base", c.ppl_base.value, kl);
  optional("ppl_base_stderr", c.ppl_base.error, kl);
  optional("kl_mean", c.kl.value, kl);
  optional("kl_stderr", c.kl.error, kl);
  optional("kl_max", c.kl_max, kl);
  optional("kl_p999", c.kl_p999, kl);
  optional("kl_p99", c.kl_p99, kl);
  optional("kl_p95", c.kl_p95, kl);
  optional("kl_p90", c.kl_p90, kl);
  optional("rms_dp", c.rms_dp.value, kl);
  optional("same_top1", c.same_top.value, kl);
  optional("same_top1_stderr", c.same_top.error, kl);
  const auto bits = [&](const std::string& side, const CacheSideReport& report) {
    optional(("bits_paper_" + side).c_str(), report.paper_bits, report.sealed_entries > 0);
    optional(("bits_honest_" + side).c_str(), report.honest_bits, report.sealed_entries > 0);
    out.add("type_" + side, report.codec);
  };
  bits("k", r.cache.k);
  bits("v", r.cache.v);
  out.add("protocol", protocol == Protocol::prefix ? "prefix" : "decode");
  out.add("n_tokens", r.n_tokens);
  out.add("n_predicted", r.n_predicted);
  if (kl) out.add("n_compared", r.n_compared);
  return out.lines() + "\n";
}

void log_model(const PerplexityCommand& o, const Engine& engine, const Log& log) {
  log.info("model: ", engine.description());
  if (const std::string warning = threads_warning(o.model.engine.n_threads); !warning.empty())
    log.info("warning: ", warning);
  if (const std::string& warning = engine.tokenizer().vocab().warning; !warning.empty())
    log.info("warning: ", warning);
}

bool is_exact(const CacheSideReport& side) {
  return side.codec == "f16" || side.codec == "f32";
}

std::string types_text(const Engine& engine, const CacheTypes& types) {
  const auto [k, v] = cache_names(engine, types.k, types.v);
  return concat("K ", k, ", V ", v);
}

int score(PerplexityCommand& o, const CliHooks& hooks) {
  const Log log(o.log);
  const ChoiceKind kind = *o.choices.kind;
  const std::vector<ChoiceTask> tasks = read_choice_file(o.choices, o.input.file);  // before the work
  Engine engine = open_engine(model_path(o.model, hooks), o.model, hooks, log);
  log_model(o, engine, log);
  ChoiceOptions options;
  if (o.model.context_given) options.n_ctx = o.model.session.n_ctx;
  options.n_batch = std::min<std::int64_t>(o.model.session.n_batch, 128);
  options.n_threads = o.model.engine.n_threads;
  options.types = {o.model.session.type_k, o.model.session.type_v};
  log.info("perplexity: ", tasks.size(), " tasks, ", types_text(engine, options.types));
  if (const std::string note = ignored_note(o.model.ignored); !note.empty()) log.info(note);
  if (!o.json) write_out(choice_heading(kind));
  Progress progress(o.log != LogLevel::off);
  ChoiceHooks on;
  on.cancelled = InterruptGuard::interrupted;
  on.scored = [&](const ChoiceResult& so_far, const ChoiceScore& scores) {
    const auto at = static_cast<std::size_t>(so_far.n_tasks);
    progress.wipe();
    if (!o.json) write_out(choice_line(kind, so_far, scores, tasks[at - 1]));
    progress.update("tasks", so_far.n_tasks, std::ssize(tasks));
  };
  const ChoiceResult result = score_choices(engine, tasks, options, on);
  progress.wipe();
  write_out(o.json ? choice_json(kind, result) : choice_summary(kind, result));
  log.info(cache_line(result.cache));
  if (!result.sealed && !(is_exact(result.cache.k) && is_exact(result.cache.v)))
    log.info("note: no task reached beyond the exact tail of the cache: the score is that of -ctk f16");
  return 0;
}

int measure(PerplexityCommand& o, const CliHooks& hooks) {
  const Log log(o.log);
  Engine engine = open_engine(model_path(o.model, hooks), o.model, hooks, log);
  const std::vector<Token> tokens = take_input(o, engine, hooks);
  o.measure.n_batch = std::min<std::int64_t>(o.model.session.n_batch, 128);
  o.measure.n_threads = o.model.engine.n_threads;
  o.measure.types = {o.model.session.type_k, o.model.session.type_v};
  const std::string& file = o.base_file.empty() ? o.peer_file : o.base_file;
  o.measure.peer_logits = !o.peer_file.empty();
  if (!file.empty())
    (o.kl ? o.measure.base_logits : o.measure.save_logits) = file;
  else if (o.kl)
    o.measure.base = o.base;
  log_model(o, engine, log);
  log.info("perplexity: ", tokens.size(), " tokens, chunks of ", o.measure.n_ctx, ", ",
           types_text(engine, o.measure.types),
           !o.kl          ? ""
           : file.empty() ? concat(", against ", types_text(engine, o.base))
                          : concat(", against '", file, "'"));
  if (const std::string note = ignored_note(o.model.ignored); !note.empty()) log.info(note);

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

std::vector<Option> perplexity_options() {
  PerplexityCommand options;
  return without_setters(rows_of(options));
}

int perplexity_command(const std::vector<std::string>& args, const CliHooks& hooks) {
  PerplexityCommand options;
  const std::vector<Option> rows = rows_of(options);
  if (gave_help(
          hooks, "perplexity", "-m MODEL (-f PATH | --tokens PATH) [-c N] [OPTIONS]",
          concat("Reads a text in chunks and shows how well its tokens are predicted: the "
                 "perplexity so far after each "
                 "chunk,\nthen the final one. Each chunk starts with an empty cache and is "
                 "scored behind its prefix.\n"
                 "Without -c, a chunk has ",
                 kDefaultChunk,
                 " tokens, or all that --tokens or --protocol prefix have; "
                 "the model's own context at most.\n"
                 "With --hellaswag, --winogrande or --multiple-choice the file has tasks, and the share "
                 "is shown that is\nanswered right."),
          rows, args))
    return 0;
  parse_args(rows, args);
  if (options.choices.kind) {
    if (options.input.file.empty() || !options.input.tokens.empty())
      throw UsageError("give the file of tasks with -f, or with -bf");
    if (options.kl || !options.base_file.empty() || !options.peer_file.empty() ||
        options.measure.protocol != Protocol::decode || options.measure.prefix >= 0 ||
        options.measure.n_chunks > 0)
      throw UsageError(
          "--kl-divergence, files of logits, --protocol, --prefix and --chunks are of a text, not of tasks");
    return score(options, hooks);
  }
  const bool has_text = options.kl && !options.peer_file.empty() && options.input.file.empty() &&
                        options.input.tokens.empty();  // the file's own
  if (!has_text) check_input(options.input);
  if (options.measure.protocol == Protocol::prefix && options.measure.prefix < 1)
    throw UsageError(
        "--protocol prefix needs --prefix N, the tokens that are read exactly and then compressed");
  const bool file = !options.base_file.empty() || !options.peer_file.empty();
  if (!options.base_file.empty() && !options.peer_file.empty())
    throw UsageError("--kl-base and --kl-divergence-base each name a file of logits");
  if ((!options.kl || file) && (options.base.k != "f16" || options.base.v != "f16"))
    throw UsageError("--base-ctk and --base-ctv belong to --kl-divergence without a file");
  return measure(options, hooks);
}

}  // namespace spectralkv
