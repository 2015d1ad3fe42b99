// Engine (a model, immutable) and Session (its tokens, cache and logits).
#include "engine/engine.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "backend/backend.h"
#include "bind.h"
#include "cli/summary.h"
#include "engine/cache_check.h"
#include "engine/calibrations.h"
#include "shared.h"

namespace spectralkv::python {
namespace {

void make_engine(SharedEngine* self, nb::handle path, int n_threads, int n_gpu_layers, bool allow_unknown_pre,
                 const std::string& activations, nb::handle kv_calibration, nb::handle calibrations,
                 const nb::object& notice, nb::handle overrides) {
  check(activations == "q8_0" || activations == "f32", "python", "activations must be 'q8_0' or 'f32', got '",
        activations, "'");
  const std::string name = to_path(path);
  EngineOptions options{n_threads, n_gpu_layers,           allow_unknown_pre, activations == "f32",
                        {},        to_overrides(overrides)};
  options.calibration.source = to_path(kv_calibration);
  if (!calibrations.is_none()) options.calibration.shipped = to_path(calibrations);
  if (!notice.is_none())
    options.calibration.notice = [call = keep_alive(notice)](const std::string& line) {
      const nb::gil_scoped_acquire gil;
      (*call)(to_str(line));
    };
  nb::gil_scoped_release released;
  new (self) SharedEngine(name, options);
}

void make_session(SharedSession* self, SharedEngine& engine, std::int64_t n_ctx, std::int64_t n_batch,
                  const std::string& type_k, const std::string& type_v, bool logits_all) {
  SessionOptions options;
  options.n_ctx = n_ctx;
  options.n_batch = n_batch;
  options.type_k = type_k;
  options.type_v = type_v;
  options.logits_all = logits_all;
  engine.exclusively([&] { new (self) SharedSession(engine, options); });
}

void eval(SharedSession& self, const std::vector<Token>& tokens) {
  SignalCheck signals;
  try {
    self.shared.exclusively([&] {
      ++self.changes;
      self.session.eval(tokens, [&signals] { return signals(); });
    });
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::interrupted) signals.rethrow();
    throw;
  }
}

Array1 logits(SharedSession& self) {
  std::unique_ptr<float[]> copy;
  std::size_t n = 0;
  self.shared.exclusively([&] {
    const std::span<const float> all = self.session.logits();
    n = all.size();
    copy = std::make_unique_for_overwrite<float[]>(n);
    std::copy(all.begin(), all.end(), copy.get());
  });
  return Array1(to_array(std::move(copy), {n}));
}

Array2 eval_hidden(SharedSession& self, const std::vector<Token>& tokens) {
  SignalCheck signals;
  const auto cols = static_cast<std::size_t>(self.shared.engine.config().n_embd);
  auto rows = std::make_unique_for_overwrite<float[]>(tokens.size() * cols);
  try {
    self.shared.exclusively([&] {
      ++self.changes;
      std::size_t at = 0;
      self.session.eval_hidden(
          tokens,
          [&](ConstMatrix batch, std::int64_t) {
            for (std::int64_t r = 0; r < batch.rows; ++r, at += cols)
              std::copy_n(batch.row(r), batch.cols, rows.get() + at);
          },
          [&signals] { return signals(); });
    });
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::interrupted) signals.rethrow();
    throw;
  }
  return Array2(to_array(std::move(rows), {tokens.size(), cols}));
}

Array2 all_logits(SharedSession& self) {
  std::unique_ptr<float[]> copy;
  std::size_t rows = 0, cols = 0;
  self.shared.exclusively([&] {
    const ConstMatrix all = self.session.all_logits();
    rows = static_cast<std::size_t>(all.rows);
    cols = static_cast<std::size_t>(all.cols);
    copy = std::make_unique_for_overwrite<float[]>(rows * cols);
    for (std::int64_t r = 0; r < all.rows; ++r)
      std::copy_n(all.row(r), all.cols, copy.get() + static_cast<std::size_t>(r) * cols);
  });
  return Array2(to_array(std::move(copy), {rows, cols}));
}

nb::dict cache_report(SharedSession& self) {
  return report_dict(self.shared.exclusively([&] { return self.session.cache_report(); }));
}

nb::dict timings(SharedSession& self) {
  const Timings times = self.shared.exclusively([&] { return self.session.timings(); });
  nb::dict out;
  out["load_s"] = times.load_s;
  out["prompt_tokens"] = times.prompt_tokens;
  out["prompt_s"] = times.prompt_s;
  out["eval_tokens"] = times.eval_tokens;
  out["eval_s"] = times.eval_s;
  return out;
}

