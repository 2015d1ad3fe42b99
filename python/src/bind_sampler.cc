// Sampling options, and a sampler for logits that the caller has.
#include "engine/sampler.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bind.h"
#include "shared.h"

namespace spectralkv::python {
namespace {

using Logits = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

std::span<const float> view(const Logits& logits) {
  return {logits.data(), logits.size()};
}

std::vector<SamplerStep> to_steps(const std::vector<std::string>& names) {
  std::vector<SamplerStep> steps;
  for (const std::string& name : names) steps.push_back(sampler_step(name));
  return steps;
}

std::vector<std::string> default_names() {
  std::vector<std::string> names;
  for (const SamplerStep step : default_samplers()) names.emplace_back(sampler_step_name(step));
  return names;
}

void make_sampling(SamplingOptions* self, double temperature, int top_k, double top_p, double min_p,
                   double repeat_penalty, int repeat_last_n, std::uint64_t seed,
                   std::vector<std::pair<Token, float>> logit_bias, double frequency_penalty,
                   double presence_penalty, double typical_p, double top_n_sigma, double xtc_probability,
                   double xtc_threshold, double dynatemp_range, double dynatemp_exponent,
                   double dry_multiplier, double dry_base, int dry_allowed_length, int dry_penalty_last_n,
                   std::vector<std::string> dry_sequence_breakers, int mirostat, double mirostat_tau,
                   double mirostat_eta, const std::vector<std::string>& samplers) {
  SamplingOptions o;
  o.temperature = temperature;
  o.top_k = top_k;
  o.top_p = top_p;
  o.min_p = min_p;
  o.repeat_penalty = repeat_penalty;
  o.repeat_last_n = repeat_last_n;
  o.seed = seed;
  o.logit_bias = std::move(logit_bias);
  o.frequency_penalty = frequency_penalty;
  o.presence_penalty = presence_penalty;
  o.typical_p = typical_p;
  o.top_n_sigma = top_n_sigma;
  o.xtc_probability = xtc_probability;
  o.xtc_threshold = xtc_threshold;
  o.dynatemp_range = dynatemp_range;
  o.dynatemp_exponent = dynatemp_exponent;
  o.dry_multiplier = dry_multiplier;
  o.dry_base = dry_base;
  o.dry_allowed_length = dry_allowed_length;
  o.dry_penalty_last_n = dry_penalty_last_n;
  o.dry_sequence_breakers = std::move(dry_sequence_breakers);
  o.mirostat = mirostat;
  o.mirostat_tau = mirostat_tau;
  o.mirostat_eta = mirostat_eta;
  o.samplers = to_steps(samplers);
  new (self) SamplingOptions(std::move(o));
}

}  // namespace

void bind_sampler(nb::module_& m) {
  const SamplingOptions d;
  nb::class_<SamplingOptions>(
      m, "SamplingOptions",
      "How a token is drawn; names, meaning and defaults are llama.cpp's. temperature <= 0: greedy; top_k <= "
      "0,\n"
      "top_p >= 1, min_p <= 0, typical_p >= 1, top_n_sigma <= 0, xtc_probability 0, dry_multiplier 0, "
      "mirostat "
      "0\n"
      "switch that filter off; repeat_last_n, dry_penalty_last_n: tokens those look back at, -1 for all; "
      "seed: "
      "64\n"
      "bits, the same numbers on every machine; logit_bias: (token, added to its logit) pairs; "
      "frequency_penalty,\n"
      "presence_penalty: off a logit for each time that those last tokens have its token, and once where "
      "they "
      "do;\n"
      "samplers: the steps by name, in their order.")
      .def("__init__", make_sampling, nb::kw_only(), nb::arg("temperature") = d.temperature,
           nb::arg("top_k") = d.top_k, nb::arg("top_p") = d.top_p, nb::arg("min_p") = d.min_p,
           nb::arg("repeat_penalty") = d.repeat_penalty, nb::arg("repeat_last_n") = d.repeat_last_n,
           nb::arg("seed") = d.seed, nb::arg("logit_bias") = d.logit_bias,
           nb::arg("frequency_penalty") = d.frequency_penalty,
           nb::arg("presence_penalty") = d.presence_penalty, nb::arg("typical_p") = d.typical_p,
           nb::arg("top_n_sigma") = d.top_n_sigma, nb::arg("xtc_probability") = d.xtc_probability,
           nb::arg("xtc_threshold") = d.xtc_threshold, nb::arg("dynatemp_range") = d.dynatemp_range,
           nb::arg("dynatemp_exponent") = d.dynatemp_exponent, nb::arg("dry_multiplier") = d.dry_multiplier,
           nb::arg("dry_base") = d.dry_base, nb::arg("dry_allowed_length") = d.dry_allowed_length,
           nb::arg("dry_penalty_last_n") = d.dry_penalty_last_n,
           nb::arg("dry_sequence_breakers") = d.dry_sequence_breakers, nb::arg("mirostat") = d.mirostat,
           nb::arg("mirostat_tau") = d.mirostat_tau, nb::arg("mirostat_eta") = d.mirostat_eta,
           nb::arg("samplers") = default_names())
      .def_ro("seed", &SamplingOptions::seed);

  nb::class_<Sampler>(m, "Sampler",
                      "Draws tokens of a vocabulary from logits. tokenizer: needed where DRY is on and has "
                      "sequence breakers.\n"
                      "ValueError for options that make no sense. Not for several threads at a time.")
      .def(
          "__init__",
          [](Sampler* self, const SamplingOptions& sampling, int n_vocab, const Tokenizer* tokenizer) {
            new (self) Sampler(sampling, n_vocab, tokenizer);
          },
          nb::arg("sampling"), nb::arg("n_vocab"), nb::arg("tokenizer").none() = nb::none())
      .def(
          "sample",
          [](Sampler& self, const Logits& logits, const std::vector<Token>& history) {
            return self.sample(view(logits), history);
          },
          nb::arg("logits"), nb::arg("history") = std::vector<Token>(),
          "A token, of float32 logits, one for each token of the vocabulary, behind the tokens `history`.")
      .def(
          "distribution",
          [](Sampler& self, const Logits& logits, const std::vector<Token>& history) {
            return self.distribution(view(logits), history);
          },
          nb::arg("logits"), nb::arg("history") = std::vector<Token>(),
          "What `sample` would draw from now: (token, probability) pairs, the most probable first.");
}

}  // namespace spectralkv::python
