// The scheduler: many requests of one engine at a time.
#include "engine/scheduler.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <cstdio>

#include "bind.h"
#include "kv/cache_format.h"
#include "shared.h"

namespace spectralkv::python {
namespace {

// A scheduler; a step takes the engine's lock, the other calls take none but its own.
struct SharedScheduler {
  SharedEngine& shared;
  std::unique_ptr<Scheduler> held;

  SharedScheduler(SharedEngine& engine, const SchedulerOptions& options)
      : shared(engine), held(std::make_unique<Scheduler>(engine.engine, options)) {}
  ~SharedScheduler() {
    shared.at_the_end([this] { held.reset(); });
  }
  SharedScheduler(const SharedScheduler&) = delete;
};

void make_scheduler(SharedScheduler* self, SharedEngine& engine, std::int64_t n_ctx, std::int64_t n_batch,
                    std::int64_t n_parallel, const std::string& type_k, const std::string& type_v,
                    std::int64_t cache_bytes, nb::object kept_folder, std::int64_t kept_folder_bytes,
                    double pause_s) {
  SchedulerOptions options;
  options.n_ctx = n_ctx;
  options.n_batch = n_batch;
  options.n_parallel = n_parallel;
  options.type_k = type_k;
  options.type_v = type_v;
  options.cache_bytes = cache_bytes;
  if (!kept_folder.is_none()) options.kept_folder = to_path(kept_folder);
  options.kept_folder_bytes = kept_folder_bytes;
  options.pause_s = pause_s;
  engine.exclusively([&] { new (self) SharedScheduler(engine, options); });
}

RequestId submit(SharedScheduler& self, std::vector<Token> prompt, const SamplingOptions& sampling,
                 std::int64_t max_tokens, std::vector<std::string> stop, bool ignore_end_tokens,
                 bool render_special, int top_logprobs, nb::object allowed, std::optional<double> deadline_s,
                 bool keep) {
  Request request;
  request.prompt = std::move(prompt);
  request.options.sampling = sampling;
  request.options.max_tokens = max_tokens;
  request.options.stop = std::move(stop);
  request.options.ignore_end_tokens = ignore_end_tokens;
  request.options.render_special = render_special;
  request.options.top_logprobs = top_logprobs;
  if (!allowed.is_none()) request.allowed = to_mask(allowed);
  if (deadline_s) {
    check(*deadline_s == *deadline_s, "python", "deadline_s must be a number of seconds");
    const double longest = 1e9;  // seconds; clocks end
    request.deadline = std::chrono::steady_clock::now() +
                       std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                           std::chrono::duration<double>(std::clamp(*deadline_s, -longest, longest)));
  }
  request.keep = keep;
  nb::gil_scoped_release released;
  return self.held->submit(std::move(request));
}

nb::dict timings_dict(const RequestTimings& timings) {
  nb::dict out;
  out["prompt_tokens"] = timings.prompt_tokens;
  out["cached_tokens"] = timings.cached_tokens;
  out["decoded_tokens"] = timings.decoded_tokens;
  out["queue_s"] = timings.queue_s;
  out["prompt_s"] = timings.prompt_s;
  out["decode_s"] = timings.decode_s;
  return out;
}

nb::dict stats_dict(const SharedScheduler& self) {
  const SchedulerStats stats = self.held->stats();
  nb::dict out;
  out["waiting"] = stats.waiting;
  out["running"] = stats.running;
  out["reading"] = stats.reading;
  out["requests"] = stats.requests;
  out["finished"] = stats.finished;
  out["cancelled"] = stats.cancelled;
  out["expired"] = stats.expired;
  out["failed"] = stats.failed;
  out["steps"] = stats.steps;
  out["failed_steps"] = stats.failed_steps;
  out["preemptions"] = stats.preemptions;
  out["prompt_tokens"] = stats.prompt_tokens;
  out["cached_tokens"] = stats.cached_tokens;
  out["decoded_tokens"] = stats.decoded_tokens;
  out["read_tokens"] = stats.read_tokens;
  out["looked_up"] = stats.looked_up;
  out["found"] = stats.found;
  out["kept"] = stats.kept;
  out["held_tokens"] = stats.held_tokens;
  out["kept_files"] = stats.kept_files;
  out["kept_file_bytes"] = stats.kept_file_bytes;
  out["cache_bytes"] = stats.cache_bytes;
  out["kept_exact_bytes"] = stats.kept_exact_bytes;
  out["budget_bytes"] = stats.budget_bytes;
  out["step_s"] = stats.step_s;
  out["longest_pause_s"] = stats.longest_pause_s;
  out["beside_tokens"] = stats.beside_tokens;
  return out;
}

}  // namespace

