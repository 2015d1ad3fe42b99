// Names say whose a file is: model and cache types, then tokens. Temporary names of the writer are none of
// them.
#include "engine/kept_files.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>

#include "backend/backend.h"
#include "base/atomic_file.h"
#include "base/error.h"
#include "engine/fingerprint.h"
#include "engine/state_head.h"
#include "kv/state_file.h"

namespace spectralkv {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kEnd = ".state";

std::string hex(std::uint64_t value) {
  std::array<char, 17> text{};
  std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(value));
  return text.data();
}

std::uint64_t hash_of(const Engine& engine, const CacheFormat& format) {
  StateHash hash;
  const std::uint64_t model = model_fingerprint(engine.file(), engine.config());
  hash.add(std::as_bytes(std::span(&model, 1)));
  const std::uint64_t calibration = format.calibration() ? format.calibration()->fingerprint() : 0;
  hash.add(std::as_bytes(std::span(&calibration, 1)));
  for (std::int64_t l = 0; l < format.shape().n_layers; ++l)
    for (const auto side : {&LayerFormat::k, &LayerFormat::v}) {
      const std::string& type = (format.layer(l).*side).built().in_states;
      hash.add(std::as_bytes(std::span(type.c_str(), type.size() + 1)));
    }
  return hash.value();
}

}  // namespace

void save_kept(const std::string& path, const Engine& engine, std::span<const Token> tokens,
               const KvCache& cache) {
  StateWriter out(path);
  write_state_head(out, engine, tokens, {});
  cache.save(out);
  out.commit();
}

KeptState load_kept(const std::string& path, Engine& engine, std::shared_ptr<const CacheFormat> format,
                    std::int64_t n_ctx) {
  StateReader in(path);
  KeptState state;
  state.tokens = read_state_head(in, engine, n_ctx).tokens;
  const std::int64_t n = std::ssize(state.tokens);
  in.require(n > 0, "it holds no tokens");
  state.cache = engine.backend().make_cache(std::move(format), n);
  state.cache->load(in, n);
  in.finish();
  return state;
}

KeptFiles::KeptFiles(Engine& engine, std::shared_ptr<const CacheFormat> format, std::string folder,
                     std::int64_t most_bytes)
    : engine_(engine),
      format_(std::move(format)),
      folder_(std::move(folder)),
      prefix_(concat("kept-", hex(hash_of(engine, *format_)), "-")),
      most_bytes_(most_bytes) {
  std::error_code error;
  check(fs::is_directory(folder_, error), "engine", "the folder '", folder_,
        "' for kept sequences is not there");
}

std::vector<KeptFiles::File> KeptFiles::found() const {
  std::vector<std::pair<fs::file_time_type, File>> all;
  remove_left_over(folder_, prefix_);
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix_)) continue;
    if (!name.ends_with(kEnd)) continue;
    const auto used = entry.last_write_time(error);
    const auto bytes = static_cast<std::int64_t>(entry.file_size(error));
    if (error) continue;
    File file{entry.path().string(), {}, bytes};
    auto tokens = peek_state_tokens(file.path, engine_);
    if (tokens) {
      file.tokens = std::move(*tokens);
      all.emplace_back(used, std::move(file));
    } else {
      remove(file);
    }
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<File> files;
  for (auto& [used, file] : all) files.push_back(std::move(file));
  return files;
}

KeptFiles::File KeptFiles::save(std::span<const Token> tokens, const KvCache& cache) const {
  StateHash hash;
  hash.add(std::as_bytes(tokens));
  const fs::path path = fs::path(folder_) / concat(prefix_, hex(hash.value()), "-", tokens.size(), kEnd);
  save_kept(path.string(), engine_, tokens, cache);
  std::error_code error;
  const auto bytes = static_cast<std::int64_t>(fs::file_size(path, error));
  return {path.string(), {}, error ? 0 : bytes};
}

std::unique_ptr<const KvCache> KeptFiles::load(const File& file) const {
  try {
    KeptState state = load_kept(file.path, engine_, format_, std::ssize(file.tokens));
    std::error_code error;
    fs::last_write_time(file.path, fs::file_time_type::clock::now(), error);  // used now
    if (state.tokens == file.tokens) return state.cache->keepsake();
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::memory) throw;
  }
  return nullptr;
}

void KeptFiles::remove(const File& file) const {
  std::error_code error;
  fs::remove(file.path, error);
}

}  // namespace spectralkv
