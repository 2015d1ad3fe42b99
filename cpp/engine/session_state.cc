// Saving and loading sessions (kv/state_file.h has the format), and becoming what another one is.
#include <algorithm>
#include <utility>

#include "backend/backend.h"
#include "base/error.h"
#include "engine/calibrations.h"
#include "engine/engine.h"
#include "engine/state_head.h"
#include "kv/cache.h"
#include "kv/codecs.h"
#include "kv/layer_state.h"

namespace spectralkv {
namespace {

bool same_types(const CacheFormat& a, const CacheFormat& b) {
  for (std::int64_t l = 0; l < a.shape().n_layers; ++l)
    for (const auto side : {&LayerFormat::k, &LayerFormat::v})
      if ((a.layer(l).*side).built().text != (b.layer(l).*side).built().text) return false;
  return true;
}

}  // namespace

void Session::save_state(const std::string& path) const {
  StateWriter out(path);
  write_state_head(out, engine_, tokens_, logits());
  cache_->save(out);
  out.commit();
}

void Session::load_state(const std::string& path) {
  check(
      !options_.logits_all, "engine",
      "a session that keeps the logits of all tokens cannot load a state: the file holds the last ones only");
  try {
    load_state_as(path, options_.type_k, options_.type_v);
  } catch (const Error&) {
    // A state from when residuals had scalar codes unless a spec said otherwise goes on with them.
    const std::string k = with_scalar_residuals(options_.type_k), v = with_scalar_residuals(options_.type_v);
    if (k == options_.type_k && v == options_.type_v) throw;
    bool loaded = true;
    try {
      load_state_as(path, k, v);
    } catch (const Error&) {
      loaded = false;
    }
    if (!loaded) throw;
  }
}

void Session::load_state_as(const std::string& path, const std::string& type_k, const std::string& type_v) {
  StateReader in(path);
  StateHead head = read_state_head(in, engine_, options_.n_ctx);
  const auto n = std::ssize(head.tokens);
  const bool sealed = cache_->format().seals(n);
  // A state from before there were calibrations, or made without one, goes on without: unless a file was
  // named.
  const bool plain = sealed && uncalibrated_head(in) && engine_.calibrations().is_automatic();
  if (sealed && !plain) calibrate();
  auto format = plain ? std::make_shared<const CacheFormat>(engine_.config().cache_shape(), type_k, type_v,
                                                            options_.seal_until)
                      : cache_format(engine_, type_k, type_v, options_.seal_until, false);
  const bool uncalibrated = !plain && awaits_calibration(*format);
  auto fresh = engine_.backend().make_cache(std::move(format), options_.n_ctx);
  fresh->load(in, n);
  in.finish();
  uncalibrated_ = uncalibrated;
  cache_ = std::move(fresh);
  has_own_format_ = !plain && type_k == options_.type_k && type_v == options_.type_v;
  tokens_ = std::move(head.tokens);
  logits_ = std::move(head.logits);
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
  check(!options_.logits_all || other.options_.logits_all, "engine",
        "copy_from: a session that keeps the logits of all tokens cannot take one that does not");
  check(options_.seal_until == other.options_.seal_until, "engine",
        "copy_from: the sessions hold back their sealing at different positions");
  check(std::ssize(other.tokens_) <= options_.n_ctx, "kv", "copy: ", other.tokens_.size(),
        " tokens do not fit into a context of ", options_.n_ctx);
  const CacheFormat& held = other.cache_->format();
  const auto takes = [&](const std::string& k, const std::string& v) {
    return same_types(held, CacheFormat(engine_.config().cache_shape(), k, v, options_.seal_until));
  };
  const std::string &k = options_.type_k, &v = options_.type_v;
  const bool as_asked = has_own_format_ ? same_types(held, cache_->format()) : takes(k, v);
  // The other may have loaded a state of scalar codes (load_state).
  check(as_asked || (!other.has_own_format_ && takes(with_scalar_residuals(k), with_scalar_residuals(v))),
        "kv", "copy: the other session's cache holds K ", held.name_k(), " and V ", held.name_v(),
        ", this one is for K ", k, " and V ", v);
  if (&other == this) return;
  auto fork = other.cache_->fork(options_.n_ctx);
  const std::span<const float> logits = other.logits();
  std::vector<float> last(logits.begin(), logits.end());
  if (options_.logits_all) copy_all_logits(other);
  tokens_ = other.tokens_;
  cache_ = std::move(fork);
  has_own_format_ = other.has_own_format_ && as_asked;
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
