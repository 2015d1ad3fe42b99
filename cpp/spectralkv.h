// The runtime for other programs: load a model, keep a session, generate. Standard types alone; nothing else
// of cpp/ is meant for others. A program links CMake's target spectralkv::spectralkv (examples/cpp). What
// goes wrong is thrown as a std::exception whose message names the file, option or argument.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace spectralkv {
class Engine;

namespace api {

struct ModelOptions {
  int n_threads = 0;                    // 0: one for each core of the process
  int n_gpu_layers = 0;                 // 0: the CPU; negative: everything on CUDA
  std::string kv_calibration = "auto";  // "auto", "none" or a file's path, as --kv-calibration
};

struct SessionOptions {
  std::int64_t n_ctx = 512;  // tokens that fit; 0: the model's own context
  std::string cache_type_k = "default",
              cache_type_v = "default";  // "eoptshrinkq:2", "f16", ... as -ctk and -ctv
};

struct GenerateOptions {
  double temperature = 0.8;         // 0: always the most probable token
  std::uint64_t seed = 0;           // the same seed gives the same text
  std::int64_t max_tokens = -1;     // below 0: until the model ends or the context is full
  std::vector<std::string> stop{};  // texts that end the answer and are not given out
};

// A loaded GGUF file; never changes, cheap to copy, and kept alive by its sessions. They share its threads
// and work space: of all sessions of one model, one is called at a time.
class Model {
 public:
  explicit Model(const std::string& path, const ModelOptions& options = {});

  std::string description() const;  // "llama 135M Q4_1, cpu avx512, 2 threads"
  std::vector<std::int32_t> tokenize(
      std::string_view text) const;  // control tokens of the text become their ids

 private:
  friend class Session;
  std::shared_ptr<Engine> engine_;
};

// One sequence of tokens and its cache.
class Session {
 public:
  explicit Session(const Model& model, const SessionOptions& options = {});
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  // Appends a text; the first one begins as the model's vocabulary asks for.
  void read(std::string_view text);
  // Continues what was read, and returns the continuation. `take` gets it piece by piece, whole characters
  // each, and ends it by returning false. A later read goes on behind all of it.
  std::string generate(const GenerateOptions& options = {},
                       const std::function<bool(std::string_view piece)>& take = {});

  void reset();  // forgets all
  std::int64_t n_tokens() const;
  std::int64_t n_ctx() const;
  std::int64_t cache_bytes() const;  // what keys and values take now

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace api
}  // namespace spectralkv
