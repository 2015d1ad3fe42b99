// -m, -hf, -t, -ngl, -c, -b, -ctk, -ctv.
#include "cli/model_options.h"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <limits>
#include <memory>

#include "backend/backend.h"
#include "backend/cuda_library.h"
#include "base/error.h"
#include "base/processors.h"
#include "kv/cache_format.h"
#include "kv/codecs.h"

namespace spectralkv {
namespace {

void set_gpu_layers(EngineOptions& options, const std::string& text) {
  if (text == "all")
    options.n_gpu_layers = -1;
  else if (text == "auto")  // where a GPU can be used at all
    options.n_gpu_layers = has_cuda_library() ? -1 : 0;
  else
    options.n_gpu_layers =
        static_cast<int>(parse_int(text, std::numeric_limits<int>::min(), std::numeric_limits<int>::max()));
}

void set_device(ModelOptions& options, const std::string& text) {
  std::string name = text;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (name != "cpu" && name != "none" && name != "cuda" && name != "cuda0")
    fail_choice({"cpu", "none", "cuda"}, text);
  options.needs_gpu = name.starts_with("cuda");
  options.engine.n_gpu_layers = options.needs_gpu ? -1 : 0;
}

}  // namespace

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
                         "CPU threads (default, and -1: one for each core that this process may use)",
                         [&options](const std::string& text) {
                           options.engine.n_threads =
                               std::max(0, static_cast<int>(parse_int(text, -1, 1024)));
                         }},
                        {{"-ngl", "--gpu-layers", "--n-gpu-layers"},
                         "N",
                         "layers on the GPU: 0 none (default), all or any negative number: all; without a "
                         "GPU they are on the CPU, with a warning",
                         [&options](const std::string& text) { set_gpu_layers(options.engine, text); },
                         Peer::differs,
                         "default: 0, llama.cpp's is auto; all layers or none"},
                        {{"-dev", "--device"},
                         "NAME",
                         "cpu (or none): no layers on the GPU; cuda: all of them, and an error without a GPU",
                         [&options](const std::string& text) { set_device(options, text); },
                         Peer::differs,
                         "one device, cpu or cuda; cuda insists on it"},
                        {{"--activations"},
                         "TYPE",
                         "what quantised weights are multiplied with: q8_0, activations in 8 bits (default), "
                         "or f32, exact and "
                         "slow",
                         set_choice<bool>(options.engine.f32_activations, {{"q8_0", false}, {"f32", true}}),
                         Peer::ours},
                        unknown_pre_row(options.engine),
                    });
  return rows;
}

std::vector<Option> session_rows(ModelOptions& options) {
  const auto set_context = set_int(options.session.n_ctx, 0, std::int64_t{1} << 31);
  std::vector<Option> rows = {
      {{"-c", "--ctx-size"},
       "N",
       concat("tokens of context; 0: the model's own (default: ", kDefaultContext,
              ", or the model's own if less)"),
       [&options, set_context](const std::string& text) {
         set_context(text);
         options.context_given = true;
       },
       Peer::differs,
       concat("default: ", kDefaultContext, " at most, llama.cpp's is the model's own")},
      {{"-ctk", "--cache-type-k"},
       "TYPE",
       concat("how keys are cached (default: ", kDefaultCodec, "), with options as in ",
              "turboquant:3,sink=4, and by layer as in \"q8_0;layers 0-1=f16\". ", codec_help()),
       [&options](const std::string& type) {
         options.session.type_k = type;
         if (!options.type_v_given) options.session.type_v = type;
       },
       Peer::differs,
       "default: a compressed cache; of llama.cpp's types f32, f16, q8_0 and q4_0, and others; alone it sets "
       "the values' type too"},
      {{"-ctv", "--cache-type-v"},
       "TYPE",
       concat("how values are cached (default: as the keys; without -ctk ", kDefaultCodec, ")"),
       [&options](const std::string& type) {
         options.session.type_v = type;
         options.type_v_given = true;
       },
       Peer::differs,
       "default: as the keys; types as for -ctk"},
      calibration_row(options.engine),
  };
  append_rows(rows, batch_rows(options));
  return rows;
}

Option unknown_pre_row(EngineOptions& options) {
  return {{"--allow-unknown-pre"},
          "",
          "go on with gpt-2's pre-tokenizer when the file names one that is not known",
          set_flag(options.allow_unknown_pre),
          Peer::ours};
}

Option calibration_row(EngineOptions& options) {
  return {{"--kv-calibration"},
          "SOURCE",
          "what eoptshrinkq knows of the model's heads: auto, a file that `calibrate` wrote or one that is "
          "made at "
          "the first long text and kept (default); none; or the path of such a file",
          set_text(options.calibration.source),
          Peer::ours};
}

// A batch is a forward pass here, which is llama.cpp's micro-batch: the smaller of both counts.
std::vector<Option> batch_rows(ModelOptions& options) {
  const std::int64_t usual = options.session.n_batch;
  const auto row = [&options, usual](std::vector<std::string> names, std::int64_t& given, std::string help) {
    const auto set = [&options, &given](const std::string& text) {
      given = parse_int(text, 1, kMostBatch);
      const std::int64_t b = options.n_batch, ub = options.n_ubatch;
      options.session.n_batch = b == 0 ? ub : ub == 0 ? b : std::min(b, ub);
    };
    return Option{
        std::move(names),
        "N",
        std::move(help),
        set,
        Peer::differs,
        concat("a batch is a forward pass: the smaller of both (default: ", usual, "; on a GPU 2048)")};
  };
  return {
      row({"-b", "--batch-size"}, options.n_batch,
          concat("tokens of the prompt in one forward pass, at most (default: ", usual, "; on a GPU 2048)")),
      row({"-ub", "--ubatch-size"}, options.n_ubatch, "the same; the smaller of both counts")};
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

Engine open_engine(const std::string& path, const ModelOptions& options, const CliHooks& hooks,
                   const Log& log) {
  EngineOptions engine = engine_options(options, hooks, log);
  engine.overrides = settled_overrides(options.overrides, path);
  if (engine.n_gpu_layers == 0 || options.needs_gpu) return Engine(path, engine);
  if (!has_cuda_library()) engine.n_gpu_layers = -1;  // for the reason, whatever the number
  try {
    return Engine(path, engine);
  } catch (const Error& e) {
    // What is wrong with the file is no reason to try it elsewhere.
    if (e.kind() != ErrorKind::value || !std::string_view(e.what()).starts_with("[cuda]")) throw;
    log.info("warning: the model runs on the CPU, as without -ngl: ", e.what());
  }
  engine.n_gpu_layers = 0;
  return Engine(path, engine);
}

std::pair<std::string, std::string> cache_names(const Engine& engine, const std::string& type_k,
                                                const std::string& type_v) {
  const CacheFormat format(engine.config().cache_shape(), type_k, type_v);
  return {format.name_k(), format.name_v()};
}

std::int64_t settled_batch(const ModelOptions& options, const Engine& engine) {
  const bool given = options.n_batch != 0 || options.n_ubatch != 0;
  return given ? options.session.n_batch : engine.backend().usual_batch();
}

SessionOptions settled_session(const ModelOptions& options, const Engine& engine) {
  SessionOptions session = settled_session(options, engine.config());
  session.n_batch = settled_batch(options, engine);
  return session;
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
