// Reads a text chunk by chunk, through one cache or through two side by side.
#include "measure/perplexity.h"

#include <algorithm>
#include <memory>

#include "base/error.h"
#include "kv/cache.h"
#include "measure/logits_file.h"
#include "measure/peer_logits.h"
#include "measure/perplexity_stats.h"
#include "measure/tap.h"
#include "model/model.h"

namespace spectralkv {
namespace {

class PerplexityRun {
 public:
  PerplexityRun(Engine& engine, std::span<const Token> tokens, const PerplexityOptions& options,
                const PerplexityHooks& hooks)
      : engine_(engine), tokens_(tokens), options_(options), hooks_(hooks), pool_(options.n_threads) {
    settle();
    open_files();
    test_ = make_session(options_.types);
    if (options_.base) base_ = make_session(*options_.base);
    readings_ = options_.base ? 2 : 1;
    const std::int64_t read = options_.protocol == Protocol::prefix
                                  ? options_.prefix + readings_ * (options_.n_ctx - options_.prefix)
                                  : readings_ * options_.n_ctx;
    total_ = read * options_.n_chunks;
  }

  PerplexityResult run() {
    for (std::int64_t c = 0; c < options_.n_chunks; ++c) {
      read_chunk(c);
      if (hooks_.chunk) hooks_.chunk(c + 1, perplexity_of(logprobs_).value);
    }
    if (writer_) writer_->commit();
    if (peer_writer_) peer_writer_->commit();
    PerplexityResult result;
    result.n_tokens = options_.n_chunks * options_.n_ctx;
    result.n_predicted = static_cast<std::int64_t>(logprobs_.size());
    result.ppl = perplexity_of(logprobs_);
    result.cache = test_->cache_report();
    if (base_ || reader_ || peer_reader_) {
      result.n_compared = static_cast<std::int64_t>(scores_.size());
      result.comparison = compare(scores_);
    }
    return result;
  }

 private:
  // Checks the options and fills in what they leave open.
  void settle() {
    const auto n = static_cast<std::int64_t>(tokens_.size());
    const bool prefix = options_.protocol == Protocol::prefix;
    check(n >= 2, "measure", "perplexity: the text has ", n, n == 1 ? " token" : " tokens",
          "; it takes at least 2");
    for (const Token token : tokens_)
      check(token >= 0 && token < engine_.config().n_vocab, "measure", "perplexity: token ", token,
            " is not within the vocabulary of ", engine_.config().n_vocab);
    if (options_.n_ctx == 0) options_.n_ctx = n;
    check(options_.n_ctx >= 2, "measure", "perplexity: a chunk of ", options_.n_ctx,
          " tokens has nothing to predict");
    check(n >= options_.n_ctx, "measure", "perplexity: the text has ", n, " tokens, fewer than one chunk of ",
          options_.n_ctx, " (-c)");
    check(!prefix || options_.prefix >= 1, "measure",
          "perplexity: the prefix protocol needs the number of tokens of the prefix, at least 1");
    if (options_.prefix < 0) options_.prefix = options_.n_ctx / 2;
    check(options_.prefix <= options_.n_ctx - 2, "measure", "perplexity: a prefix of ", options_.prefix,
          " tokens leaves nothing to predict in a chunk of ", options_.n_ctx);
    const std::int64_t fit = n / options_.n_ctx;
    options_.n_chunks = options_.n_chunks <= 0 ? fit : std::min(options_.n_chunks, fit);
    const std::int64_t trained = engine_.config().context_length;
    check(options_.n_ctx <= trained, "measure", "perplexity: a chunk of ", options_.n_ctx,
          " tokens is longer than the model's context of ", trained, "; give a smaller -c");
  }

  // Before the work, so that what is wrong with a file is said at once.
  void open_files() {
    check(options_.base_logits.empty() || !options_.base, "measure",
          "perplexity: there is one base, a cache or a file of logits");
    if (options_.peer_logits) return open_peer_files();
    const LogitsShape shape{engine_.config().n_vocab, options_.n_ctx, options_.n_chunks, options_.prefix};
    std::vector<Token> read;
    for (std::int64_t c = 0; c < shape.n_chunks; ++c) {
      const std::vector<Token> chunk = tokens_of(c);
      read.insert(read.end(), chunk.begin(), chunk.end());
    }
    if (!options_.save_logits.empty())
      writer_ = std::make_unique<LogitsWriter>(options_.save_logits, shape, read);
    if (!options_.base_logits.empty())
      reader_ = std::make_unique<LogitsReader>(options_.base_logits, shape, read);
  }

