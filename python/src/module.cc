// The extension module spectralkv._core.
#include "bind.h"

NB_MODULE(_core, m) {
  using namespace spectralkv::python;
  m.doc() =
      "The C++ core of spectralkv. Errors of users, files and arguments arrive as ValueError, "
      "FileNotFoundError,\n"
      "MemoryError, OSError or KeyboardInterrupt, with the part of the program that complains in brackets.";
  m.attr("version") = SPECTRALKV_VERSION;
  bind_errors(m);
  bind_gguf(m);
  bind_weights(m);
  bind_tokenizer(m);
  bind_engine(m);
  bind_sampler(m);
  bind_generate(m);
  bind_scheduler(m);
  bind_spectral(m);
  bind_quant(m);
  bind_layer_batch(m);
  bind_cli(m);
}
