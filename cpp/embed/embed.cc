// The public header over engine, session and generation.
#include "base/error.h"
#include "engine/engine.h"
#include "engine/generate.h"
#include "spectralkv.h"

namespace spectralkv::api {

Model::Model(const std::string& path, const ModelOptions& options) {
  EngineOptions engine;
  engine.n_threads = options.n_threads;
  engine.n_gpu_layers = options.n_gpu_layers;
  engine.calibration.source = options.kv_calibration;
  engine_ = std::make_shared<Engine>(path, engine);
}

std::string Model::description() const {
  return engine_->description();
}

std::vector<std::int32_t> Model::tokenize(std::string_view text) const {
  return engine_->tokenizer().encode(text, false, true);
}

struct Session::State {
  std::shared_ptr<Engine> engine;
  spectralkv::Session session;
  std::optional<Token> given;    // the last token of an answer: in the text, not yet read
  std::size_t given_behind = 0;  // so many tokens; where the session has others, it is read or gone

  State(std::shared_ptr<Engine> e, const spectralkv::SessionOptions& options)
      : engine(std::move(e)), session(*engine, options) {}

  bool is_pending() const { return given && session.tokens().size() == given_behind; }
  void read_given() {
    if (is_pending()) session.eval_next(*given);
    given.reset();
  }
};

Session::Session(const Model& model, const SessionOptions& options) {
  spectralkv::SessionOptions session;
  session.n_ctx = options.n_ctx;
  session.type_k = options.cache_type_k;
  session.type_v = options.cache_type_v;
  state_ = std::make_unique<State>(model.engine_, session);
}

Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

void Session::read(std::string_view text) {
  State& s = *state_;
  const bool first = s.session.tokens().empty() && !s.is_pending();
  const Tokenizer& tokenizer = s.engine->tokenizer();
  const std::vector<Token> tokens =
      first ? tokenizer.encode_prompt(text, true) : tokenizer.encode(text, false, true);
  s.read_given();
  s.session.eval(tokens);
}

std::string Session::generate(const GenerateOptions& options,
                              const std::function<bool(std::string_view piece)>& take) {
  State& s = *state_;
  s.read_given();
  spectralkv::GenerateOptions generate;
  generate.sampling.temperature = options.temperature;
  generate.sampling.seed = options.seed;
  generate.max_tokens = options.max_tokens;
  generate.stop = options.stop;
  std::string all;
  bool wanted = true;
  generate.cancelled = [&] { return !wanted; };
  const auto give = [&](const std::string& text) {
    all += text;
    if (!text.empty() && take && wanted) wanted = take(text);
  };
  Generation generation(s.session, std::move(generate));
  while (const auto token = generation.next()) {
    s.given = token->token;
    s.given_behind = s.session.tokens().size();
    give(token->text);
  }
  give(generation.rest());
  return all;
}

void Session::reset() {
  state_->session.reset();
  state_->given.reset();
}

std::int64_t Session::n_tokens() const {
  return static_cast<std::int64_t>(state_->session.tokens().size()) + (state_->is_pending() ? 1 : 0);
}

std::int64_t Session::n_ctx() const {
  return state_->session.n_ctx();
}

std::int64_t Session::cache_bytes() const {
  return state_->session.cache_report().bytes();
}

}  // namespace spectralkv::api
