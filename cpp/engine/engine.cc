// Loading a model, and reading tokens with it.
#include "engine/engine.h"

#include <algorithm>
#include <chrono>

#include "backend/backends.h"
#include "base/error.h"
#include "engine/vocab.h"
#include "kv/cache.h"
#include "model/model.h"

namespace spectralkv {
namespace {

// For an error that is under way: what a device that has failed says to this is not the fault.
void forget_all(Session& session) {
  try {
    session.reset();
  } catch (const Error&) {
  }
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// "135M", "8.0B".
std::string parameter_count(const Gguf& file) {
  double n = 0;
  for (const auto& tensor : file.tensors()) n += static_cast<double>(tensor.n_values());
  std::ostringstream out;
  out.setf(std::ios::fixed);
  out.precision(n >= 1e9 ? 1 : 0);
  out << (n >= 1e9 ? n / 1e9 : n / 1e6) << (n >= 1e9 ? "B" : "M");
  return out.str();
}

Gguf open_with(const std::string& path, const std::vector<GgufEntry>& overrides) {
  Gguf file(path);
  for (const GgufEntry& entry : overrides) file.set(entry);
  return file;
}

}  // namespace

Engine::Engine(const std::string& path, const EngineOptions& options)
    : file_(open_with(path, options.overrides)),
      config_(read_config(file_)),
      tokenizer_(read_vocab(file_, options.allow_unknown_pre)),
      backend_(
          make_backend({options.n_threads, options.n_gpu_layers, options.f32_activations}, config_.n_layers)),
      model_(load_model(file_, config_, *backend_)),
      calibrations_(std::make_unique<Calibrations>(*this, options.calibration)) {
  check(tokenizer_.n_vocab() == config_.n_vocab, "engine", "'", path, "': ", tokenizer_.n_vocab(),
        " tokens in the vocabulary but token_embd.weight has ", config_.n_vocab, " rows");
}

Engine::~Engine() = default;

std::string Engine::chat_template() const {
  return file_.get_string("tokenizer.chat_template", "");
}

std::string Engine::description() const {
  // Most weights are the feed-forward's, of which experts have one each or a tensor for all.
  const auto& tensors = file_.tensors();
  const auto up = std::find_if(tensors.begin(), tensors.end(), [](const GgufTensor& tensor) {
    return tensor.name.starts_with("blk.0.ffn_up") && tensor.name.ends_with(".weight");
  });
  const DType type = up != tensors.end() ? up->type : file_.weight("token_embd.weight").type;
  return concat(config_.arch, " ", parameter_count(file_), " ", dtype_info(type).name, ", ",
                backend_->description());
}

struct Session::Work {
  Scratch scratch;
  std::vector<float> all_logits;  // [n_tokens, n_vocab] with logits_all
  bool all_rows = false;          // the scratch has room for the logits of a whole batch
};

Session::Session(Engine& engine, const SessionOptions& options) : engine_(engine), options_(options) {
  const ModelConfig& c = engine.config();
  if (options_.n_ctx == 0) options_.n_ctx = c.context_length;
  check(options_.n_ctx >= 1 && options_.n_ctx <= (std::int64_t{1} << 31), "engine",
        "n_ctx must be 1 to 2^31 (0: the model's ", c.context_length, "), got ", options.n_ctx);
  check(options_.n_batch >= 1 && options_.n_batch <= 65536, "engine", "n_batch must be 1 to 65536, got ",
        options_.n_batch);
  options_.n_batch = std::min(options_.n_batch, options_.n_ctx);
  cache_ = fresh_cache();
  work_ = std::make_unique<Work>(
      Work{Scratch(engine.backend(), c, options_.n_batch, options_.logits_all ? options_.n_batch : 1),
           {},
           options_.logits_all});
}

Session::~Session() = default;

bool Session::awaits_calibration(const CacheFormat& format) const {
  return format.calibrated() && !format.calibration() && engine_.calibrations().possible();
}

std::unique_ptr<KvCache> Session::fresh_cache() {
  has_own_format_ = true;
  auto format = cache_format(engine_, options_.type_k, options_.type_v, options_.seal_until, false);
  uncalibrated_ = awaits_calibration(*format);
  return engine_.backend().make_cache(std::move(format), options_.n_ctx);
}

void Session::calibrate(const std::function<bool()>& cancelled) {
  if (!uncalibrated_) return;
  engine_.calibrations().make(cancelled);
  cache_ = fresh_cache();
  // Nothing was sealed yet: what was read is read again.
  const std::span<const Token> tokens(tokens_);
  const auto most = static_cast<std::size_t>(options_.n_batch);
  try {
    for (std::size_t at = 0; at < tokens.size(); at += most) {
      const StepPart part{cache_.get(), tokens.subspan(at, std::min(most, tokens.size() - at)), 0};
      engine_.model().forward(engine_.backend(), work_->scratch, {&part, 1});
    }
    engine_.backend().finish();
  } catch (...) {
    forget_all(*this);
    throw;
  }
}

void Session::check_fit(std::span<const Token> tokens) const {
  const std::int64_t n_vocab = engine_.config().n_vocab;
  check(static_cast<std::int64_t>(tokens_.size() + tokens.size()) <= options_.n_ctx, "engine",
        "the context of ", options_.n_ctx, " tokens is too short: it holds ", tokens_.size(), " and ",
        tokens.size(), " more were given; raise n_ctx (-c)");
  for (const Token token : tokens)
    check(token >= 0 && token < n_vocab, "engine", "token ", token, " is not within the vocabulary of ",
          n_vocab);
}

void Session::read_batch(std::span<const Token> batch, std::int64_t n_logits,
                         const std::function<bool()>& cancelled) {
  if (uncalibrated_ && cache_->format().seals(std::ssize(tokens_) + std::ssize(batch))) {
    logits();  // out of the memory that the forward pass takes
    calibrate(cancelled);
  }
  try {
    const StepPart step{cache_.get(), batch, n_logits};
    engine_.model().forward(engine_.backend(), work_->scratch, {&step, 1});
    engine_.backend().finish();  // a device's errors come here
  } catch (...) {
    forget_all(*this);  // some layers have taken the batch and others not
    throw;
  }
  tokens_.insert(tokens_.end(), batch.begin(), batch.end());
  logits_.clear();
  unread_ = nullptr;
  if (n_logits == 0) return;
  const auto vocab = static_cast<std::size_t>(engine_.config().n_vocab);
  const auto rows = static_cast<std::size_t>(n_logits);
  const float* from = work_->scratch.logits.rows(n_logits).data;
  unread_ = from + (rows - 1) * vocab;
  if (!options_.logits_all) return;
  auto& all = work_->all_logits;
  all.resize(all.size() + rows * vocab);
  engine_.backend().read(from, std::span(all).last(rows * vocab));
}

void Session::eval(std::span<const Token> tokens, const std::function<bool()>& cancelled) {
  constexpr std::int64_t kLeast = 32;  // fewer would make a prompt slow
  constexpr double kPatience = 0.5;    // seconds
  check_fit(tokens);
  const auto n = static_cast<std::int64_t>(tokens.size());
  std::int64_t most = cancelled ? std::min(options_.n_batch, kLeast) : options_.n_batch;
  for (std::int64_t done = 0; done < n;) {
    if (cancelled && cancelled())
      fail(ErrorKind::interrupted, "engine", "interrupted after ", done, " of ", n, " tokens");
    const auto start = std::chrono::steady_clock::now();
    const std::int64_t count = std::min(most, n - done);
    const bool last = done + count == n;
    read_batch(tokens.subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(count)),
               options_.logits_all ? count : (last ? 1 : 0), cancelled);
    done += count;
    const double seconds = seconds_since(start);
    timings_.prompt_s += seconds;
    timings_.prompt_tokens += count;
    if (cancelled)
      most = std::clamp(
          static_cast<std::int64_t>(kPatience * static_cast<double>(count) / std::max(seconds, 1e-6)),
          std::min(options_.n_batch, kLeast), options_.n_batch);
  }
}

void Session::eval_next(Token token) {
  const std::span<const Token> one(&token, 1);
  check_fit(one);
  const auto start = std::chrono::steady_clock::now();
  read_batch(one, 1, {});
  timings_.eval_s += seconds_since(start);
  timings_.eval_tokens += 1;
}

void Session::read_batches(std::span<const Token> tokens,
                           const std::function<std::int64_t(std::int64_t)>& n_logits,
                           const std::function<void(std::int64_t, std::int64_t)>& done,
                           const std::function<bool()>& cancelled) {
  const auto n = static_cast<std::int64_t>(tokens.size());
  for (std::int64_t at = 0; at < n;) {
    if (cancelled && cancelled())
      fail(ErrorKind::interrupted, "engine", "interrupted after ", at, " of ", n, " tokens");
    const std::int64_t count = std::min(options_.n_batch, n - at);
    const auto start = std::chrono::steady_clock::now();
    const auto first = static_cast<std::int64_t>(tokens_.size());
    read_batch(tokens.subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(count)), n_logits(count),
               cancelled);
    timings_.prompt_s += seconds_since(start);
    timings_.prompt_tokens += count;
    done(count, first);
    at += count;
  }
}