void bind_scheduler(nb::module_& m) {
  nb::class_<Event>(
      m, "SchedulerEvent",
      "What a step brought for one request: a token, its end, or both. The last one has a reason.")
      .def_ro("id", &Event::id, "The number that submit gave.")
      .def_ro("token", &Event::token, "A GeneratedToken, or None where the request ends without one.")
      .def_prop_ro(
          "reason", [](const Event& self) { return std::string(finish_reason_name(self.reason)); },
          "\"stop\", \"length\", \"cancelled\", \"deadline\" or \"error\"; \"\" while it runs.")
      .def_ro("context_full", &Event::context_full,
              "True when \"length\" means the end of the context or of the cache budget.")
      .def_ro("rest", &Event::rest, "Text that was held back, where the request ends without a token.")
      .def_ro("error", &Event::error, "What went wrong, with the reason \"error\".")
      .def_prop_ro(
          "timings", [](const Event& self) { return timings_dict(self.timings); },
          nb::sig("def timings(self) -> dict[str, typing.Any]"),
          "So far: prompt_tokens, cached_tokens (of the prompt, kept from before), decoded_tokens; and "
          "seconds:\n"
          "queue_s (until admitted), prompt_s (from there to the first token), decode_s (from there on).");

  nb::class_<SharedScheduler>(
      m, "Scheduler",
      "Runs many requests of one engine together. n_ctx: tokens of a request, prompt and answer, 0 for the\n"
      "model's own; n_batch: tokens of a step at most; n_parallel: requests that run at a time at most; "
      "type_k,\n"
      "type_v: cache specs; cache_bytes: of running and kept sequences together; kept_folder: a folder for "
      "kept\n"
      "sequences that memory has no room for, where a restart finds them, with up to kept_folder_bytes of "
      "files;\n"
      "pause_s: how long a step may take while requests decode, which prompts are cut to. ValueError for "
      "options\n"
      "out of range and a folder that is not there.\n"
      "submit, cancel, allow, wait and stats may be called from any thread, also while another one is in "
      "step; step\n"
      "takes the engine's lock and releases the GIL.")
      .def("__init__", make_scheduler, nb::arg("engine"), nb::kw_only(), nb::arg("n_ctx") = 0,
           nb::arg("n_batch") = 512, nb::arg("n_parallel") = 16, nb::arg("type_k") = "default",
           nb::arg("type_v") = "default", nb::arg("cache_bytes") = std::int64_t{1} << 30,
           nb::arg("kept_folder") = nb::none(), nb::arg("kept_folder_bytes") = std::int64_t{10} << 30,
           nb::arg("pause_s") = 0.2, nb::keep_alive<1, 2>(),
           nb::sig("def __init__(self, engine: Engine, *, n_ctx: int = 0, n_batch: int = 512, n_parallel: "
                   "int = 16, "
                   "type_k: str = 'default', type_v: str = 'default', cache_bytes: int = 1073741824, "
                   "kept_folder: str | bytes | os.PathLike[str] | os.PathLike[bytes] | None = None, "
                   "kept_folder_bytes: int = 10737418240, pause_s: float = 0.2) -> None"))
      .def("submit", submit, nb::arg("prompt"), nb::arg("sampling"), nb::kw_only(),
           nb::arg("max_tokens") = -1, nb::arg("stop") = std::vector<std::string>(),
           nb::arg("ignore_end_tokens") = false, nb::arg("render_special") = false,
           nb::arg("top_logprobs") = -1, nb::arg("allowed") = nb::none(), nb::arg("deadline_s") = nb::none(),
           nb::arg("keep") = true,
           nb::sig("def submit(self, prompt: collections.abc.Sequence[int], sampling: SamplingOptions, *, "
                   "max_tokens: int = -1, stop: collections.abc.Sequence[str] = [], ignore_end_tokens: bool "
                   "= False, "
                   "render_special: bool = False, top_logprobs: int = -1, allowed: bytes | None = None, "
                   "deadline_s: float | None = None, keep: bool = True) -> int"),
           "Queues a request and gives its number. prompt: token ids, at least one; sampling and the others "
           "as\n"
           "Generation has them; allowed: a mask for the first token, as allow takes it; deadline_s: seconds "
           "from now\n"
           "after which the request ends; keep: start from tokens that are kept from other requests, and "
           "keep its own.\n"
           "ValueError for an empty prompt, one longer than the context, ids or options out of range, or a "
           "request\n"
           "that the cache budget could never hold.")
      .def(
          "cancel",
          [](SharedScheduler& self, RequestId id) {
            nb::gil_scoped_release released;
            return self.held->cancel(id);
          },
          nb::arg("id"), "Ends a request at the next step. False where it has ended, or never was.")
      .def(
          "allow",
          [](SharedScheduler& self, RequestId id, nb::object allowed) {
            std::vector<std::uint32_t> mask;
            if (!allowed.is_none()) mask = to_mask(allowed);
            nb::gil_scoped_release released;
            return self.held->allow(id, std::move(mask));
          },
          nb::arg("id"), nb::arg("allowed").none(),
          nb::sig("def allow(self, id: int, allowed: bytes | None) -> bool"),
          "Says what the request's next tokens may be, until it is called again: bits, that of token t is "
          "bit t % 32\n"
          "of word t / 32, 32-bit words of this machine's byte order, (n_vocab + 31) // 32 of them; None: "
          "all. Call it\n"
          "between the step that gave a token and the next one. A mask that allows nothing ends the request "
          "with an\n"
          "error. False as for cancel; ValueError for another length.")
      .def(
          "wait",
          [](SharedScheduler& self, double seconds) {
            nb::gil_scoped_release released;
            return self.held->wait(seconds);
          },
          nb::arg("seconds"), "Waits until there is something to do, at most so long. False: there is not.")
      .def(
          "step",
          [](SharedScheduler& self) { return self.shared.exclusively([&] { return self.held->step(); }); },
          "One forward pass: a list of SchedulerEvents, empty where nothing came of it. From one thread at a "
          "time.\n"
          "What goes wrong with a request is told in its last event. With nothing else to do it writes a "
          "kept sequence\n"
          "to the folder.")
      .def(
          "save",
          [](SharedScheduler& self, const std::vector<Token>& tokens, nb::handle path) {
            const std::string name = to_path(path);
            return self.shared.exclusively([&] { return self.held->save(tokens, name); });
          },
          nb::arg("tokens"), nb::arg("path"),
          nb::sig(
              "def save(self, tokens: collections.abc.Sequence[int], path: str | bytes | os.PathLike[str] | "
              "os.PathLike[bytes]) -> int"),
          "Writes as a state file, atomically, the longest start of `tokens` that is kept; its length. 0, "
          "and no\n"
          "file: none is. OSError names the file. By the thread of the steps.")
      .def(
          "load",
          [](SharedScheduler& self, nb::handle path) {
            const std::string name = to_path(path);
            return self.shared.exclusively([&] { return self.held->load(name); });
          },
          nb::arg("path"),
          nb::sig("def load(self, path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> list[int]"),
          "Keeps what a state file holds, for requests that begin so; its tokens. ValueError with the reason "
          "for a\n"
          "file that does not fit. By the thread of the steps.")
      .def_prop_ro(
          "type_k", [](const SharedScheduler& self) { return self.held->format().name_k(); },
          "How keys are cached, in full: \"default\" is none of these names.")
      .def_prop_ro(
          "type_v", [](const SharedScheduler& self) { return self.held->format().name_v(); },
          "How values are cached, in full.")
      .def_prop_ro(
          "calibration",
          [](const SharedScheduler& self) -> std::optional<std::string> {
            const auto& calibration = self.held->format().calibration();
            if (!calibration) return std::nullopt;
            std::array<char, 17> hex{};
            std::snprintf(hex.data(), hex.size(), "%016llx",
                          static_cast<unsigned long long>(calibration->fingerprint()));
            return hex.data();
          },
          "The fingerprint of the calibration that its caches use; None: they use none.")
      .def(
          "stats", stats_dict, nb::sig("def stats(self) -> dict[str, typing.Any]"),
          "As of the last step: waiting, running, reading (requests); requests, finished, cancelled, "
          "expired, failed,\n"
          "steps, failed_steps, preemptions, prompt_tokens, cached_tokens (of prompts, kept from before),\n"
          "decoded_tokens, read_tokens, looked_up, found (requests that looked for kept tokens, and found "
          "some; all\n"
          "since the start); kept, kept_files (sequences), kept_file_bytes, held_tokens (in memory; what two "
          "sequences\n"
          "share counts twice), cache_bytes, kept_exact_bytes, budget_bytes; step_s, "
          "longest_pause_s\n"
          "(seconds); beside_tokens (of prompts, that a step reads beside decoding now).");
}

}  // namespace spectralkv::python
