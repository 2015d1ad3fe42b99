// Saving and loading sessions (kv/state_file.h has the format), and becoming what another one is.
#include <algorithm>
#include <utility>

#include "backend/backend.h"
#include "base/error.h"
#include "engine/engine.h"
#include "engine/fingerprint.h"
#include "kv/cache.h"
#include "kv/state_file.h"

namespace spectralkv {
namespace {

// The sizes that a state file names in its head.
std::array<std::pair<const char*, std::uint32_t>, 4> state_sizes(const ModelConfig& c) {
  const auto size = [](std::int64_t n) { return static_cast<std::uint32_t>(n); };
  return {{{"layers", size(c.n_layers)},
           {"KV heads", size(c.n_kv_heads)},
           {"dimensions of a head", size(c.head_dim)},
           {"tokens of vocabulary", size(c.n_vocab)}}};
}

}  // namespace

void Session::save_state(const std::string& path) const {
  StateWriter out(path);
  out.number(model_fingerprint(engine_.file(), engine_.config()));
  for (const auto& [name, size] : state_sizes(engine_.config())) out.number(size);
  out.number(static_cast<std::uint64_t>(tokens_.size()));
  out.bytes(std::as_bytes(std::span(tokens_)));
  out.number(static_cast<std::uint8_t>(has_logits()));
  out.bytes(std::as_bytes(logits()));
  cache_->save(out);
  out.commit();
}

void Session::load_state(const std::string& path) {
  check(
      !options_.logits_all, "engine",
      "a session that keeps the logits of all tokens cannot load a state: the file holds the last ones only");
  const ModelConfig& c = engine_.config();
  StateReader in(path);
  const auto fingerprint = in.number<std::uint64_t>();
  for (const auto& [name, size] : state_sizes(c)) {
    const auto held = in.number<std::uint32_t>();
    in.require(held == size, "it belongs to another model: ", held, " ", name, ", this one has ", size);
  }
  in.require(fingerprint == model_fingerprint(engine_.file(), c),
             "it belongs to another model of this shape");

  const auto n_tokens = in.number<std::uint64_t>();
  in.require(n_tokens <= static_cast<std::uint64_t>(options_.n_ctx), "it holds ", n_tokens,
             " tokens, the context of this session ", options_.n_ctx, "; raise n_ctx (-c)");
  const auto ids = in.bytes(n_tokens * sizeof(Token));
  std::vector<Token> tokens(static_cast<std::size_t>(n_tokens));
  if (!tokens.empty()) std::memcpy(tokens.data(), ids.data(), ids.size());
  for (const Token token : tokens)
    in.require(token >= 0 && token < c.n_vocab, "token ", token, " is not in the vocabulary");
  const auto has_logits = in.number<std::uint8_t>();
  in.require(has_logits <= 1 && (n_tokens > 0 || has_logits == 0), "its logits are damaged");
  std::vector<float> logits(has_logits == 1 ? static_cast<std::size_t>(c.n_vocab) : 0);
  const auto values = in.bytes(logits.size() * sizeof(float));
  if (!logits.empty()) std::memcpy(logits.data(), values.data(), values.size());

  if (n_tokens > 0) calibrate();
  auto fresh = fresh_cache();
  fresh->load(in, static_cast<std::int64_t>(n_tokens));
  in.finish();
  cache_ = std::move(fresh);
  tokens_ = std::move(tokens);
  logits_ = std::move(logits);
  unread_ = nullptr;
}

std::int64_t Session::keep_common(std::span<const Token> prompt) {
  const auto differ = std::mismatch(tokens_.begin(), tokens_.end(), prompt.begin(), prompt.end()).first;
  auto common = static_cast<std::int64_t>(differ - tokens_.begin());
  const auto held = static_cast<std::int64_t>(tokens_.size()), n = static_cast<std::int64_t>(prompt.size());
  if (common == held && (held < n || has_logits())) return held;
  common = std::min(common, std::max<std::int64_t>(n - 1, 0));
  common = cache_->nearest_below(common);
  try {
    truncate(common);
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::value) throw;
    common = 0;
  }
  if (common == 0) reset();
  return common;
}

void Session::copy_from(const Session& other) {
  check(&engine_ == &other.engine_, "engine", "copy_from: the sessions have different models");
  check(!options_.logits_all, "engine",
        "copy_from: a session that keeps the logits of all tokens cannot take another's");
  check(options_.seal_until == other.options_.seal_until, "engine",
        "copy_from: the sessions hold back their sealing at different positions");
  check(std::ssize(other.tokens_) <= options_.n_ctx, "kv", "copy: ", other.tokens_.size(),
        " tokens do not fit into a context of ", options_.n_ctx);
  const CacheFormat &held = other.cache_->format(), &own = cache_->format();
  for (std::int64_t l = 0; l < own.shape().n_layers; ++l)
    for (const auto side : {&LayerFormat::k, &LayerFormat::v}) {
      const std::string &theirs = (held.layer(l).*side).built().text,
                        &ours = (own.layer(l).*side).built().text;
      check(theirs == ours, "kv", "copy: layer ", l, " holds cache type '", theirs, "' there and '", ours,
            "' here");
    }
  const auto seal_of = [](const CacheFormat& f) {
    return f.calibration() ? f.calibration()->fingerprint() : 0;
  };
  check(uncalibrated_ || other.uncalibrated_ || seal_of(held) == seal_of(own), "kv",
        "copy: the caches have different calibrations");
  if (&other == this) return;
  auto fork = other.cache_->fork(options_.n_ctx);
  const std::span<const float> logits = other.logits();
  std::vector<float> last(logits.begin(), logits.end());
  tokens_ = other.tokens_;
  cache_ = std::move(fork);
  uncalibrated_ = other.uncalibrated_;
  logits_ = std::move(last);
  unread_ = nullptr;
}

void Session::adopt(std::span<const Token> tokens) {
  check(!options_.logits_all, "engine",
        "adopt: a session that keeps the logits of all tokens has none of these");
  check(cache_->n_tokens() == std::ssize(tokens_) + std::ssize(tokens), "engine", "adopt: the cache holds ",
        cache_->n_tokens(), " tokens, the session counts ", tokens_.size(), " and ", tokens.size(), " more");
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  logits_.clear();
  unread_ = nullptr;
}

}  // namespace spectralkv