nb::dict config_dict(const SharedEngine& self) {
  const ModelConfig& config = self.engine.config();
  nb::dict out;
  out["arch"] = config.arch;
  out["name"] = to_str(config.name);
  out["n_layers"] = config.n_layers;
  out["n_embd"] = config.n_embd;
  out["n_ff"] = config.n_ff;
  out["n_vocab"] = config.n_vocab;
  out["n_heads"] = config.n_heads;
  out["n_kv_heads"] = config.n_kv_heads;
  out["head_dim"] = config.head_dim;
  out["context_length"] = config.context_length;
  out["sliding_window"] = config.sliding_window;
  return out;
}

}  // namespace

void bind_engine(nb::module_& m) {
  nb::class_<SharedEngine>(
      m, "Engine",
      "A loaded model: weights, tokenizer and backend. Immutable, so threads may share it; sessions of one\n"
      "engine work one at a time. n_threads 0: one for each core of the process. n_gpu_layers 0: CPU, any "
      "negative\n"
      "number: all on CUDA. allow_unknown_pre: an unknown pre-tokenizer becomes gpt-2's. activations: "
      "\"q8_0\", or\n"
      "\"f32\" for exact products with quantised weights. kv_calibration: what cache types know of the "
      "model's heads: \"auto\"\n"
      "(a file that there is, or one made at the first long text and kept), \"none\", or a file; "
      "calibrations: a folder of\n"
      "such files beside the user's own; notice(line) is told when one is made; overrides: metadata in the "
      "place of\nthe file's. Raises FileNotFoundError,\n"
      "OSError, MemoryError, or ValueError for a file that is damaged or not supported.")
      .def("__init__", make_engine, nb::arg("path"), nb::kw_only(), nb::arg("n_threads") = 0,
           nb::arg("n_gpu_layers") = 0, nb::arg("allow_unknown_pre") = false, nb::arg("activations") = "q8_0",
           nb::arg("kv_calibration") = "none", nb::arg("calibrations") = nb::none(),
           nb::arg("notice") = nb::none(), nb::arg("overrides") = nb::make_tuple(),
           nb::sig(
               "def __init__(self, path: str | bytes | os.PathLike[str] | os.PathLike[bytes], *, "
               "n_threads: int = 0, n_gpu_layers: int = 0, allow_unknown_pre: bool = False, "
               "activations: str = 'q8_0', kv_calibration: str | bytes | os.PathLike[str] | "
               "os.PathLike[bytes] = 'none', calibrations: str | bytes | os.PathLike[str] | "
               "os.PathLike[bytes] | None = None, notice: collections.abc.Callable[[str], object] | None = "
               "None, overrides: collections.abc.Iterable[tuple[str, bool | int | float | str]] = ()) -> "
               "None"))
      .def_prop_ro(
          "tokenizer", [](const SharedEngine& self) -> const Tokenizer& { return self.engine.tokenizer(); },
          nb::rv_policy::reference_internal, "The model's tokenizer.")
      .def_prop_ro(
          "chat_template", [](const SharedEngine& self) { return to_str(self.engine.chat_template()); },
          nb::sig("def chat_template(self) -> str"), "The Jinja source; empty when the file has none.")
      .def_prop_ro(
          "description", [](const SharedEngine& self) { return to_str(self.engine.description()); },
          nb::sig("def description(self) -> str"), "Model, weight type, backend and threads in one line.")
      .def_prop_ro(
          "usual_batch", [](const SharedEngine& self) { return self.engine.backend().usual_batch(); },
          nb::sig("def usual_batch(self) -> int"),
          "Tokens of a forward pass that suit where the model runs: 512, and 2048 on a GPU.")
      .def(
          "cache_warning",
          [](SharedEngine& self, const std::string& type_k, const std::string& type_v) {
            nb::gil_scoped_release released;
            const auto format = cache_format(self.engine, type_k, type_v, CacheLayout::kNowhere, false);
            return cache_warning(self.engine, *format);
          },
          nb::arg("type_k"), nb::arg("type_v"),
          "A line for the user when caches of these types are known to lose the model; else an empty text.")
      .def_prop_ro(
          "config", config_dict, nb::sig("def config(self) -> dict[str, typing.Any]"),
          "Shape of the model: arch, name, n_layers, n_embd, n_ff, n_vocab, n_heads, n_kv_heads, head_dim,\n"
          "context_length (tokens), sliding_window (tokens, 0: none).");

  nb::class_<SharedSession>(
      m, "Session",
      "One sequence of tokens with its KV cache and logits. n_ctx: tokens that fit, 0 for the model's own;\n"
      "n_batch: tokens in one forward pass at most; type_k, type_v: cache specs, such as \"f16\" and\n"
      "\"eoptshrinkq:2\"; logits_all: keep the logits of every token. Raises ValueError, or MemoryError when "
      "the cache does not fit.")
      .def("__init__", make_session, nb::arg("engine"), nb::kw_only(), nb::arg("n_ctx") = 512,
           nb::arg("n_batch") = 512, nb::arg("type_k") = "default", nb::arg("type_v") = "default",
           nb::arg("logits_all") = false, nb::keep_alive<1, 2>())
      .def("eval", eval, nb::arg("tokens"),
           "Appends token ids. ValueError, with nothing changed, when they do not fit or an id is out of "
           "range;\n"
           "KeyboardInterrupt leaves the batches that were done.")
      .def(
          "eval_hidden", eval_hidden, nb::arg("tokens"),
          "Appends token ids as eval does, and gives their float32 [n, n_embd] hidden states behind the last "
          "norm.")
      .def("logits", logits,
           "A copy of the float32 [n_vocab] logits after the last token; empty before the first.")
      .def("all_logits", all_logits,
           "A copy of the float32 [n_tokens, n_vocab] logits; ValueError without logits_all.")
      .def(
          "truncate",
          [](SharedSession& self, std::int64_t n) {
            self.shared.exclusively([&] {
              ++self.changes;
              self.session.truncate(n);
            });
          },
          nb::arg("n"), "Keeps the first n tokens. ValueError where the cache's codecs cannot go back to n.")
      .def(
          "reset",
          [](SharedSession& self) {
            self.shared.exclusively([&] {
              ++self.changes;
              self.session.reset();
            });
          },
          "Forgets all tokens.")
      .def(
          "keep_common",
          [](SharedSession& self, const std::vector<Token>& prompt) {
            return self.shared.exclusively([&] {
              ++self.changes;
              return self.session.keep_common(prompt);
            });
          },
          nb::arg("prompt"),
          "Keeps as much of the start that tokens and prompt have in common as the cache can; how much that "
          "is.")
      .def(
          "copy_from",
          [](SharedSession& self, SharedSession& other) {
            if (&self == &other) return;
            self.shared.exclusively([&] {
              ++self.changes;
              self.session.copy_from(other.session);
            });
          },
          nb::arg("other"),
          "Becomes what another session of the same engine and cache types is: tokens, cache and logits, "
          "those of all\ntokens where both keep them. "
          "ValueError,\n"
          "with nothing changed, where they differ or its tokens do not fit.")
      .def(
          "save_state",
          [](SharedSession& self, nb::handle path) {
            const std::string name = to_path(path);
            self.shared.exclusively([&] { self.session.save_state(name); });
          },
          nb::arg("path"),
          nb::sig("def save_state(self, path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> None"),
          "Writes tokens, last logits and cache to a file, atomically. OSError names it.")
      .def(
          "load_state",
          [](SharedSession& self, nb::handle path) {
            const std::string name = to_path(path);
            self.shared.exclusively([&] {
              ++self.changes;
              self.session.load_state(name);
            });
          },
          nb::arg("path"),
          nb::sig("def load_state(self, path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> None"),
          "Goes on from a saved state. ValueError with the reason, and nothing changed, for a file that does "
          "not fit.")
      .def_prop_ro(
          "tokens",
          [](SharedSession& self) {
            return self.shared.exclusively([&] { return std::vector<Token>(self.session.tokens()); });
          },
          "The token ids read so far, as a new list.")
      .def_prop_ro(
          "n_ctx", [](const SharedSession& self) { return self.session.n_ctx(); }, "Tokens that fit.")
      .def("cache_report", cache_report, nb::sig("def cache_report(self) -> dict[str, typing.Any]"),
           "What the cache holds: n_layers, n_kv_heads, head_dim, n_ctx, n_tokens, bytes (K and V together), "
           "work_bytes, and\n"
           "for each of k and v: codec, paper_bits and honest_bits (bits per entry of sealed blocks), "
           "sealed_bytes,\n"
           "sealed_entries, exact_bytes (sinks and tail).")
      .def_prop_ro(
          "cache_opening",
          [](SharedSession& self) {
            return self.shared.exclusively([&] { return cache_opening(self.session); });
          },
          "The line that a log begins with: types, bits per entry, and bytes once the context is full.")
      .def("timings", timings, nb::sig("def timings(self) -> dict[str, typing.Any]"),
           "Seconds and tokens so far: load_s, prompt_tokens, prompt_s (what eval read), eval_tokens, eval_s "
           "(what\n"
           "generations read).")
      .def(
          "reset_timings",
          [](SharedSession& self) { self.shared.exclusively([&] { self.session.reset_timings(); }); },
          "Sets the timings to zero.");
}

}  // namespace spectralkv::python
