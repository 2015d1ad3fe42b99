// A folder of state files in which kept sequences outlast their memory and the process. Each is written whole
// or not at all; what is damaged, or cut off by a crash, is as good as absent.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "kv/cache.h"

namespace spectralkv {

class KeptFiles {
 public:
  // folder: it must be there. Files of other models and cache types in it are left alone. most_bytes: of
  // ours.
  KeptFiles(Engine& engine, std::shared_ptr<const CacheFormat> format, std::string folder,
            std::int64_t most_bytes);

  struct File {
    std::string path;
    std::vector<Token> tokens;  // as its head says
    std::int64_t bytes = 0;
  };
  // What earlier processes have left, the one used longest ago first.
  std::vector<File> found() const;
  // An OS error names the file.
  File save(std::span<const Token> tokens, const KvCache& cache) const;
  // Null where the file is not whole, or is not of these tokens.
  std::unique_ptr<const KvCache> load(const File& file) const;
  void remove(const File& file) const;

  std::int64_t most_bytes() const { return most_bytes_; }

 private:
  Engine& engine_;
  std::shared_ptr<const CacheFormat> format_;
  std::string folder_, prefix_;
  std::int64_t most_bytes_;
};

// A state file of these tokens, without logits, as Session::load_state reads it too. OS errors name it.
void save_kept(const std::string& path, const Engine& engine, std::span<const Token> tokens,
               const KvCache& cache);
struct KeptState {
  std::vector<Token> tokens;
  std::unique_ptr<KvCache> cache;
};
// A file of another model or cache type, of more than n_ctx tokens, damaged or no state file is a value error
// with the reason.
KeptState load_kept(const std::string& path, Engine& engine, std::shared_ptr<const CacheFormat> format,
                    std::int64_t n_ctx);

}  // namespace spectralkv
