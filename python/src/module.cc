// The extension module spectralkv._core.
#include <stdexcept>

#include "bind.h"

namespace {

// The bindings count on the GIL (shared.h). A free-threaded interpreter turns it on before it imports a
// module that does not say that it can do without, unless it was told never to.
void require_gil() {
  namespace nb = nanobind;
  const nb::object asks = nb::getattr(nb::module_::import_("sys"), "_is_gil_enabled", nb::none());
  if (!asks.is_none() && !nb::cast<bool>(asks()))
    throw std::runtime_error(
        "spectralkv needs the GIL, which PYTHON_GIL=0 or -X gil=0 has turned off: start Python without");
}

}  // namespace

NB_MODULE(_core, m) {
  using namespace spectralkv::python;
  require_gil();
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
