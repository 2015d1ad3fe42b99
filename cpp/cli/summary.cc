// Sums of a run as text.
#include "cli/summary.h"

#include <sys/resource.h>

#include <string_view>

#include "base/error.h"
#include "cli/log.h"
#include "kv/cache.h"
#include "kv/cache_estimate.h"

namespace spectralkv {
namespace {

std::string label(const std::string& text) {
  return right(text, std::string_view("prompt eval time").size()) + " = ";
}

double mebibytes(std::int64_t bytes) {
  return static_cast<double>(bytes) / (1 << 20);
}

// Of n tokens in f16.
std::int64_t f16_bytes(const Session& session, std::int64_t n_tokens) {
  return estimate_cache(CacheFormat(session.cache().format().shape(), "f16", "f16"), n_tokens).least;
}

}  // namespace

std::string lossy_opening(const Session& session) {
  if (!session.cache().format().seals(session.n_ctx())) return "";
  const CacheEstimate full = estimate_cache(session.cache().format(), session.n_ctx());
  return concat("kv cache: lossy, ", fixed((full.k.bits + full.v.bits) / 2, 2), " bits per entry and ",
                full.at_least() ? "at least " : "", fixed(mebibytes(full.least), 2),
                " MiB in place of 16 and ", fixed(mebibytes(f16_bytes(session, session.n_ctx())), 2),
                " MiB of f16; exact: -ctk f16");
}

std::string cache_opening(const Session& session) {
  const CacheReport report = session.cache_report();
  const CacheEstimate full = estimate_cache(session.cache().format(), session.n_ctx());
  const auto side = [](const std::string& codec, const CacheEstimate::Side& s) {
    return concat(codec, s.at_least ? " at least " : " ", fixed(s.bits, 2), " bits per entry");
  };
  return concat("kv cache: K ", side(report.k.codec, full.k), ", V ", side(report.v.codec, full.v),
                full.at_least() ? ", at least " : ", ", fixed(static_cast<double>(full.least) / (1 << 20), 2),
                " MiB for the whole context of ", session.n_ctx(), " tokens");
}

std::string cache_side_text(const CacheSideReport& side) {
  if (side.sealed_entries == 0)
    return concat(side.codec, " ", fixed(side.exact_bits, 2), " bits per entry (all in the exact tail)");
  const std::string honest = fixed(side.honest_bits, 2), paper = fixed(side.paper_bits, 2);
  return concat(side.codec, " ", honest, " bits per entry",
                honest == paper ? "" : concat(" (", paper, " as the paper counts)"));
}

std::string cache_line(const CacheReport& report) {
  return concat("kv cache: ", fixed(static_cast<double>(report.bytes()) / (1 << 20), 2), " MiB for ",
                report.n_tokens, " tokens, ", report.n_layers, " layers, K ", cache_side_text(report.k),
                ", V ", cache_side_text(report.v));
}

std::string timing_line(const std::string& name, double seconds, std::int64_t n_tokens) {
  const double ms = seconds * 1000, n = static_cast<double>(n_tokens);
  return concat(label(name), fixed(ms, 2), " ms / ", n_tokens, " tokens (", fixed(n > 0 ? ms / n : 0, 2),
                " ms per token, ", fixed(seconds > 0 ? n / seconds : 0, 2), " tokens per second)");
}

std::string run_summary(const Session& session, double load_s, double total_s) {
  const CacheReport cache = session.cache_report();
  const Timings& timings = session.timings();
  const std::int64_t n_tokens = timings.prompt_tokens + timings.eval_tokens;
  std::string text = cache_line(cache) + "\n";
  if (session.cache().format().seals(cache.n_tokens))
    text += concat("kv cache: lossy behind its exact tail; f16 would take ",
                   fixed(mebibytes(f16_bytes(session, cache.n_tokens)), 2), " MiB (-ctk f16)\n");
  text += label("load time") + fixed(load_s * 1000, 2) + " ms\n";
  text += timing_line("prompt eval time", timings.prompt_s, timings.prompt_tokens) + "\n";
  text += timing_line("eval time", timings.eval_s, timings.eval_tokens) + "\n";
  text += label("total time") + fixed(total_s * 1000, 2) + " ms / " + std::to_string(n_tokens) + " tokens\n";
  return text + label("peak memory") + human_bytes(peak_memory());
}

std::int64_t peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
  return usage.ru_maxrss;
#else
  return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
#endif
}

}  // namespace spectralkv
