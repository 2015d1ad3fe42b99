// Files of calibrations by the fingerprints of their models.
#include "engine/calibrations.h"

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "base/error.h"
#include "engine/calibrate.h"
#include "engine/fingerprint.h"
#include "kv/cache_format.h"

namespace spectralkv {
namespace {

namespace fs = std::filesystem;

std::string beside(std::string model) {
  constexpr std::string_view kEnd = ".gguf";
  if (model.ends_with(kEnd)) model.resize(model.size() - kEnd.size());
  return model + ".calibration.gguf";
}

}  // namespace

std::string calibration_folder() {
  if (const char* const own = std::getenv("SPECTRALKV_CALIBRATIONS"); own != nullptr && *own != '\0')
    return own;
  if (const char* const base = std::getenv("XDG_CACHE_HOME"); base != nullptr && *base == '/')
    return concat(base, "/spectralkv/calibrations");
  const char* const home = std::getenv("HOME");
  return home != nullptr && *home == '/' ? concat(home, "/.cache/spectralkv/calibrations") : "";
}

std::string calibration_file_name(std::uint64_t model) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string name;
  for (int shift = 60; shift >= 0; shift -= 4) name += kDigits[model >> shift & 15];
  return name + ".gguf";
}

bool Calibrations::possible() const {
  return options_.source == "auto" && engine_.config().context_length >= kLeastCalibration;
}

std::shared_ptr<const Calibration> Calibrations::load_kept(const std::string& path, std::uint64_t model) {
  std::error_code error;
  if (!fs::exists(path, error)) return nullptr;
  try {
    auto calibration = std::make_shared<const Calibration>(Calibration::load(path));
    if (calibration->model() != model)
      notice(concat("calibration '", path, "' is of another model and is not used"));
    else if (calibration->method() >= kCalibrationMethod)
      return calibration;
    else if (outdated_.empty())
      outdated_ = path;
  } catch (const Error& e) {
    notice(concat("not used: ", e.what()));
  }
  return nullptr;
}

std::shared_ptr<const Calibration> Calibrations::find() {
  const std::lock_guard lock(mutex_);
  if (searched_) return found_;
  if (options_.source == "auto") {
    const std::uint64_t model = model_fingerprint(engine_.file(), engine_.config());
    std::vector<std::string> places{beside(engine_.file().path())};
    for (const std::string& folder : {calibration_folder(), options_.shipped})
      if (!folder.empty()) places.push_back(folder + "/" + calibration_file_name(model));
    for (const std::string& place : places) {
      if (found_) break;
      found_ = load_kept(place, model);
      if (found_ && !outdated_.empty())
        notice(concat("calibration '", outdated_, "' was made by an older version and is not used: '", place,
                      "' is newer"));
    }
  } else if (options_.source != "none") {
    std::error_code error;
    if (!fs::exists(options_.source, error))
      fail(ErrorKind::file_not_found, "engine", "kv_calibration '", options_.source,
           "': there is no such file; expected auto, none, or the path of a file that `spectralkv calibrate` "
           "wrote");
    found_ = std::make_shared<const Calibration>(Calibration::load(options_.source));
    const CacheShape &theirs = found_->shape(), ours = engine_.config().cache_shape();
    check(theirs.n_layers == ours.n_layers && theirs.n_kv_heads == ours.n_kv_heads &&
              theirs.head_dim == ours.head_dim && found_->group() == engine_.config().group(),
          "engine", "calibration '", options_.source, "' is of another model: ", theirs.n_layers, " layers, ",
          theirs.n_kv_heads, " KV heads of ", theirs.head_dim, " with ", found_->group(),
          " query heads each; this one has ", ours.n_layers, ", ", ours.n_kv_heads, " of ", ours.head_dim,
          " with ", engine_.config().group());
  }
  searched_ = true;
  return found_;
}

std::shared_ptr<const Calibration> Calibrations::make(const std::function<bool()>& cancelled) {
  if (auto found = find(); found || !possible()) return found;
  const std::lock_guard lock(mutex_);
  if (found_) return found_;
  notice(outdated_.empty() ? "calibrating the cache for this model, once"
                           : concat("calibrating the cache for this model anew, once: '", outdated_,
                                    "' was made by an older version"));
  const auto start = std::chrono::steady_clock::now();
  const std::vector<Token> tokens = engine_.tokenizer().encode_prompt(calibration_text(), false);
  CalibrateHooks hooks;
  hooks.progress = options_.progress;
  hooks.cancelled = cancelled;
  const auto context = static_cast<std::size_t>(engine_.config().context_length);
  found_ = std::make_shared<const Calibration>(
      calibrate(engine_, std::span(tokens).first(std::min(tokens.size(), context)), hooks));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::string where;
  try {
    if (const std::string folder = calibration_folder(); !folder.empty()) {
      fs::create_directories(folder);
      where = folder + "/" + calibration_file_name(found_->model());
      if (outdated_ == where) {  // states were sealed with it: whoever has such a one can name it
        const std::string kept = where + ".old";
        fs::rename(where, kept);
        notice(concat("the older calibration is '", kept,
                      "' now: --kv-calibration takes it, for states that go by it"));
      }
      found_->save(where);
    }
  } catch (const std::exception& e) {  // the next run makes it again
    where = concat("not kept: ", e.what());
  }
  std::ostringstream took;
  took.precision(2);
  took << seconds;
  notice(concat("calibrated in ", took.str(), " s", where.empty() ? "" : " (" + where + ")"));
  return found_;
}

std::shared_ptr<const CacheFormat> cache_format(Engine& engine, const std::string& type_k,
                                                const std::string& type_v, std::int64_t seal_until,
                                                bool wait) {
  const auto with = [&](std::shared_ptr<const Calibration> calibration) {
    return std::make_shared<const CacheFormat>(engine.config().cache_shape(), type_k, type_v, seal_until,
                                               std::move(calibration));
  };
  auto format = with(nullptr);
  if (!format->calibrated()) return format;
  Calibrations& calibrations = engine.calibrations();
  auto calibration = wait ? calibrations.make() : calibrations.find();
  return calibration ? with(std::move(calibration)) : format;
}

}  // namespace spectralkv
