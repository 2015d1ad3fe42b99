// Weights of one type written as another, checked and measured: what convert and quantize call.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include "base/threads.h"
#include "bind.h"
#include "shared.h"
#include "tensor/requantize.h"

namespace spectralkv::python {
namespace {

using Bytes = nb::ndarray<const std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

DType type_named(const std::string& name) {
  for (const DTypeInfo& info : all_dtypes())
    if (info.name == name) return info.type;
  std::string names;
  for (const DTypeInfo& info : all_dtypes()) names.append(names.empty() ? "" : ", ").append(info.name);
  fail(ErrorKind::value, "tensor", "unknown weight type '", name, "', there are ", names);
}

WeightView view_of(const Bytes& data, const std::string& type, std::int64_t cols, const std::string& name) {
  const DTypeInfo& info = dtype_info(type_named(type));
  check(cols >= 1 && cols % info.block_values == 0, "tensor", "tensor '", name, "': rows of ", cols,
        " values are no multiple of ", type, "'s block of ", info.block_values);
  const auto bytes = static_cast<std::int64_t>(data.shape(0)), row = info.row_bytes(cols);
  check(bytes % row == 0, "tensor", "tensor '", name, "': ", bytes, " bytes are no multiple of a row's ",
        row);
  return {info.type, reinterpret_cast<const std::byte*>(data.data()), bytes / row, cols, name};
}

nb::ndarray<nb::numpy, std::uint8_t> requantized(const Bytes& data, const std::string& from,
                                                 const std::string& to, std::int64_t cols,
                                                 const std::string& name, int n_threads,
                                                 const std::optional<Floats>& importance) {
  const WeightView view = view_of(data, from, cols, name);
  const DType target = type_named(to);
  const auto bytes = static_cast<std::size_t>(requantized_bytes(view, target));
  auto out = std::make_unique_for_overwrite<std::uint8_t[]>(bytes);
  const std::span<const float> weights =
      importance ? std::span<const float>(importance->data(), importance->shape(0))
                 : std::span<const float>();
  {
    nb::gil_scoped_release released;
    ThreadPool pool(n_threads);
    requantize(view, target, {reinterpret_cast<std::byte*>(out.get()), bytes}, pool, weights);
  }
  return to_array(std::move(out), {bytes});
}

}  // namespace

void bind_weights(nb::module_& m) {
  m.def(
      "weight_types",
      [] {
        nb::dict out;
        for (const DTypeInfo& info : all_dtypes())
          out[to_str(info.name)] = nb::make_tuple(info.gguf_id, info.block_values, info.block_bytes);
        return out;
      },
      "Every weight type: {name: (GGUF's id, values in a block, bytes of a block)}.",
      nb::sig("def weight_types() -> dict[str, tuple[int, int, int]]"));
  m.def(
      "weight_type_choices",
      [] {
        nb::dict out;
        for (const DTypeInfo& info : all_dtypes())
          out[to_str(info.name)] = nb::make_tuple(info.file_type, to_str(dtype_info(info.in_its_place).name));
        return out;
      },
      "Every weight type: {name: (general.file_type of a file that is mostly of it, the type that takes its "
      "place where "
      "its block does not divide a row)}.",
      nb::sig("def weight_type_choices() -> dict[str, tuple[int, str]]"));
  m.def(
      "read_only_weight_types",
      [] {
        nb::list out;
        for (const DTypeInfo& info : all_dtypes())
          if (info.read_only) out.append(to_str(info.name));
        return nb::tuple(out);
      },
      "The weight types that are read and not written.",
      nb::sig("def read_only_weight_types() -> tuple[str, ...]"));
  m.def(
      "requantize", requantized, nb::arg("data"), nb::arg("from_type"), nb::arg("to_type"), nb::arg("cols"),
      nb::arg("name") = "", nb::arg("n_threads") = 0, nb::arg("importance") = nb::none(),
      "uint8 [bytes]: rows of `cols` weights in from_type, as bytes, written in to_type. n_threads 0: one a "
      "core;\nthe result does not depend on it. importance: how much errors of each column count, [n * "
      "cols] for n matrices\nbehind each other. ValueError with the tensor's name for a row length that does "
      "not fit, for values that are\nnot finite or too large for the type, and for a type that is only read.",
      nb::sig("def requantize(data: numpy.typing.NDArray[numpy.uint8], from_type: str, to_type: str, cols: "
              "int, name: str "
              "= '', n_threads: int = 0, importance: numpy.typing.NDArray[numpy.float32] | None = None) -> "
              "numpy.typing.NDArray[numpy.uint8]"));
  m.def(
      "check_finite",
      [](const Bytes& data, const std::string& type, std::int64_t cols, const std::string& name,
         int n_threads) {
        const WeightView view = view_of(data, type, cols, name);
        nb::gil_scoped_release released;
        ThreadPool pool(n_threads);
        check_finite(view, pool);
      },
      nb::arg("data"), nb::arg("type_name"), nb::arg("cols"), nb::arg("name") = "", nb::arg("n_threads") = 0,
      "Raises ValueError, with the tensor's name and the place, when a weight is NaN or infinite.",
      nb::sig("def check_finite(data: numpy.typing.NDArray[numpy.uint8], type_name: str, cols: int, name: "
              "str = '', "
              "n_threads: int = 0) -> None"));
  m.def(
      "distortion",
      [](const Bytes& a, const std::string& type_a, const Bytes& b, const std::string& type_b,
         std::int64_t cols, int n_threads) {
        const WeightView x = view_of(a, type_a, cols, "a"), y = view_of(b, type_b, cols, "b");
        Distortion result;
        {
          nb::gil_scoped_release released;
          ThreadPool pool(n_threads);
          result = distortion(x, y, pool);
        }
        return nb::make_tuple(result.signal, result.error);
      },
      nb::arg("a"), nb::arg("type_a"), nb::arg("b"), nb::arg("type_b"), nb::arg("cols"),
      nb::arg("n_threads") = 0,
      "(mean square of a's weights, mean squared difference of b's): two tensors of the same shape, as "
      "bytes.",
      nb::sig("def distortion(a: numpy.typing.NDArray[numpy.uint8], type_a: str, b: "
              "numpy.typing.NDArray[numpy.uint8], "
              "type_b: str, cols: int, n_threads: int = 0) -> tuple[float, float]"));
}

}  // namespace spectralkv::python
