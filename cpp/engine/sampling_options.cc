// The steps by name and letter, and the one place that says which options are wrong.
#include "engine/sampling_options.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace spectralkv {
namespace {

struct StepRow {
  SamplerStep step;
  char letter;
  std::string_view name;
  std::vector<std::string_view> others;
};

const std::vector<StepRow>& step_rows() {
  static const std::vector<StepRow> rows = {
      {SamplerStep::penalties, 'e', "penalties", {}},
      {SamplerStep::dry, 'd', "dry", {}},
      {SamplerStep::top_n_sigma, 's', "top_n_sigma", {"top-n-sigma"}},
      {SamplerStep::top_k, 'k', "top_k", {"top-k"}},
      {SamplerStep::typical_p, 'y', "typ_p", {"typ-p", "typ", "typical", "typical_p", "typical-p"}},
      {SamplerStep::top_p, 'p', "top_p", {"top-p", "nucleus"}},
      {SamplerStep::min_p, 'm', "min_p", {"min-p"}},
      {SamplerStep::xtc, 'x', "xtc", {}},
      {SamplerStep::temperature, 't', "temperature", {"temp"}},
  };
  return rows;
}

void check_finite(const char* name, double value) {
  check(std::isfinite(value), "engine", name, " must be a finite number, not ", value);
}

void check_at_least_0(const char* name, double value) {
  check(std::isfinite(value) && value >= 0, "engine", name, " must be a finite number of at least 0, not ",
        value);
}

void check_last_n(const char* name, int value) {
  check(value >= -1, "engine", name, " must be -1 (all tokens) or at least 0, not ", value);
}

}  // namespace

std::vector<SamplerStep> default_samplers() {
  std::vector<SamplerStep> steps;
  for (const StepRow& row : step_rows()) steps.push_back(row.step);
  return steps;
}

std::string_view sampler_step_name(SamplerStep step) {
  return step_rows()[static_cast<std::size_t>(step)].name;
}

SamplerStep sampler_step(std::string_view name) {
  std::string known;
  for (const StepRow& row : step_rows()) {
    if (row.name == name || std::find(row.others.begin(), row.others.end(), name) != row.others.end())
      return row.step;
    known += concat(known.empty() ? "" : ", ", row.name);
  }
  fail(ErrorKind::value, "engine", "samplers: '", name, "' is none of ", known);
}

std::vector<SamplerStep> sampler_steps_of_letters(std::string_view letters) {
  std::vector<SamplerStep> steps;
  for (const char letter : letters) {
    const auto& rows = step_rows();
    const auto row =
        std::find_if(rows.begin(), rows.end(), [&](const auto& r) { return r.letter == letter; });
    if (row == rows.end()) {
      std::string known;
      for (const StepRow& r : rows) known += concat(known.empty() ? "" : ", ", r.letter, " (", r.name, ")");
      fail(ErrorKind::value, "engine", "samplers: '", letter, "' is none of ", known);
    }
    steps.push_back(row->step);
  }
  return steps;
}

void check_sampling(const SamplingOptions& o) {
  check_finite("temperature", o.temperature);
  check(o.top_p >= 0, "engine", "top_p must be at least 0, not ", o.top_p);
  check(o.min_p <= 1, "engine", "min_p must be at most 1, not ", o.min_p);
  check(std::isfinite(o.repeat_penalty) && o.repeat_penalty > 0, "engine",
        "repeat_penalty must be finite and above 0, not ", o.repeat_penalty);
  check_last_n("repeat_last_n", o.repeat_last_n);
  check_finite("frequency_penalty", o.frequency_penalty);
  check_finite("presence_penalty", o.presence_penalty);
  check(o.typical_p >= 0, "engine", "typical_p must be at least 0, not ", o.typical_p);
  check_finite("top_n_sigma", o.top_n_sigma);
  check_finite("xtc_probability", o.xtc_probability);
  check_at_least_0("xtc_threshold", o.xtc_threshold);
  check_finite("dynatemp_range", o.dynatemp_range);
  check_finite("dynatemp_exponent", o.dynatemp_exponent);
  check_at_least_0("dry_multiplier", o.dry_multiplier);
  check_at_least_0("dry_base", o.dry_base);
  check(o.dry_allowed_length >= 0, "engine", "dry_allowed_length must be at least 0, not ",
        o.dry_allowed_length);
  check_last_n("dry_penalty_last_n", o.dry_penalty_last_n);
  for (const std::string& text : o.dry_sequence_breakers)
    check(!text.empty(), "engine", "dry_sequence_breakers: a text is empty");
  check(o.mirostat >= 0 && o.mirostat <= 2, "engine", "mirostat must be 0 (off), 1 or 2, not ", o.mirostat);
  check_at_least_0("mirostat_tau", o.mirostat_tau);
  check_at_least_0("mirostat_eta", o.mirostat_eta);
}

bool uses_dry(const SamplingOptions& o) {
  return o.dry_multiplier > 0 && o.dry_base >= 1 && o.dry_penalty_last_n != 0;
}

bool uses_xtc(const SamplingOptions& o) {
  return o.xtc_probability > 0 && o.xtc_threshold <= 0.5;
}

bool is_plain_sampling(const SamplingOptions& o) {
  return o.mirostat == 0 && o.typical_p >= 1 && o.top_n_sigma <= 0 && o.dynatemp_range <= 0 && !uses_xtc(o) &&
         !uses_dry(o) && o.samplers == default_samplers();
}

}  // namespace spectralkv
