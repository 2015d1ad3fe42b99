// The binding functions, one per concept and file; module.cc calls each once.
#pragma once

#include <nanobind/nanobind.h>

namespace spectralkv::python {

void bind_errors(nanobind::module_& m);
void bind_gguf(nanobind::module_& m);
void bind_weights(nanobind::module_& m);
void bind_tokenizer(nanobind::module_& m);
void bind_engine(nanobind::module_& m);
void bind_sampler(nanobind::module_& m);
void bind_generate(nanobind::module_& m);
void bind_scheduler(nanobind::module_& m);
void bind_spectral(nanobind::module_& m);
void bind_quant(nanobind::module_& m);
void bind_layer_batch(nanobind::module_& m);
void bind_cli(nanobind::module_& m);

}  // namespace spectralkv::python
