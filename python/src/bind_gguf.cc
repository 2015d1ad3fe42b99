// What a GGUF file holds, as a dict; and rows of weights decoded to float32.
#include <nanobind/stl/string.h>

#include "bind.h"
#include "formats/formats.h"
#include "gguf/gguf.h"
#include "shared.h"
#include "tensor/dtype.h"

namespace spectralkv::python {
namespace {

struct ToPython {
  nb::object operator()(bool value) const { return nb::bool_(value); }
  nb::object operator()(std::int64_t value) const { return nb::int_(value); }
  nb::object operator()(std::uint64_t value) const { return nb::int_(value); }
  nb::object operator()(double value) const { return nb::float_(value); }
  nb::object operator()(const std::string& value) const { return to_str(value); }
  template <class T>
  nb::object operator()(const std::vector<T>& values) const {
    nb::list out;
    for (const auto& value : values) out.append((*this)(static_cast<const T&>(value)));
    return out;
  }
  nb::object operator()(const std::vector<bool>& values) const {
    nb::list out;
    for (const bool value : values) out.append(nb::bool_(value));
    return out;
  }
};

Gguf open_gguf(const std::string& path, bool any_type) {
  nb::gil_scoped_release released;
  return Gguf(path, any_type ? Gguf::Types::any : Gguf::Types::ours);
}

nb::dict gguf_info(nb::handle path, bool any_type) {
  const Gguf file = open_gguf(to_path(path), any_type);
  nb::dict metadata, types;
  for (const GgufEntry& entry : file.metadata()) {
    metadata[to_str(entry.key)] = std::visit(ToPython{}, entry.value);
    types[to_str(entry.key)] = to_str(entry.type_name);
  }
  nb::list tensors;
  for (const GgufTensor& tensor : file.tensors()) {
    nb::list shape;
    for (const std::int64_t dim : tensor.dims) shape.append(dim);
    nb::dict item;
    item["name"] = to_str(tensor.name);
    item["type"] = to_str(tensor.type_name());
    item["shape"] = nb::tuple(shape);
    item["bytes"] = tensor.bytes;
    item["file"] = tensor.file;
    item["offset"] = tensor.data - file.files()[static_cast<std::size_t>(tensor.file)].bytes().data();
    tensors.append(item);
  }
  nb::list files;
  for (const MappedFile& part : file.files()) files.append(to_str(part.path()));
  nb::dict out;
  out["version"] = file.version();
  out["alignment"] = file.alignment();
  out["files"] = files;
  out["metadata"] = metadata;
  out["metadata_types"] = types;
  out["tensors"] = tensors;
  return out;
}

Array1 decode_rows(const std::string& type_name,
                   nb::ndarray<const std::uint8_t, nb::ndim<1>, nb::c_contig> data, std::int64_t n_values) {
  const DTypeInfo* info = nullptr;
  for (const DTypeInfo& candidate : all_dtypes())
    if (candidate.name == type_name) info = &candidate;
  check(info != nullptr, "formats", "unknown weight type '", type_name, "'");
  check(n_values >= 0 && n_values % info->block_values == 0, "formats", "n_values is ", n_values,
        ", not a multiple of the block of ", type_name, ", ", info->block_values);
  const auto bytes = static_cast<std::int64_t>(data.shape(0));
  check(n_values / info->block_values == bytes / info->block_bytes && bytes % info->block_bytes == 0,
        "formats", n_values, " values of ", type_name, " take ", info->row_bytes(n_values),
        " bytes, the array holds ", bytes);
  auto out = std::make_unique_for_overwrite<float[]>(static_cast<std::size_t>(n_values));
  {
    nb::gil_scoped_release released;
    if (n_values > 0) kDecode[static_cast<int>(info->type)](data.data(), out.get(), n_values);
  }
  return Array1(to_array(std::move(out), {static_cast<std::size_t>(n_values)}));
}

GgufEntry to_entry(const std::string& key, nb::handle value) {
  if (PyBool_Check(value.ptr())) return {key, "bool", value.is(Py_True)};
  if (PyLong_Check(value.ptr())) return {key, "i64", nb::cast<std::int64_t>(value)};
  if (PyFloat_Check(value.ptr())) return {key, "f64", nb::cast<double>(value)};
  return {key, "str", from_str(value, "a value of metadata")};
}

}  // namespace

std::vector<GgufEntry> to_overrides(nb::handle pairs) {
  std::vector<GgufEntry> entries;
  for (const nb::handle pair : pairs) entries.push_back(to_entry(from_str(pair[0], "a key"), pair[1]));
  return entries;
}

void bind_gguf(nb::module_& m) {
  m.def(
      "gguf_info", gguf_info, nb::arg("path"), nb::kw_only(), nb::arg("any_type") = false,
      "What a GGUF file holds: {version, alignment, files, metadata: {key: value}, metadata_types: {key: "
      "\"arr[str]\"},\n"
      "tensors: [{name, type, shape, bytes, file, offset}]}. shape is in ggml's order, row length first; "
      "file "
      "is an index into\n"
      "files, offset that of the first byte in it. Bytes that are no UTF-8 come as\n"
      "surrogate escapes. any_type: tensors of types that we cannot read are no error; their bytes reach to "
      "the next\n"
      "tensor. FileNotFoundError, OSError, or ValueError for a file that is damaged or not supported.",
      nb::sig("def gguf_info(path: str | bytes | os.PathLike[str] | os.PathLike[bytes], *, any_type: bool = "
              "False) -> dict[str, typing.Any]"));
  m.def("decode_rows", decode_rows, nb::arg("type_name"), nb::arg("data"), nb::arg("n_values"),
        "float32 [n_values] of uint8 [bytes] blocks of a GGUF weight type (\"q4_1\"). ValueError when the "
        "numbers do not "
        "fit together.");
}

}  // namespace spectralkv::python
