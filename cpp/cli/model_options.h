// Options that every command with a model or a session shares.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/log.h"
#include "cli/override_rows.h"
#include "engine/engine.h"

namespace spectralkv {

struct ModelOptions {
  std::string path, hf_repo, hf_file;  // what names the model; empty: not given
  EngineOptions engine;
  SessionOptions session;
  ModelOptions() { engine.calibration.source = "auto"; }
  bool context_given = false;              // else: kDefaultContext, or the model's own where that is smaller
  bool type_v_given = false;               // else values follow the keys' type
  bool needs_gpu = false;                  // --device asks for one: there is no going on without
  std::int64_t n_batch = 0, n_ubatch = 0;  // -b and -ub; 0: not given
  Overrides overrides;                     // of the file's metadata
  std::vector<std::string> ignored;        // options of llama.cpp that were given and have no effect
};

constexpr std::int64_t kDefaultContext = 4096;
constexpr std::int64_t kMostBatch = 65536;  // tokens of a forward pass

// Rows for what names the model: -m, with `help`, and -hf.
std::vector<Option> source_rows(ModelOptions& options, const char* help);
// The same, and for how the model runs.
std::vector<Option> model_rows(ModelOptions& options);
// Rows for the context and the cache.
std::vector<Option> session_rows(ModelOptions& options);

// Rows that some commands have without the others of theirs.
Option unknown_pre_row(EngineOptions& options);
std::vector<Option> batch_rows(ModelOptions& options);
Option calibration_row(EngineOptions& options);
Option quiet_row(LogLevel& level);

// The path that was given, that of the model fetched for -hf, or the default model's; a usage error where
// there is none, or two are given.
std::string model_path(const ModelOptions& options, const CliHooks& hooks);
// The engine's options; what it says of a calibration that it makes goes to the log.
EngineOptions engine_options(const ModelOptions& options, const CliHooks& hooks, const Log& log);
// The model of the options. Where the layers should be on a GPU and none can be used, it is on the CPU, with
// a warning on the log, unless --device asked for the GPU.
Engine open_engine(const std::string& path, const ModelOptions& options, const CliHooks& hooks,
                   const Log& log);
// How caches of these types are called for this model, K and V: what `default` is, and by which layers.
std::pair<std::string, std::string> cache_names(const Engine& engine, const std::string& type_k,
                                                const std::string& type_v);
// Tokens of a forward pass: the backend's own where none were given.
std::int64_t settled_batch(const ModelOptions& options, const Engine& engine);
// The session's options with the context settled, and the batch where there is an engine.
SessionOptions settled_session(const ModelOptions& options, const Engine& engine);
SessionOptions settled_session(const ModelOptions& options, const ModelConfig& config);

// Why so many threads are slow, or "".
std::string threads_warning(int n_threads);

void append_rows(std::vector<Option>& rows, std::vector<Option> more);

}  // namespace spectralkv
