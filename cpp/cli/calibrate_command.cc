// The command `calibrate`: makes what cache types know of a model's heads, and keeps it.
#include <chrono>
#include <filesystem>

#include "base/atomic_file.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/log.h"
#include "cli/model_options.h"
#include "cli/streams.h"
#include "cli/text_input.h"
#include "engine/calibrate.h"
#include "engine/fingerprint.h"

namespace spectralkv {
namespace {

struct CalibrateCommand {
  ModelOptions model;
  TextInput input;
  std::string out;
  LogLevel log = LogLevel::info;
};

std::vector<Option> rows_of(CalibrateCommand& o) {
  std::vector<Option> rows = model_rows(o.model);
  append_rows(rows, input_rows(o.input));
  append_rows(rows,
              {
                  {{"-o", "--out"},
                   "PATH",
                   "write the calibration there (default: the user's cache folder, where every run finds "
                   "it by the model's fingerprint)",
                   set_path(o.out)},
                  quiet_row(o.log),
              });
  return rows;
}

// Where it is to lie; the folder is made.
std::string destination(const CalibrateCommand& o, const Engine& engine) {
  if (!o.out.empty()) return o.out;
  const std::string folder = calibration_folder();
  check(!folder.empty(), "cli",
        "there is no cache folder: none of SPECTRALKV_CALIBRATIONS, XDG_CACHE_HOME and HOME is set; give "
        "--out");
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    fail(ErrorKind::os, "cli", "cannot make the folder '", folder, "': ", error.message(), "; give --out");
  return folder + "/" + calibration_file_name(model_fingerprint(engine.file(), engine.config()));
}

int make(CalibrateCommand& o, const CliHooks& hooks) {
  const Log log(o.log);
  o.model.engine.calibration.source = "none";
  Engine engine = open_engine(model_path(o.model, hooks), o.model, hooks, log);
  const std::string path = destination(o, engine);
  { const AtomicFile trial(path, "cli"); }  // before the work, not behind it
  const bool own = !o.input.file.empty() || !o.input.tokens.empty();
  const std::vector<Token> tokens = own ? read_input(o.input, engine.tokenizer(), hooks)
                                        : engine.tokenizer().encode_prompt(calibration_text(), false);
  log.info("model: ", engine.description());
  Progress progress(o.log != LogLevel::off);
  CalibrateHooks on;
  on.cancelled = InterruptGuard::interrupted;
  on.progress = [&](const char* unit, std::int64_t done, std::int64_t total) {
    progress.update(unit, done, total);
  };
  const auto start = std::chrono::steady_clock::now();
  const auto context = static_cast<std::size_t>(engine.config().context_length);
  const Calibration made = calibrate(engine, std::span(tokens).first(std::min(tokens.size(), context)), on);
  progress.wipe();
  made.save(path);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  log.info("read ", std::min(std::ssize(tokens), kCalibrationTokens), " tokens in ", fixed(took.count(), 1),
           " s");
  write_out(path + "\n");
  return 0;
}

}  // namespace

int calibrate_command(const std::vector<std::string>& args, const CliHooks& hooks) {
  CalibrateCommand options;
  const std::vector<Option> rows = rows_of(options);
  if (gave_help(
          hooks, "calibrate", "-m MODEL [-f PATH | --tokens PATH] [-o PATH] [OPTIONS]",
          concat("Reads about ", kCalibrationTokens,
                 " tokens once with an exact cache and keeps what eoptshrinkq uses of the model's "
                 "heads:\nwhere their queries look, and what errors in them cost. Without -f, a text of "
                 "the program's own,\nwhich serves other texts as well as one of their kind. Prints the "
                 "path of the result."),
          rows, args))
    return 0;
  parse_args(rows, args);
  return make(options, hooks);
}

}  // namespace spectralkv
