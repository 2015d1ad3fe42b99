// Results of `perplexity` as text and as JSON.
#include "cli/perplexity_output.h"

#include "cli/json.h"
#include "cli/log.h"

namespace spectralkv {

std::string estimate_text(const Estimate& e, int digits) {
  return fixed(e.value, digits) + " +/- " + fixed(e.error, digits);
}

std::string comparison_text(const PerplexityResult& r) {
  const auto& c = *r.comparison;
  const auto line = [](std::string name, const std::string& value) {
    name.resize(22, ' ');
    return name + ": " + value + "\n";
  };
  const auto percent = [](const Estimate& e) {
    return estimate_text({100 * e.value, 100 * e.error}, 3) + " %";
  };
  std::string out = concat("\n", line("positions compared", std::to_string(r.n_compared)));
  out += line("PPL", estimate_text(r.ppl, 4)) + line("PPL base", estimate_text(c.ppl_base, 4));
  out += line("ln(PPL / PPL base)", estimate_text(c.log_ppl_ratio, 6)) + "\n";
  out += line("mean KLD", estimate_text(c.kl, 6)) + line("maximum KLD", fixed(c.kl_max, 6));
  out += line("99.9 % KLD", fixed(c.kl_p999, 6)) + line("99 % KLD", fixed(c.kl_p99, 6));
  out += line("95 % KLD", fixed(c.kl_p95, 6)) + line("90 % KLD", fixed(c.kl_p90, 6));
  out += line("median KLD", fixed(c.kl_median, 6)) + "\n";
  out += line("mean dp", percent(c.mean_dp)) + line("RMS dp", percent(c.rms_dp));
  return out + line("same top p", percent(c.same_top));
}

std::string result_json(const PerplexityResult& r, Protocol protocol) {
  constexpr const char* kNull = "null";
  JsonWriter out("{}");
  const auto optional = [&](const char* key, double value, bool known) {
    out.add_raw(key, known ? json_number(value) : kNull);
  };
  const bool kl = r.comparison.has_value();
  const auto c = r.comparison.value_or(PerplexityResult::Comparison{});
  out.add("ppl", r.ppl.value);
  out.add("ppl_stderr", r.ppl.error);
  optional("ppl_base", c.ppl_base.value, kl);
  optional("ppl_base_stderr", c.ppl_base.error, kl);
  optional("kl_mean", c.kl.value, kl);
  optional("kl_stderr", c.kl.error, kl);
  optional("kl_max", c.kl_max, kl);
  optional("kl_p999", c.kl_p999, kl);
  optional("kl_p99", c.kl_p99, kl);
  optional("kl_p95", c.kl_p95, kl);
  optional("kl_p90", c.kl_p90, kl);
  optional("rms_dp", c.rms_dp.value, kl);
  optional("same_top1", c.same_top.value, kl);
  optional("same_top1_stderr", c.same_top.error, kl);
  const auto bits = [&](const std::string& side, const CacheSideReport& report) {
    optional(("bits_paper_" + side).c_str(), report.paper_bits, report.sealed_entries > 0);
    optional(("bits_honest_" + side).c_str(), report.honest_bits, report.sealed_entries > 0);
    out.add("type_" + side, report.codec);
  };
  bits("k", r.cache.k);
  bits("v", r.cache.v);
  out.add("protocol", protocol == Protocol::prefix ? "prefix" : "decode");
  out.add("n_tokens", r.n_tokens);
  out.add("n_predicted", r.n_predicted);
  if (kl) out.add("n_compared", r.n_compared);
  return out.lines() + "\n";
}

}  // namespace spectralkv
