// Generation and the tokens that it gives.
#include "engine/generate.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>

#include "bind.h"
#include "shared.h"

namespace spectralkv::python {
namespace {

// A generation and the session that it moves; it refuses to go on when somebody else moved the session.
struct SharedGeneration {
  SharedSession& session;
  SignalCheck signals;
  std::optional<Generation> generation;
  std::uint64_t expected = 0;
  nb::object next_tokens;  // None: all may come
  std::vector<std::uint32_t> mask;
  nb::object shape;  // None: logits stay as they are
  std::vector<float> shaped;

  SharedGeneration(SharedSession& s, GenerateOptions options, nb::object allowed, nb::object shaper)
      : session(s), next_tokens(std::move(allowed)), shape(std::move(shaper)) {
    options.cancelled = [this] { return signals(); };
    if (!next_tokens.is_none()) options.allowed = [this](Token last) { return call_mask(last); };
    if (!shape.is_none())
      options.shape = [this](std::span<const Token> history, std::span<const float> logits) {
        return call_shape(history, logits);
      };
    session.shared.exclusively([&] {
      expected = ++session.changes;  // a generation that was still running on this session has ended
      generation.emplace(session.session, std::move(options));
    });
  }
  SharedGeneration(const SharedGeneration&) = delete;

  std::optional<GeneratedToken> next() {
    std::optional<GeneratedToken> token;
    try {
      token = session.shared.exclusively([&] {
        check_owner();
        return generation->next();
      });
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::interrupted) signals.rethrow();
      throw;
    }
    signals.rethrow();
    return token;
  }

  std::string rest() {
    return session.shared.exclusively([&] {
      check_owner();
      return generation->rest();
    });
  }

 private:
  TokenMask call_mask(Token last) {
    nb::gil_scoped_acquire gil;
    mask = to_mask(next_tokens(last));
    return mask;
  }

  std::span<const float> call_shape(std::span<const Token> history, std::span<const float> logits) {
    nb::gil_scoped_acquire gil;
    const auto made = nb::cast<nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>>(
        shape(to_array(history), to_array(logits)));
    check(made.shape(0) == logits.size(), "python", "shape gave ", made.shape(0), " logits, not ",
          logits.size());
    shaped.assign(made.data(), made.data() + made.shape(0));
    return shaped;
  }

  void check_owner() const {
    if (session.changes != expected)
      throw std::runtime_error("[python] this generation has ended: another call used its session meanwhile");
  }
};

void make_generation(SharedGeneration* self, SharedSession& session, const SamplingOptions& sampling,
                     std::int64_t max_tokens, std::vector<std::string> stop, bool ignore_end_tokens,
                     bool render_special, int top_logprobs, nb::object allowed, nb::object shape) {
  GenerateOptions options;
  options.sampling = sampling;
  options.max_tokens = max_tokens;
  options.stop = std::move(stop);
  options.ignore_end_tokens = ignore_end_tokens;
  options.render_special = render_special;
  options.top_logprobs = top_logprobs;
  new (self) SharedGeneration(session, std::move(options), std::move(allowed), std::move(shape));
}

}  // namespace

void bind_generate(nb::module_& m) {
  nb::class_<GeneratedToken>(m, "GeneratedToken", "One step of a generation.")
      .def_ro("token", &GeneratedToken::token, "Token id.")
      .def_prop_ro(
          "bytes", [](const GeneratedToken& self) { return to_bytes(self.bytes); },
          "The bytes of this token alone; a character may be cut.")
      .def_ro("logprob", &GeneratedToken::logprob, "Natural-log probability, 0 when not asked for.")
      .def_ro("top", &GeneratedToken::top,
              "The most probable tokens as (id, log-probability), in falling order.")
      .def_ro("text", &GeneratedToken::text,
              "New text that is safe to show: whole characters, no part of a stop text.");

  nb::class_<SharedGeneration>(
      m, "Generation",
      "Generates token by token into a session that has read at least one token. max_tokens < 0: until\n"
      "an end token or the context's end; stop: texts that end it and are not given out; top_logprobs >=\n"
      "0: log-probabilities and that many alternatives; allowed(last): says before each draw which tokens "
      "may\n"
      "come, given the one drawn last (-1: none yet), as bits: that of token t is bit t % 32 of word t / 32, "
      "32-bit\n"
      "words of this machine's byte order; shape(tokens, logits): gives the float32 [n_vocab] logits to draw "
      "from.\nValueError for options out of range.")
      .def(
          "__init__", make_generation, nb::arg("session"), nb::arg("sampling"), nb::kw_only(),
          nb::arg("max_tokens") = -1, nb::arg("stop") = std::vector<std::string>(),
          nb::arg("ignore_end_tokens") = false, nb::arg("render_special") = false,
          nb::arg("top_logprobs") = -1, nb::arg("allowed") = nb::none(), nb::arg("shape") = nb::none(),
          nb::keep_alive<1, 2>(),
          nb::sig("def __init__(self, session: Session, sampling: SamplingOptions, *, max_tokens: int = -1, "
                  "stop: collections.abc.Sequence[str] = [], ignore_end_tokens: bool = False, "
                  "render_special: bool = False, top_logprobs: int = -1, allowed: "
                  "collections.abc.Callable[[int], bytes] | None = None, shape: "
                  "collections.abc.Callable[[numpy.typing.NDArray[numpy.int32], "
                  "numpy.typing.NDArray[numpy.float32]], numpy.typing.NDArray[numpy.float32]] | None = None) "
                  "-> None"))
      .def(
          "next", &SharedGeneration::next,
          "The next token, or None when finished. RuntimeError when another call has used the session since.")
      .def("rest", &SharedGeneration::rest, "Text that was still held back; call once at the end.")
      .def_prop_ro(
          "reason",
          [](const SharedGeneration& self) {
            return std::string(finish_reason_name(self.generation->reason()));
          },
          "Why it ended: \"stop\", \"length\" or \"cancelled\"; \"\" while it runs.")
      .def_prop_ro(
          "context_full", [](const SharedGeneration& self) { return self.generation->context_full(); },
          "True when \"length\" means the end of the context.");
}

}  // namespace spectralkv::python
