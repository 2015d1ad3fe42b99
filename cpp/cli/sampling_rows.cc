// A row an option.
#include "cli/sampling_rows.h"

#include <limits>

#include "base/error.h"

namespace spectralkv {
namespace {

constexpr int kAnyInt = std::numeric_limits<int>::max();

std::string with_default(const char* help, double value) {
  return concat(help, " (default: ", value, ")");
}

Option real(std::vector<std::string> names, const char* value, double& target, const char* help) {
  return {std::move(names), value, with_default(help, target), set_number(target, -kAnyNumber, kAnyNumber)};
}

Option whole(std::vector<std::string> names, const char* value, int& target, const char* help) {
  return {std::move(names), value, with_default(help, target), set_int(target, -kAnyInt - 1, kAnyInt)};
}

// What the samplers' names say is wrong becomes wrong usage.
template <class Parse>
void set_samplers(SamplingOptions& options, const Parse& parse) {
  try {
    options.samplers = parse();
  } catch (const Error& e) {
    throw UsageError(e.what());
  }
}

std::vector<SamplerStep> steps_of(const std::string& names) {
  std::vector<SamplerStep> steps;
  for (std::size_t at = 0; at < names.size();) {
    const std::size_t end = std::min(names.find(';', at), names.size());
    steps.push_back(sampler_step(names.substr(at, end - at)));
    at = end + 1;
  }
  return steps;
}

std::string default_order() {
  std::string names;
  for (const SamplerStep step : default_samplers())
    names += concat(names.empty() ? "" : ";", sampler_step_name(step));
  return names;
}

std::vector<Option> step_rows(SamplingOptions& s) {
  return {
      {{"--samplers"},
       "NAMES",
       concat("the steps in their order, with ; between them (default: ", default_order(), ")"),
       [&s](const std::string& text) { set_samplers(s, [&] { return steps_of(text); }); }},
      {{"--sampler-seq", "--sampling-seq"},
       "LETTERS",
       "the same by letters: e penalties, d dry, s top_n_sigma, k top_k, y typ_p, p top_p, m min_p, x xtc, t "
       "temperature (default: edskypmxt)",
       [&s](const std::string& text) { set_samplers(s, [&] { return sampler_steps_of_letters(text); }); }},
      real({"--temp", "--temperature"}, "T", s.temperature,
           "temperature; 0 or less: always the most probable token"),
      real({"--dynatemp-range"}, "X", s.dynatemp_range,
           "the temperature lies within so much of --temp, by the entropy; 0: off"),
      real({"--dynatemp-exp"}, "X", s.dynatemp_exponent, "how it goes with the entropy"),
      whole({"--top-k"}, "K", s.top_k, "draw from the K most probable tokens; 0 or less: all"),
      real({"--top-p"}, "P", s.top_p,
           "draw from the fewest tokens that hold the probability P; 1 or more: off"),
      real({"--min-p"}, "P", s.min_p,
           "leave out tokens with less than P times the highest probability; 0 or less: off"),
      real({"--typical", "--typical-p"}, "P", s.typical_p,
           "draw from the tokens that hold the probability P and whose surprise is nearest to the entropy; 1 "
           "or "
           "more: off"),
      real({"--top-nsigma", "--top-n-sigma"}, "N", s.top_n_sigma,
           "leave out logits more than N standard deviations below the best; 0 or less: off"),
      real({"--xtc-probability"}, "P", s.xtc_probability,
           "the chance that all of the likely tokens but the last of them are left out; 0: off"),
      real({"--xtc-threshold"}, "P", s.xtc_threshold, "the probability from which on a token is likely"),
      whole({"--mirostat"}, "N", s.mirostat,
            "1 or 2: that version of Mirostat in place of all steps but the temperature; 0: off"),
      real({"--mirostat-ent"}, "TAU", s.mirostat_tau, "the surprise that Mirostat aims at, bits"),
      real({"--mirostat-lr"}, "ETA", s.mirostat_eta, "how fast it learns"),
  };
}

std::vector<Option> repetition_rows(SamplingOptions& s) {
  std::vector<std::string>& breakers = s.dry_sequence_breakers;
  std::vector<Option> rows = {
      real({"--repeat-penalty"}, "X", s.repeat_penalty, "make recent tokens less likely; 1: off"),
      whole({"--repeat-last-n"}, "N", s.repeat_last_n, "tokens the penalties look back at; 0: off, -1: all"),
      real({"--presence-penalty"}, "X", s.presence_penalty, "off the logit of a token that came"),
      real({"--frequency-penalty"}, "X", s.frequency_penalty, "off the logit for each time it came"),
      real({"--dry-multiplier"}, "X", s.dry_multiplier,
           "make what would go on with a repetition less likely, by X times the base to the power of its "
           "length; "
           "0: off"),
      real({"--dry-base"}, "X", s.dry_base, "that base"),
      whole({"--dry-allowed-length"}, "N", s.dry_allowed_length, "repetitions that are shorter cost nothing"),
      whole({"--dry-penalty-last-n"}, "N", s.dry_penalty_last_n, "tokens it looks back at; 0: off, -1: all"),
      {{"--dry-sequence-breaker"},
       "TEXT",
       "a repetition ends at this text; may be given several times, in place of the line break, ':', '\"' "
       "and '*'; "
       "none: nowhere",
       [&breakers, first = true](const std::string& text) mutable {
         if (text.empty()) throw UsageError("the text is empty");
         if (first) breakers.clear();
         first = false;
         if (text == "none")
           breakers.clear();
         else
           breakers.push_back(text);
       }},
      {{"-l", "--logit-bias"},
       "TOKEN(+/-)BIAS",
       "add to a token's logit: 15043+1.5, 15043-inf; may be given several times",
       [&s](const std::string& text) { s.logit_bias.push_back(parse_logit_bias(text)); }},
  };
  return rows;
}

}  // namespace

std::vector<Option> sampling_rows(SamplingOptions& options) {
  std::vector<Option> rows = step_rows(options);
  for (Option& row : repetition_rows(options)) rows.push_back(std::move(row));
  return rows;
}

std::pair<Token, float> parse_logit_bias(const std::string& text) {
  const std::size_t sign = text.find_first_of("+-");
  if (sign == std::string::npos || sign == 0)
    throw UsageError(concat("expected TOKEN+BIAS or TOKEN-BIAS, not '", text, "'"));
  const auto token =
      static_cast<Token>(parse_int(text.substr(0, sign), 0, std::numeric_limits<Token>::max()));
  const std::string bias = text.substr(sign);
  if (bias == "-inf") return {token, -std::numeric_limits<float>::infinity()};
  return {token, static_cast<float>(parse_number(bias, -1e30, 1e30))};
}

std::string sampling_line(const SamplingOptions& s) {
  if (s.temperature <= 0 && s.dynatemp_range <= 0) return "sampling: greedy";
  std::string line = concat("sampling: seed ", s.seed, ", temp ", s.temperature);
  const auto add = [&](bool on, const char* name, double value) {
    if (on) line += concat(", ", name, " ", value);
  };
  add(s.dynatemp_range > 0, "dynatemp range", s.dynatemp_range);
  if (s.mirostat != 0)
    return concat(line, ", mirostat ", s.mirostat, ", tau ", s.mirostat_tau, ", eta ", s.mirostat_eta);
  line += concat(", top-k ", s.top_k, ", top-p ", s.top_p, ", min-p ", s.min_p, ", repeat penalty ",
                 s.repeat_penalty);
  add(s.presence_penalty != 0, "presence penalty", s.presence_penalty);
  add(s.frequency_penalty != 0, "frequency penalty", s.frequency_penalty);
  add(s.typical_p < 1, "typical", s.typical_p);
  add(s.top_n_sigma > 0, "top-n-sigma", s.top_n_sigma);
  add(uses_xtc(s), "xtc", s.xtc_probability);
  add(uses_dry(s), "dry", s.dry_multiplier);
  if (s.samplers == default_samplers()) return line;
  std::string order;
  for (const SamplerStep step : s.samplers)
    order += concat(order.empty() ? "" : ";", sampler_step_name(step));
  return concat(line, ", samplers ", order);
}

}  // namespace spectralkv
