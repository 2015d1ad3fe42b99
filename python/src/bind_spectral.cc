// eOptShrink of one block.
#include <nanobind/stl/string.h>

#include "bind.h"
#include "shared.h"
#include "spectral/eoptshrink.h"

namespace spectralkv::python {
namespace {

using InputMatrix = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

Array2 vectors(const std::vector<float>& all, int rank, std::size_t length) {
  auto copy = std::make_unique_for_overwrite<float[]>(all.size());
  std::copy(all.begin(), all.end(), copy.get());
  return Array2(to_array(std::move(copy), {static_cast<std::size_t>(rank), length}));
}

nb::dict run_eoptshrink(const InputMatrix& block, const std::string& loss) {
  const ConstMatrix view(block.data(), static_cast<std::int64_t>(block.shape(0)),
                         static_cast<std::int64_t>(block.shape(1)));
  check(view.rows >= 1 && view.cols >= 1, "spectral", "the block is empty: [", view.rows, ", ", view.cols,
        "]");
  EOptShrinkResult result;
  {
    nb::gil_scoped_release released;
    GramSolver workspace;
    result = eoptshrink(view, loss_from_name(loss), workspace);
  }
  nb::dict out;
  out["rank"] = result.rank;
  out["edge"] = result.edge;
  out["singular_values"] = to_array(std::span<const double>(result.singular_values));
  out["shrunken"] = to_array(std::span<const double>(result.shrunken));
  out["u"] = vectors(result.u, result.rank, block.shape(0));
  out["v"] = vectors(result.v, result.rank, block.shape(1));
  out["imputed"] = to_array(std::span<const double>(result.imputed));
  return out;
}

}  // namespace

void bind_spectral(nb::module_& m) {
  m.def("eoptshrink", run_eoptshrink, nb::arg("block"), nb::arg("loss") = "frobenius",
        nb::sig("def eoptshrink(block: numpy.typing.NDArray[numpy.float32], loss: str = \"frobenius\") -> "
                "dict[str, typing.Any]"),
        "eOptShrink of a block, float32 [n, d] (arXiv 2207.03466, rank rule of arXiv 2605.02905). loss: "
        "\"frobenius\",\n"
        "\"operator\", \"nuclear\" or \"truncate\". Gives rank, edge (squared singular value), "
        "singular_values [min(n, d)],\n"
        "shrunken [rank], u [rank, n], v [rank, d], imputed [min(n, d) - rank] (the noise, squared). "
        "ValueError for NaN,\n"
        "infinity, an empty block or an unknown loss.");
}

}  // namespace spectralkv::python