void Session::eval_rows(std::span<const Token> tokens, const TakeRows& take,
                        const std::function<bool()>& cancelled) {
  check_fit(tokens);
  if (!work_->all_rows) {
    logits();  // out of the memory that goes
    work_ = std::make_unique<Work>(
        Work{Scratch(engine_.backend(), engine_.config(), options_.n_batch, options_.n_batch), {}, true});
  }
  const std::int64_t vocab = engine_.config().n_vocab;
  std::vector<float> rows;
  const auto give = [&](std::int64_t n, std::int64_t first) {
    rows.resize(static_cast<std::size_t>(n * vocab));
    const auto start = std::chrono::steady_clock::now();
    engine_.backend().read(work_->scratch.logits.rows(n).data, rows);
    timings_.prompt_s += seconds_since(start);
    take(ConstMatrix(rows.data(), n, vocab), first);
  };
  read_batches(
      tokens, [](std::int64_t n) { return n; }, give, cancelled);
}

void Session::eval_hidden(std::span<const Token> tokens, const TakeRows& take,
                          const std::function<bool()>& cancelled) {
  check_fit(tokens);
  const std::int64_t width = engine_.config().n_embd;
  std::vector<float> rows;
  const auto give = [&](std::int64_t n, std::int64_t first) {
    rows.resize(static_cast<std::size_t>(n * width));
    engine_.backend().read(work_->scratch.normed.rows(n).data, rows);
    take(ConstMatrix(rows.data(), n, width), first);
  };
  read_batches(
      tokens, [this](std::int64_t n) { return options_.logits_all ? n : 1; }, give, cancelled);
}

