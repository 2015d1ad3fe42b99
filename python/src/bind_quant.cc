// Codebooks, rotations and the vector quantisers of TurboQuant.
#include <nanobind/stl/string.h>

#include "base/buffer.h"
#include "bind.h"
#include "quant/lloyd_max.h"
#include "quant/rotation.h"
#include "quant/turboquant.h"
#include "shared.h"

namespace spectralkv::python {
namespace {

using InputMatrix = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

ConstMatrix view(const InputMatrix& x) {
  return {x.data(), static_cast<std::int64_t>(x.shape(0)), static_cast<std::int64_t>(x.shape(1))};
}

nb::tuple lloyd_max(int dim, int bits) {
  const Codebook codebook = dim == 0 ? gaussian_codebook(bits) : unit_vector_codebook(dim, bits);
  return nb::make_tuple(to_array(std::span<const float>(codebook.levels)), codebook.distortion);
}

Array2 rotation(const std::string& kind, int dim, std::uint64_t seed) {
  const auto d = static_cast<std::size_t>(std::max(dim, 0));
  std::unique_ptr<float[]> copy;
  {
    nb::gil_scoped_release released;
    const Buffer<float> matrix = Rotation(rotation_kind_from_name(kind), dim, seed).matrix();
    copy = std::make_unique_for_overwrite<float[]>(d * d);
    std::copy_n(matrix.data(), d * d, copy.get());
  }
  return Array2(to_array(std::move(copy), {d, d}));
}

// Runs round_trip(in, out) without the GIL on a new array of the shape of x.
template <class RoundTrip>
Array2 round_trip(const InputMatrix& x, const RoundTrip& run) {
  auto out = std::make_unique_for_overwrite<float[]>(x.size());
  {
    nb::gil_scoped_release released;
    const ConstMatrix in = view(x);
    run(in, Matrix(out.get(), in.rows, in.cols));
  }
  return Array2(to_array(std::move(out), {x.shape(0), x.shape(1)}));
}

Array2 turboquant(const InputMatrix& x, int bits, const std::string& rotation_kind, std::uint64_t seed,
                  const std::string& scale) {
  return round_trip(x, [&](ConstMatrix in, Matrix out) {
    turboquant_round_trip(in, bits, rotation_kind_from_name(rotation_kind), seed, row_scale_from_name(scale),
                          out);
  });
}

Array2 turboquant_ip(const InputMatrix& x, int bits, const std::string& rotation_kind, std::uint64_t seed) {
  return round_trip(x, [&](ConstMatrix in, Matrix out) {
    turboquant_ip_round_trip(in, bits, rotation_kind_from_name(rotation_kind), seed, out);
  });
}

}  // namespace

void bind_quant(nb::module_& m) {
  m.def("lloyd_max", lloyd_max, nb::arg("d"), nb::arg("bits"),
        nb::sig("def lloyd_max(d: int, bits: int) -> tuple[numpy.typing.NDArray[numpy.float32], float]"),
        "The Lloyd-Max codebook for a coordinate of a random unit vector of d dimensions (d = 0: a standard "
        "normal number):\n"
        "levels, float32 [2^bits] ascending, and the distortion E|x - x_hat|^2 / E|x|^2 (arXiv 2504.19874). "
        "ValueError for\n"
        "d outside 3..65536 or bits outside 1..8.");
  m.def("rotation", rotation, nb::arg("kind"), nb::arg("d"), nb::arg("seed"),
        "An orthogonal matrix, float32 [d, d], y = Pi x. kind: \"haar\" or \"hadamard\" (signs, then "
        "Walsh-Hadamard; d a power\n"
        "of two). The same numbers on every machine. ValueError for a kind that d does not support.");
  m.def("turboquant", turboquant, nb::arg("x"), nb::arg("bits"), nb::arg("rotation") = "haar",
        nb::arg("seed") = 0, nb::arg("scale") = "norm",
        nb::sig("def turboquant(x: numpy.typing.NDArray[numpy.float32], bits: int, rotation: str = \"haar\", "
                "seed: int = "
                "0, scale: str = "
                "\"norm\") -> numpy.typing.NDArray[numpy.float32]"),
        "float32 [n, d] through TurboQuant's mean-square quantiser and back (arXiv 2504.19874). scale: "
        "\"norm\" as the paper,\n"
        "\"least_squares\", \"unbiased\" or \"length\". ValueError for NaN, infinity and arguments out of "
        "range.");
  m.def("turboquant_ip", turboquant_ip, nb::arg("x"), nb::arg("bits"), nb::arg("rotation") = "haar",
        nb::arg("seed") = 0,
        nb::sig("def turboquant_ip(x: numpy.typing.NDArray[numpy.float32], bits: int, rotation: str = "
                "\"haar\", seed: int "
                "= 0) -> "
                "numpy.typing.NDArray[numpy.float32]"),
        "float32 [n, d] through TurboQuant's inner-product quantiser and back: unbiased inner products, more "
        "variance\n"
        "(arXiv 2504.19874; for comparison only). ValueError as turboquant.");
}

}  // namespace spectralkv::python
