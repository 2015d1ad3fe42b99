// Engine: one loaded model, immutable. Session: one sequence of tokens with its cache and logits.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/calibrations.h"
#include "gguf/gguf.h"
#include "kv/layout.h"
#include "kv/report.h"
#include "model/config.h"
#include "tensor/matrix.h"
#include "tokenizer/tokenizer.h"

namespace spectralkv {

class Backend;
class KvCache;
class Model;

struct EngineOptions {
  int n_threads = 0;     // 0: one for each core of this process
  int n_gpu_layers = 0;  // 0: CPU; negative or at least the number of layers: CUDA
  bool allow_unknown_pre = false;
  bool f32_activations =
      false;  // quantised weights meet activations in f32, which is slow, instead of 8 bits
  CalibrationOptions calibration{};    // for cache types that use one
  std::vector<GgufEntry> overrides{};  // of the file's metadata
};

class Engine {
 public:
  Engine(const std::string& path, const EngineOptions& options);
  ~Engine();
  Engine(const Engine&) = delete;

  const Gguf& file() const { return file_; }
  const ModelConfig& config() const { return config_; }
  const Tokenizer& tokenizer() const { return tokenizer_; }
  std::string chat_template() const;  // the Jinja source, empty when the file has none
  Backend& backend() const { return *backend_; }
  const Model& model() const { return *model_; }
  Calibrations& calibrations() const { return *calibrations_; }
  std::string description() const;  // "llama 135M Q4_1, cpu avx512, 2 threads"

 private:
  Gguf file_;
  ModelConfig config_;
  Tokenizer tokenizer_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Calibrations> calibrations_;
};

struct SessionOptions {
  std::int64_t n_ctx = 512;                            // 0: the model's own
  std::int64_t n_batch = 512;                          // tokens in one forward pass, at most
  std::string type_k = "default", type_v = "default";  // cache specs (kv/codecs.h)
  bool logits_all = false;                             // keep the logits of every token, not only of the last
  std::int64_t seal_until = CacheLayout::kNowhere;  // for measurements: no block seals behind this position
};

struct Timings {
  std::int64_t prompt_tokens = 0, eval_tokens = 0;  // what eval and eval_rows read, and what eval_next reads
  double load_s = 0, prompt_s = 0, eval_s = 0;
};

class Session {
 public:
  Session(Engine& engine, const SessionOptions& options);
  ~Session();
  Session(const Session&) = delete;

  // Appends tokens. Throws a value error, and changes nothing, when they do not fit into n_ctx or an id is
  // out of range. `cancelled` is asked about twice a second, between batches that are cut for it; true throws
  // ErrorKind::interrupted with the batches so far kept.
  void eval(std::span<const Token> tokens, const std::function<bool()>& cancelled = {});
  // The same for one token that was generated; the timings count it apart.
  void eval_next(Token token);
  // The same, and gives `take` the logits of every batch as it is read: [n, n_vocab], row 0 that of position
  // `first`; the memory is good for that call only.
  using TakeRows = std::function<void(ConstMatrix rows, std::int64_t first)>;
  void eval_rows(std::span<const Token> tokens, const TakeRows& take,
                 const std::function<bool()>& cancelled = {});
  // The same with hidden states instead of logits: [n, n_embd], those that the head makes logits of.
  void eval_hidden(std::span<const Token> tokens, const TakeRows& take,
                   const std::function<bool()>& cancelled = {});
  void reset();
  // Keeps the first n tokens. A compressed cache allows only some n; a refusal names the nearest.
  void truncate(std::int64_t n);

  // Writes tokens, last logits and cache to a file, atomically: `path` is whole, old or new, at any time. OS
  // errors name the file.
  void save_state(const std::string& path) const;
  // Goes on from a saved state with identical logits. A file of another model or cache type, one that is
  // longer than n_ctx, damaged or no state file is a value error with the reason, and leaves all as it was.
  void load_state(const std::string& path);
  // Keeps as much as the cache can of what the session's tokens and the prompt have in common at their start,
  // and gives its length: the caller evals the prompt from there. Equal to the prompt's only with its logits
  // at hand.
  std::int64_t keep_common(std::span<const Token> prompt);

  // Makes the calibration that its cache waits for, if it does: what the first step that seals a block would
  // do. For those who fill the cache by themselves.
  void calibrate(const std::function<bool()>& cancelled = {});

  // Becomes what `other` is, a session of the same engine and cache types: tokens, cache and logits, those of
  // all tokens where both keep them. Sealed blocks are shared. A value error, with nothing changed, when its
  // tokens do not fit into n_ctx, or when this one keeps logits that the other has not.
  void copy_from(const Session& other);
  // Counts tokens that its cache has taken by a step of somebody else's; there are no logits of them.
  void adopt(std::span<const Token> tokens);

  std::span<const float> logits() const;  // [n_vocab] after the last token; empty when no token was read
  bool has_logits() const { return unread_ != nullptr || !logits_.empty(); }
  // Fills `out` with the best logits and their ids, best first, where the backend finds them faster than
  // logits() gives all; else false.
  bool best_logits(std::span<std::pair<float, Token>> out) const;
  ConstMatrix all_logits() const;  // [n_tokens, n_vocab]; needs logits_all
  const std::vector<Token>& tokens() const { return tokens_; }
  std::int64_t n_ctx() const { return options_.n_ctx; }
  const SessionOptions& options() const { return options_; }
  Engine& engine() const { return engine_; }
  KvCache& cache() const { return *cache_; }
  CacheReport cache_report() const;
  const Timings& timings() const { return timings_; }
  void reset_timings() { timings_ = {}; }

 private:
  struct Work;  // activations
  std::unique_ptr<KvCache> fresh_cache();
  // The state as one of caches of these types, which the session then has.
  void load_state_as(const std::string& path, const std::string& type_k, const std::string& type_v);
  // Whether a calibration would change the format, and can still be made.
  bool awaits_calibration(const CacheFormat& format) const;
  void copy_all_logits(const Session& other);
  void check_fit(std::span<const Token> tokens) const;
  void read_batch(std::span<const Token> batch, std::int64_t n_logits,
                  const std::function<bool()>& cancelled);
  // Batch by batch; n_logits: of each, given its number of tokens; then, after it, done(batch's tokens, their
  // first position).
  void read_batches(std::span<const Token> tokens, const std::function<std::int64_t(std::int64_t)>& n_logits,
                    const std::function<void(std::int64_t, std::int64_t)>& done,
                    const std::function<bool()>& cancelled);
  Engine& engine_;
  SessionOptions options_;
  std::unique_ptr<KvCache> cache_;
  bool uncalibrated_ = false;   // a calibration is wanted, and not there yet
  bool has_own_format_ = true;  // the cache's format is the options', not that of a state that was loaded
  std::unique_ptr<Work> work_;
  std::vector<Token> tokens_;
  mutable std::vector<float> logits_;
  mutable const float* unread_ = nullptr;  // where the logits still are in the backend's memory
  Timings timings_;
};

}  // namespace spectralkv
