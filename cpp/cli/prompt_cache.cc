// Loaded before the prompt is read, saved behind it or at the end.
#include "cli/prompt_cache.h"

#include <filesystem>
#include <utility>

#include "base/error.h"
#include "kv/state_file.h"

namespace spectralkv {

PromptCache::PromptCache(std::string path, bool at_end, bool read_only)
    : path_(std::move(path)), at_end_(at_end), kept_(read_only) {
  if (path_.empty()) return;
  std::error_code unknown;  // then it is as good as absent, and the trial says why
  const bool exists = std::filesystem::exists(path_, unknown);
  if (std::filesystem::is_directory(path_, unknown))
    fail(ErrorKind::os, "cli", "--prompt-cache: '", path_, "' is a folder");
  if (exists && !std::filesystem::is_regular_file(path_, unknown))  // a pipe would be waited for
    fail(ErrorKind::os, "cli", "--prompt-cache: '", path_, "' is no regular file");
  if (kept_) return;
  try {
    const StateWriter trial(path_);  // gone again when it is not committed
  } catch (const Error& e) {
    if (!exists) throw;
    read_only_ = e.what();
  }
}

void PromptCache::load(Session& session, const Log& log) const {
  if (path_.empty() || !std::filesystem::exists(path_)) return;
  session.load_state(path_);
  log.info("prompt cache: ", session.tokens().size(), " tokens from '", path_, "'");
  if (!read_only_.empty()) log.info("prompt cache: it will not be renewed: ", read_only_);
}

void PromptCache::save(const Session& session, const Log& log) {
  if (path_.empty() || kept_ || at_end_ || !read_only_.empty() || std::exchange(saved_, true)) return;
  if (session.timings().prompt_tokens == 0) return;
  session.save_state(path_);
  log.detail("prompt cache: ", session.tokens().size(), " tokens to '", path_, "'");
}

void PromptCache::save_all(const Session& session, const Log& log) const {
  if (path_.empty() || kept_ || !at_end_ || !read_only_.empty() || session.tokens().empty()) return;
  session.save_state(path_);
  log.info("prompt cache: ", session.tokens().size(), " tokens to '", path_, "'");
}

}  // namespace spectralkv
