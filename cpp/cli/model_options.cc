// -m, -hf, -t, -ngl, -c, -b, -ctk, -ctv.
#include "cli/model_options.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <memory>

#include "base/error.h"
#include "base/threads.h"
#include "kv/codecs.h"

namespace spectralkv {

std::vector<Option> source_rows(ModelOptions& options, const char* help) {
  return {
      {{"-m", "--model"}, "PATH", help, set_path(options.path)},
      {{"-hf", "-hfr", "--hf-repo"},
       "REPO",
       "in place of -m, a model of the Hugging Face Hub, OWNER/NAME or OWNER/NAME:QUANT (default: Q4_K_M, or "
       "else the only one), fetched unless it is there; needs the Python package with its extra 'hub'",
       set_path(options.hf_repo)},
      {{"-hff", "--hf-file"}, "FILE", "the file in that repository", set_path(options.hf_file)},
  };
}

std::vector<Option> model_rows(ModelOptions& options) {
  std::vector<Option> rows = source_rows(options, "the GGUF file; any part of a split one");
  append_rows(rows, {
                        {{"-t", "--threads"},
                         "N",
                         "CPU threads (default: the processors that this process may use)",
                         set_int(options.engine.n_threads, 0, 1024)},
                        {{"-ngl", "--gpu-layers", "--n-gpu-layers"},
                         "N",
                         "layers on the GPU: 0 none (default), any negative number all",
                         set_int(options.engine.n_gpu_layers, std::numeric_limits<int>::min(),
                                 std::numeric_limits<int>::max())},
                        {{"--activations"},
                         "TYPE",
                         "what quantised weights are multiplied with: q8_0, activations in 8 bits (default), "
                         "or f32, exact and "
                         "slow",
                         set_choice<bool>(options.engine.f32_activations, {{"q8_0", false}, {"f32", true}})},
                        unknown_pre_row(options.engine),
                    });
  return rows;
}

std::vector<Option> session_rows(ModelOptions& options) {
  const auto set_context = set_int(options.session.n_ctx, 0, std::int64_t{1} << 31);
  return {
      {{"-c", "--ctx-size"},
       "N",
       concat("tokens of context; 0: the model's own (default: ", kDefaultContext,
              ", or the model's own if less)"),
       [&options, set_context](const std::string& text) {
         set_context(text);
         options.context_given = true;
       }},
      batch_row(options),
      {{"-ctk", "--cache-type-k"},
       "TYPE",
       concat("how keys are cached (default: ", options.session.type_k, "), with options as in ",
              "turboquant:3,sink=4, and by layer as in \"q8_0;layers 0-1=f16\". ", codec_help()),
       set_text(options.session.type_k)},
      {{"-ctv", "--cache-type-v"},
       "TYPE",
       concat("how values are cached (default: ", options.session.type_v, ")"),
       set_text(options.session.type_v)},
      calibration_row(options.engine),
  };
}

Option unknown_pre_row(EngineOptions& options) {
  return {{"--allow-unknown-pre"},
          "",
          "go on with gpt-2's pre-tokenizer when the file names one that is not known",
          set_flag(options.allow_unknown_pre)};
}

Option calibration_row(EngineOptions& options) {
  return {{"--kv-calibration"},
          "SOURCE",
          "what eoptshrinkq knows of the model's heads: auto, a file that `calibrate` wrote or one that is "
          "made at "
          "the first long text and kept (default); none; or the path of such a file",
          set_text(options.calibration.source)};
}

Option batch_row(ModelOptions& options) {
  return {
      {"-b", "--batch-size"},
      "N",
      concat("tokens of the prompt in one forward pass, at most (default: ", options.session.n_batch, ")"),
      set_int(options.session.n_batch, 1, 65536)};
}

Option quiet_row(LogLevel& level) {
  return {{"--log-disable"}, "", "log nothing but errors", [&level](const std::string&) {
            level = LogLevel::off;
          }};
}

std::string model_path(const ModelOptions& options, const CliHooks& hooks) {
  if (options.hf_repo.empty() && !options.hf_file.empty())
    throw UsageError("-hff names a file of a repository, which -hf names");
  if (!options.hf_repo.empty()) {
    if (!options.path.empty()) throw UsageError("-m and -hf each name a model");
    if (!hooks.fetch_model)
      throw UsageError(concat("the standalone binary downloads nothing; `spectralkv pull -hf ",
                              options.hf_repo, "` of the Python package does, and prints the path for -m"));
    return hooks.fetch_model(options.hf_repo, options.hf_file);
  }
  if (!options.path.empty()) return options.path;
  if (!hooks.default_model) throw UsageError("no model was given: -m PATH");
  return hooks.default_model();
}

EngineOptions engine_options(const ModelOptions& options, const CliHooks& hooks, const Log& log) {
  EngineOptions engine = options.engine;
  engine.calibration.shipped = hooks.calibrations;
  const auto progress = std::make_shared<Progress>(log.shows(LogLevel::info));
  engine.calibration.progress = [progress](const char* unit, std::int64_t done, std::int64_t total) {
    progress->update(unit, done, total);
  };
  engine.calibration.notice = [progress, log](const std::string& line) {
    progress->wipe();
    log.info(line);
  };
  return engine;
}

SessionOptions settled_session(const ModelOptions& options, const ModelConfig& config) {
  SessionOptions session = options.session;
  if (!options.context_given) session.n_ctx = std::min(kDefaultContext, config.context_length);
  if (session.n_ctx == 0) session.n_ctx = config.context_length;
  return session;
}

std::string threads_warning(int n_threads) {
  const int processors = available_processors();
  if (n_threads <= processors) return "";
  return concat(n_threads, " threads for ", processors, processors == 1 ? " processor" : " processors",
                " wait for each other; -t ", processors, " is faster");
}

void append_rows(std::vector<Option>& rows, std::vector<Option> more) {
  rows.insert(rows.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

}  // namespace spectralkv