void Session::reset() {
  tokens_.clear();
  logits_.clear();
  unread_ = nullptr;
  work_->all_logits.clear();
  // Last: a device that has failed may refuse this too.
  if (has_own_format_)
    cache_->reset();
  else
    cache_ = fresh_cache();
}

void Session::truncate(std::int64_t n) {
  if (n == static_cast<std::int64_t>(tokens_.size())) return;
  cache_->truncate(n);
  tokens_.resize(static_cast<std::size_t>(n));
  logits_.clear();
  unread_ = nullptr;
  if (options_.logits_all)
    work_->all_logits.resize(static_cast<std::size_t>(n) *
                             static_cast<std::size_t>(engine_.config().n_vocab));
}

std::span<const float> Session::logits() const {
  if (unread_ != nullptr) {
    logits_.resize(static_cast<std::size_t>(engine_.config().n_vocab));
    engine_.backend().read(unread_, logits_);
    unread_ = nullptr;
  }
  return logits_;
}

bool Session::best_logits(std::span<std::pair<float, Token>> out) const {
  return unread_ != nullptr && engine_.backend().best(unread_, engine_.config().n_vocab, out);
}

ConstMatrix Session::all_logits() const {
  check(options_.logits_all, "engine", "logits of all tokens need logits_all=True");
  const std::int64_t vocab = engine_.config().n_vocab;
  return {work_->all_logits.data(), static_cast<std::int64_t>(tokens_.size()), vocab};
}

void Session::copy_all_logits(const Session& other) {
  work_->all_logits = other.work_->all_logits;
}

CacheReport Session::cache_report() const {
  CacheReport report = cache_->report();
  report.work_bytes = engine_.backend().work_bytes();
  return report;
}

}  // namespace spectralkv
