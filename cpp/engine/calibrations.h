// Where an engine's calibration comes from: a file that is named, one that was kept, or a text that is read
// now.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "kv/calibration.h"

namespace spectralkv {

class CacheFormat;
class Engine;

struct CalibrationOptions {
  std::string source = "none";  // "none", "auto", or a file's path
  // A folder beside the user's own that may hold calibrations by the fingerprints of their models; empty:
  // none.
  std::string shipped;
  // Told how far the making of one is.
  std::function<void(const char* unit, std::int64_t done, std::int64_t total)> progress;
  // A line for the user.
  std::function<void(const std::string& line)> notice;
};

// $SPECTRALKV_CALIBRATIONS, or else $XDG_CACHE_HOME/spectralkv/calibrations, by default under ~/.cache; empty
// where there is no home.
std::string calibration_folder();
// "0123456789abcdef.gguf".
std::string calibration_file_name(std::uint64_t model);

// Any thread may call; `make` works with the engine's backend, which nobody else may use then.
class Calibrations {
 public:
  Calibrations(Engine& engine, CalibrationOptions options) : engine_(engine), options_(std::move(options)) {}

  // What is there; null: nothing, or the source is "none". With "auto": beside the model
  // (MODEL.calibration.gguf for MODEL.gguf), in the user's folder, and in the shipped one, where files of
  // other models, damaged ones, and those that were made by an older method are passed over with a notice. A
  // named file that is not there or does not fit is an error; it may be of any method.
  std::shared_ptr<const Calibration> find();
  bool is_automatic() const { return options_.source == "auto"; }
  // Whether `make` would make one: the source is "auto", and the model's context long enough.
  bool possible() const;
  // What is there, or else one made of calibration_text() and kept in the user's folder. `cancelled` is asked
  // between batches; true throws ErrorKind::interrupted.
  std::shared_ptr<const Calibration> make(const std::function<bool()>& cancelled = {});

 private:
  std::shared_ptr<const Calibration> load_kept(const std::string& path, std::uint64_t model);
  void notice(const std::string& line) const {
    if (options_.notice) options_.notice(line);
  }

  Engine& engine_;
  CalibrationOptions options_;
  std::mutex mutex_;
  bool searched_ = false;
  std::string outdated_;  // the first file that was passed over for its method
  std::shared_ptr<const Calibration> found_;
};

// How caches of the engine's model are stored with these cache specs, and with the calibration that there is,
// if they use one; wait: one is made now where there is none.
std::shared_ptr<const CacheFormat> cache_format(Engine& engine, const std::string& type_k,
                                                const std::string& type_v,
                                                std::int64_t seal_until = CacheLayout::kNowhere,
                                                bool wait = true);

}  // namespace spectralkv