  void open_peer_files() {
    const PeerLogitsShape shape{engine_.config().n_vocab, options_.n_ctx, options_.n_chunks};
    check(options_.prefix == shape.first() && options_.protocol == Protocol::decode, "measure",
          "perplexity: llama-perplexity's file holds the second half of each chunk, read through the cache; ",
          "other positions take --kl-base");
    const auto text = tokens_.first(static_cast<std::size_t>(shape.n_chunks * shape.n_ctx));
    if (!options_.save_logits.empty())
      peer_writer_ = std::make_unique<PeerLogitsWriter>(options_.save_logits, shape, text);
    if (options_.base_logits.empty()) return;
    peer_reader_ = std::make_unique<PeerLogitsReader>(options_.base_logits);
    const PeerLogitsShape& held = peer_reader_->shape();
    check(held.n_vocab == shape.n_vocab && held.n_ctx == shape.n_ctx && held.n_chunks >= shape.n_chunks,
          "measure", "'", options_.base_logits, "' has ", held.n_chunks, " chunks of ", held.n_ctx,
          " tokens of a vocabulary of ", held.n_vocab, ", this run ", shape.n_chunks, " of ", shape.n_ctx,
          ", vocabulary ", shape.n_vocab);
    check(std::equal(text.begin(), text.end(), peer_reader_->tokens().begin()), "measure", "'",
          options_.base_logits, "' was made of another text");
  }

  std::vector<Token> tokens_of(std::int64_t chunk) const {
    const auto n_ctx = static_cast<std::size_t>(options_.n_ctx);
    const auto from = tokens_.subspan(static_cast<std::size_t>(chunk) * n_ctx, n_ctx);
    std::vector<Token> tokens(from.begin(), from.end());
    if (options_.chunk_start >= 0) tokens.front() = options_.chunk_start;
    return tokens;
  }

  std::unique_ptr<Session> make_session(const CacheTypes& types) const {
    SessionOptions session;
    session.n_ctx = options_.n_ctx;
    if (options_.protocol == Protocol::prefix) session.seal_until = options_.prefix;
    session.n_batch = options_.n_batch;
    session.type_k = types.k;
    session.type_v = types.v;
    auto made = std::make_unique<Session>(engine_, session);
    made->calibrate(hooks_.cancelled);
    return made;
  }

  void count(std::int64_t n) {
    done_ += n;
    if (hooks_.progress) hooks_.progress(done_, total_);
  }

  // Batch by batch: one batch in memory, and Ctrl-C and progress between them.
  void eval(Session& session, std::span<const Token> tokens) {
    while (!tokens.empty()) {
      const auto n = std::min(tokens.size(), static_cast<std::size_t>(session.options().n_batch));
      session.eval(tokens.first(n), hooks_.cancelled);
      count(static_cast<std::int64_t>(n));
      tokens = tokens.subspan(n);
    }
  }

  void read_chunk(std::int64_t chunk) {
    const auto n_ctx = static_cast<std::size_t>(options_.n_ctx);
    const std::vector<Token> tokens = tokens_of(chunk);
    const auto prefix = static_cast<std::size_t>(options_.prefix);
    test_->reset();
    if (base_) base_->reset();
    if (options_.protocol == Protocol::prefix)
      compress_prefix(std::span(tokens).first(prefix));
    else
      read_unscored(std::span(tokens).first(prefix));

    for (std::size_t at = prefix; at < n_ctx;) {
      const std::size_t n = std::min(n_ctx - at, static_cast<std::size_t>(options_.n_batch));
      std::vector<Token> next(tokens.begin() + static_cast<std::ptrdiff_t>(at) + 1,
                              tokens.begin() + static_cast<std::ptrdiff_t>(std::min(at + n + 1, n_ctx)));
      next.resize(n, -1);
      score_batch(std::span(tokens).subspan(at, n), next);
      at += n;
    }
  }

