// One layer's keys and values of a batch of sequences in codecs, for a runtime outside of this core.
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include "bind.h"
#include "kv/layer_batch.h"
#include "shared.h"

namespace spectralkv::python {
namespace {

using InputRows = nb::ndarray<const float, nb::ndim<4>, nb::device::cpu>;
using Rows = nb::ndarray<nb::numpy, float, nb::ndim<4>>;

// Threads that several layers share; they work for one at a time.
struct Workers {
  ThreadPool pool;
  std::mutex mutex;
  explicit Workers(int n_threads) : pool(n_threads) {}
};

struct SharedLayer {
  nb::object keep;  // the Python object of `workers`
  Workers& workers;
  std::unique_ptr<LayerBatch> batch;

  template <class Work>
  auto exclusively(const Work& work) {
    nb::gil_scoped_release released;
    std::lock_guard lock(workers.mutex);
    return work(*batch);
  }
};

// How a model's caches are stored with a calibration, layers together.
struct CalibratedFormat {
  std::shared_ptr<const CacheFormat> format;
};

void make_format(CalibratedFormat* self, nb::handle path, const std::string& type_k,
                 const std::string& type_v) {
  const std::string name = to_path(path);
  nb::gil_scoped_release released;
  auto calibration = std::make_shared<const Calibration>(Calibration::load(name));
  const CacheShape shape = calibration->shape();
  new (self) CalibratedFormat{std::make_shared<const CacheFormat>(
      shape, type_k, type_v, CacheLayout::kNowhere, std::move(calibration))};
}

void make_workers(Workers* self, int n_threads) {
  check(n_threads >= 0 && n_threads <= 1024, "python", "n_threads must be 0 to 1024, got ", n_threads);
  new (self) Workers(n_threads);
}

void make_layer(SharedLayer* self, const nb::object& keep, std::int64_t layer, std::int64_t n_layers,
                std::int64_t n_sequences, std::int64_t n_kv_heads, std::int64_t head_dim,
                const std::string& type_k, const std::string& type_v,
                const std::vector<std::int64_t>& padding, const CalibratedFormat* calibrated) {
  auto& workers = nb::cast<Workers&>(keep);
  const LayerBatch::Shape shape{layer, n_layers, n_sequences, n_kv_heads, head_dim};
  std::unique_ptr<LayerBatch> batch;
  {
    nb::gil_scoped_release released;
    batch = calibrated != nullptr
                ? std::make_unique<LayerBatch>(shape, calibrated->format, padding, workers.pool)
                : std::make_unique<LayerBatch>(shape, type_k, type_v, padding, workers.pool);
  }
  new (self) SharedLayer{keep, workers, std::move(batch)};
}

BatchRows view(const InputRows& x, const LayerBatch::Shape& shape, const char* what) {
  check(x.shape(0) == static_cast<std::size_t>(shape.n_sequences) &&
            x.shape(1) == static_cast<std::size_t>(shape.n_kv_heads) &&
            x.shape(3) == static_cast<std::size_t>(shape.head_dim),
        "kv", "layer ", shape.layer, ": the ", what, " are [", x.shape(0), ", ", x.shape(1), ", ", x.shape(2),
        ", ", x.shape(3), "], expected [", shape.n_sequences, ", ", shape.n_kv_heads, ", n, ", shape.head_dim,
        "]");
  return {
      x.data(), static_cast<std::int64_t>(x.shape(2)), {x.stride(0), x.stride(1), x.stride(2), x.stride(3)}};
}

// Calls fill(batch, k, v) without the GIL on two new arrays [n_sequences, n_kv_heads, total, head_dim], total
// = the positions that the batch has when its turn comes, and `more`.
template <class Fill>
nb::tuple dense(SharedLayer& self, std::int64_t more, const Fill& fill) {
  const LayerBatch::Shape& shape = self.batch->shape();
  const auto sequences = static_cast<std::size_t>(shape.n_sequences),
             heads = static_cast<std::size_t>(shape.n_kv_heads), d = static_cast<std::size_t>(shape.head_dim);
  std::size_t total = 0;
  std::unique_ptr<float[]> k, v;
  self.exclusively([&](LayerBatch& batch) {
    total = static_cast<std::size_t>(batch.n_positions() + more);
    k = std::make_unique_for_overwrite<float[]>(sequences * heads * total * d);
    v = std::make_unique_for_overwrite<float[]>(sequences * heads * total * d);
    fill(batch, k.get(), v.get());
  });
  const std::initializer_list<std::size_t> sizes{sequences, heads, total, d};
  return nb::make_tuple(Rows(to_array(std::move(k), sizes)), Rows(to_array(std::move(v), sizes)));
}

nb::tuple extend(SharedLayer& self, const InputRows& k, const InputRows& v) {
  const LayerBatch::Shape& shape = self.batch->shape();
  const BatchRows k_rows = view(k, shape, "keys"), v_rows = view(v, shape, "values");
  check(k_rows.n == v_rows.n, "kv", "layer ", shape.layer, ": keys of ", k_rows.n, " positions, values of ",
        v_rows.n);
  return dense(self, k_rows.n, [&](LayerBatch& batch, float* k_out, float* v_out) {
    batch.extend(k_rows, v_rows, k_out, v_out);
  });
}

nb::tuple read(SharedLayer& self) {
  return dense(self, 0, [](LayerBatch& batch, float* k_out, float* v_out) { batch.read(k_out, v_out); });
}

nb::list reports(SharedLayer& self) {
  nb::list all;
  for (const CacheReport& report : self.exclusively([](LayerBatch& batch) { return batch.reports(); }))
    all.append(report_dict(report));
  return all;
}

}  // namespace

void bind_layer_batch(nb::module_& m) {
  nb::class_<Workers>(m, "Workers",
                      "Threads that the layers of one cache share. n_threads 0: one for each core of the "
                      "process. ValueError for\n"
                      "a number outside 0 to 1024.")
      .def("__init__", make_workers, nb::arg("n_threads") = 0)
      .def_prop_ro(
          "n_threads", [](const Workers& self) { return self.pool.size(); }, "How many.");

  nb::class_<CalibratedFormat>(
      m, "CalibratedFormat",
      "How keys and values of all layers of a model are stored with its calibration, a file of `spectralkv\n"
      "calibrate`. OSError and ValueError name what is wrong with the file or the specs.")
      .def("__init__", make_format, nb::arg("calibration"), nb::kw_only(), nb::arg("type_k") = "default",
           nb::arg("type_v") = "default",
           nb::sig("def __init__(self, calibration: str | bytes | os.PathLike[str] | os.PathLike[bytes], *, "
                   "type_k: str = 'default', type_v: str = 'default') -> None"))
      .def_prop_ro(
          "shape",
          [](const CalibratedFormat& self) {
            const CacheShape& shape = self.format->shape();
            return nb::make_tuple(shape.n_layers, shape.n_kv_heads, shape.head_dim);
          },
          nb::sig("def shape(self) -> tuple[int, int, int]"), "Layers, KV heads and head dim of the model.");

  nb::class_<SharedLayer>(
      m, "LayerBatch",
      "Keys and values of one layer for a batch of sequences, in codecs; for a runtime that computes\n"
      "attention itself. layer of n_layers: cache specs may mean some layers only. padding: so many "
      "positions "
      "in\n"
      "front of each sequence hold no token ([n_sequences], empty for none); blocks, sinks and window count "
      "from\n"
      "the first token. calibrated: in place of the types, and of a model of this shape. ValueError for "
      "specs "
      "that\n"
      "are wrong or do not take head_dim.")
      .def("__init__", make_layer, nb::arg("workers"), nb::kw_only(), nb::arg("layer"), nb::arg("n_layers"),
           nb::arg("n_sequences"), nb::arg("n_kv_heads"), nb::arg("head_dim"), nb::arg("type_k") = "default",
           nb::arg("type_v") = "default", nb::arg("padding") = std::vector<std::int64_t>(),
           nb::arg("calibrated").none() = nb::none(),
           nb::sig("def __init__(self, workers: Workers, *, layer: int, n_layers: int, n_sequences: int, "
                   "n_kv_heads: int, head_dim: int, type_k: str = 'default', type_v: str = 'default', "
                   "padding: collections.abc.Sequence[int] = [], calibrated: CalibratedFormat | None = None) "
                   "-> None"))
      .def("extend", extend, nb::arg("k"), nb::arg("v"),
           nb::sig("def extend(self, k: numpy.typing.NDArray[numpy.float32], v: "
                   "numpy.typing.NDArray[numpy.float32]) "
                   "-> tuple[numpy.typing.NDArray[numpy.float32], numpy.typing.NDArray[numpy.float32]]"),
           "Takes the next n positions, float32 [n_sequences, n_kv_heads, n, head_dim] in any memory order. "
           "Gives K and V\n"
           "[n_sequences, n_kv_heads, n_positions, head_dim]: what the first of the new positions reads of "
           "those before it\n"
           "(cpp/kv/VOCABULARY.md), and the new ones as stored exactly (f16 or f32); padding is 0. "
           "ValueError, "
           "with nothing\n"
           "changed, for other shapes and for a value that is not finite or beyond f16.")
      .def(
          "read", read,
          nb::sig("def read(self) -> tuple[numpy.typing.NDArray[numpy.float32], "
                  "numpy.typing.NDArray[numpy.float32]]"),
          "K and V of all positions as the one that comes next reads them, float32 [n_sequences, n_kv_heads, "
          "n_positions,\n"
          "head_dim].")
      .def(
          "nearest_below",
          [](SharedLayer& self, std::int64_t n) {
            check(n >= 0 && n <= self.batch->n_positions(), "kv", n, " is not within 0 to ",
                  self.batch->n_positions(), " positions");
            return self.exclusively([&](LayerBatch& batch) { return batch.nearest_below(n); });
          },
          nb::arg("n"), "The largest length up to n that truncate takes. ValueError for n out of range.")
      .def(
          "truncate",
          [](SharedLayer& self, std::int64_t n) {
            self.exclusively([&](LayerBatch& batch) { batch.truncate(n); });
          },
          nb::arg("n"), "Keeps the first n positions. ValueError where the codecs cannot go back to n.")
      .def(
          "reset", [](SharedLayer& self) { self.exclusively([](LayerBatch& batch) { batch.reset(); }); },
          "Forgets all positions.")
      .def(
          "select",
          [](SharedLayer& self, const std::vector<std::int64_t>& indices) {
            check(!indices.empty(), "kv", "a batch needs at least one sequence");
            auto chosen = self.exclusively([&](LayerBatch& batch) { return batch.select(indices); });
            return std::make_unique<SharedLayer>(SharedLayer{self.keep, self.workers, std::move(chosen)});
          },
          nb::arg("indices"), "A batch of copies of these sequences. ValueError for an index out of range.")
      .def_prop_ro(
          "n_positions", [](const SharedLayer& self) { return self.batch->n_positions(); },
          "Positions so far, padding included.")
      .def_prop_ro(
          "n_sequences", [](const SharedLayer& self) { return self.batch->shape().n_sequences; },
          "Sequences in the batch.")
      .def_prop_ro(
          "layout",
          [](const SharedLayer& self) {
            const CacheLayout& layout = self.batch->layout();
            return nb::make_tuple(layout.block, layout.sink, layout.window);
          },
          nb::sig("def layout(self) -> tuple[int, int, int]"), "Tokens of block, sink and window.")
      .def(
          "sealed_for",
          [](const SharedLayer& self, std::int64_t position) {
            return self.batch->layout().sealed_for(position);
          },
          nb::arg("position"),
          "Blocks that a query at this position reads as sealed, counted from the sequence's first token.")
      .def("reports", reports, nb::sig("def reports(self) -> list[dict[str, typing.Any]]"),
           "What each sequence holds, as Session.cache_report gives it.");
}

}  // namespace spectralkv::python
