// What a cache holds, as Python gets it.
#include <nanobind/stl/string.h>

#include "shared.h"

namespace spectralkv::python {
namespace {

nb::dict side_dict(const CacheSideReport& side) {
  nb::dict out;
  out["codec"] = side.codec;
  out["paper_bits"] = side.paper_bits;
  out["honest_bits"] = side.honest_bits;
  out["sealed_bytes"] = side.sealed_bytes;
  out["sealed_entries"] = side.sealed_entries;
  out["exact_bytes"] = side.exact_bytes;
  return out;
}

}  // namespace

nb::dict report_dict(const CacheReport& report) {
  nb::dict out;
  out["n_layers"] = report.n_layers;
  out["n_kv_heads"] = report.n_kv_heads;
  out["head_dim"] = report.head_dim;
  out["n_ctx"] = report.n_ctx;
  out["n_tokens"] = report.n_tokens;
  out["k"] = side_dict(report.k);
  out["v"] = side_dict(report.v);
  out["bytes"] = report.bytes();
  out["work_bytes"] = report.work_bytes;
  return out;
}

}  // namespace spectralkv::python