  void read_unscored(std::span<const Token> tokens) {
    eval(*test_, tokens);
    if (base_) eval(*base_, tokens);
  }

  // Reads tokens exactly, and gives the sessions' caches the keys and values of that reading.
  void compress_prefix(std::span<const Token> tokens) {
    Backend& backend = engine_.backend();
    const ModelConfig& c = engine_.config();
    const auto exact = backend.make_cache(std::make_shared<const CacheFormat>(c.cache_shape(), "f32", "f32"),
                                          std::ssize(tokens));
    TapBackend tap(backend, [&](Step step, std::int64_t layer, const AttentionShape& attention, ConstMatrix,
                                ConstMatrix k, ConstMatrix v) {
      for (const Session* session : {test_.get(), base_.get()}) {
        if (session == nullptr) continue;
        const StepPart part{&session->cache(), step[0].tokens, 0};
        backend.attend({&part, 1}, layer, attention, {}, k, v, {});
      }
    });
    Scratch scratch(backend, c, options_.n_batch, 1);
    for (auto rest = tokens; !rest.empty();) {
      if (hooks_.cancelled && hooks_.cancelled())
        fail(ErrorKind::interrupted, "measure", "interrupted after ", exact->n_tokens(),
             " tokens of a prefix");
      const auto n = std::min(rest.size(), static_cast<std::size_t>(options_.n_batch));
      const StepPart part{exact.get(), rest.first(n), 0};
      engine_.model().forward(tap, scratch, {&part, 1});
      backend.finish();
      count(static_cast<std::int64_t>(n));
      rest = rest.subspan(n);
    }
    for (Session* session : {test_.get(), base_.get()})
      if (session != nullptr) session->adopt(tokens);
  }

  void score_batch(std::span<const Token> batch, std::span<const Token> next) {
    const std::size_t first = scores_.size();
    // llama.cpp's files leave out the position that predicts nothing.
    const bool all = !peer_reader_ && !peer_writer_;
    const std::size_t n = batch.size() - (all || next.back() >= 0 ? 0 : 1);
    scores_.resize(first + n);
    const auto out = std::span(scores_).subspan(first);
    test_->eval_rows(
        batch,
        [&](ConstMatrix logits, std::int64_t) {
          count(static_cast<std::int64_t>(batch.size()));
          logits.rows = static_cast<std::int64_t>(n);
          if (peer_writer_) peer_writer_->add(logits);
          if (peer_reader_)
            return score_rows(pool_, logits, peer_reader_->next(logits.rows), next.first(n), out);
          if (writer_) writer_->add(logits);
          if (reader_) return score_rows(pool_, logits, reader_->next(logits.rows), next, out);
          if (!base_) return score_rows(pool_, logits, {}, next.first(n), out);
          base_->eval_rows(
              batch,
              [&](ConstMatrix base, std::int64_t) {
                count(static_cast<std::int64_t>(batch.size()));
                score_rows(pool_, logits, base, next, out);
              },
              hooks_.cancelled);
        },
        hooks_.cancelled);
    for (const PositionScore& score : out)
      if (score.predicts) logprobs_.push_back(score.logprob);
  }

  Engine& engine_;
  std::span<const Token> tokens_;
  PerplexityOptions options_;
  const PerplexityHooks& hooks_;
  ThreadPool pool_;
  std::unique_ptr<Session> test_, base_;
  std::unique_ptr<LogitsWriter> writer_;
  std::unique_ptr<LogitsReader> reader_;
  std::unique_ptr<PeerLogitsWriter> peer_writer_;
  std::unique_ptr<PeerLogitsReader> peer_reader_;
  std::vector<PositionScore> scores_;
  std::vector<double> logprobs_;
  std::int64_t readings_ = 1, done_ = 0, total_ = 0;
};

}  // namespace

PerplexityResult measure_perplexity(Engine& engine, std::span<const Token> tokens,
                                    const PerplexityOptions& options, const PerplexityHooks& hooks) {
  return PerplexityRun(engine, tokens, options, hooks).run();
}

}  // namespace spectralkv
