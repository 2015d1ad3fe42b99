// The tensor table: names, shapes, types, and where each tensor's bytes lie.
#include <algorithm>
#include <cctype>
#include <limits>

#include "gguf/part.h"

namespace spectralkv {
namespace {

constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();

// ggml's type numbers that exist but that we do not read; an unknown number gives "an unknown type".
const char* unsupported_name(std::uint32_t id) {
  switch (id) {
    case 4:
      return "Q4_2";
    case 5:
      return "Q4_3";
    case 9:
      return "Q8_1";
    case 15:
      return "Q8_K";
    case 24:
      return "I8";
    case 25:
      return "I16";
    case 26:
      return "I32";
    case 27:
      return "I64";
    case 28:
      return "F64";
    case 31:
      return "Q4_0_4_4";
    case 32:
      return "Q4_0_4_8";
    case 33:
      return "Q4_0_8_8";
    case 36:
      return "IQ4_NL_4_4";
    case 37:
      return "IQ4_NL_4_8";
    case 38:
      return "IQ4_NL_8_8";
    case 40:
      return "NVFP4";
    case 41:
      return "Q1_0";
    default:
      return "an unknown type";
  }
}

std::string supported_names() {
  std::string names;
  for (const DTypeInfo& info : all_dtypes()) names += concat(names.empty() ? "" : ", ", info.name);
  return names;
}

// Of a type that we cannot read, the name to show.
std::string foreign_name(std::uint32_t id) {
  std::string name = unsupported_name(id);
  if (name.find(' ') != std::string::npos) return concat("unknown_", id);
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return name;
}

void read_dtype(Cursor& in, GgufTensor& tensor, Gguf::Types types) {
  const auto id = in.number<std::uint32_t>("the weight type");
  const auto type = dtype_from_gguf_id(id);
  if (type)
    tensor.type = *type;
  else if (types == Gguf::Types::any)
    tensor.foreign_type = foreign_name(id);
  else
    in.fault("gguf", "has weight type ", id, " (", unsupported_name(id),
             "), which is not supported; these are: ", supported_names());
}

std::string shape_of(const std::vector<std::int64_t>& dims) {
  std::string text = "[";
  for (const std::int64_t dim : dims) text += concat(text.size() > 1 ? ", " : "", dim);
  return text + "]";
}

void read_dims(Cursor& in, GgufTensor& tensor) {
  const auto n_dims = in.number<std::uint32_t>("the number of dimensions");
  if (n_dims < 1 || n_dims > 4) in.fault("gguf", "has ", n_dims, " dimensions, expected 1 to 4");
  for (std::uint32_t i = 0; i < n_dims; ++i) {
    const auto dim = in.number<std::uint64_t>("a dimension");
    if (dim < 1 || dim > static_cast<std::uint64_t>(kLargest))
      in.fault("gguf", "dimension ", i, " is ", dim, ", expected 1 to ", kLargest);
    tensor.dims.push_back(static_cast<std::int64_t>(dim));
  }
}

// Those of a type that we cannot read are known only once the tensors are placed.
void set_bytes(const Cursor& in, GgufTensor& tensor) {
  const DTypeInfo& info = dtype_info(tensor.type);
  const bool foreign = !tensor.foreign_type.empty();
  if (!foreign && tensor.dims[0] % info.block_values != 0)
    in.fault("gguf", "row length ", tensor.dims[0], " is not a multiple of ", info.name, "'s block of ",
             info.block_values);
  std::int64_t values = 1;
  bool overflow = false;
  for (const std::int64_t dim : tensor.dims)
    overflow = overflow || __builtin_mul_overflow(values, dim, &values);
  overflow = overflow || (!foreign && __builtin_mul_overflow(values / info.block_values, info.block_bytes,
                                                             &tensor.bytes));
  if (overflow)
    in.fault("gguf", "shape ", shape_of(tensor.dims), " of ", tensor.type_name(), " overflows 64 bits");
}

// Where a tensor's bytes begin, counted from the data section; `index` is its place in the table.
struct Extent {
  std::uint64_t offset;
  std::size_t index;
};

// Points every tensor at its bytes: offsets must be aligned, in the file, and tensors apart from each other.
void place(Cursor& in, std::vector<GgufTensor>& tensors, std::vector<Extent>& extents,
           std::uint64_t alignment) {
  const std::uint64_t data_begin = (in.position() + alignment - 1) / alignment * alignment;
  if (data_begin > in.size())
    in.fault("gguf", "the tensor data should start at byte ", data_begin, ", but the file has ", in.size());
  const std::uint64_t data_bytes = in.size() - data_begin;
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) {
    return a.offset != b.offset ? a.offset < b.offset : a.index < b.index;
  });
  const GgufTensor* before = nullptr;
  std::uint64_t free_from = 0;
  for (std::size_t i = 0; i < extents.size(); ++i) {
    const auto& [offset, index] = extents[i];
    GgufTensor& tensor = tensors[index];
    in.about("tensor", tensor.name);
    if (!tensor.foreign_type.empty() && offset <= data_bytes) {
      const std::uint64_t next = i + 1 < extents.size() ? extents[i + 1].offset : data_bytes;
      tensor.bytes = static_cast<std::int64_t>(std::min(next, data_bytes) - offset);
      const std::int64_t n = tensor.n_values(), least = n / 8 + (n % 8 != 0);  // no type has less than a bit
      if (tensor.bytes < least)
        in.fault("gguf", n, " values of ", tensor.foreign_type, " have ", tensor.bytes, " bytes");
    }
    const auto bytes = static_cast<std::uint64_t>(tensor.bytes);
    if (offset % alignment != 0)
      in.fault("gguf", "offset ", offset, " is not a multiple of the alignment ", alignment);
    if (offset > data_bytes || bytes > data_bytes - offset)
      in.fault("gguf", bytes, " bytes at offset ", offset, " do not fit in the file's data section of ",
               data_bytes, " bytes (from byte ", data_begin, ")",
               ": the file is cut short or damaged, fetch or copy it again");
    if (offset < free_from)
      in.fault("gguf", "starts at offset ", offset, ", inside tensor '", printable(before->name),
               "', which ends at ", free_from);
    free_from = offset + bytes;
    before = &tensor;
    tensor.data = in.at(data_begin + offset);
  }
}

}  // namespace

std::vector<GgufTensor> read_tensors(Cursor& in, std::uint64_t n_tensors, std::uint32_t alignment,
                                     Gguf::Types types) {
  // The least a tensor takes: a name of one byte (8 + 1), the number of dimensions (4), one dimension (8),
  // type (4), offset (8).
  in.need_items(n_tensors, 33, "tensors");
  in.spend(n_tensors *
           (sizeof(GgufTensor) + 4 * sizeof(std::int64_t) + sizeof(Extent) + sizeof(std::size_t)));
  std::vector<GgufTensor> tensors(static_cast<std::size_t>(n_tensors));
  std::vector<Extent> extents;
  extents.reserve(tensors.size());
  for (GgufTensor& tensor : tensors) {
    in.about(nullptr, {});
    const std::string_view name = in.name("tensor name");
    in.about("tensor", name);
    in.spend(name.size());
    tensor.name = name;
    read_dims(in, tensor);
    read_dtype(in, tensor, types);
    set_bytes(in, tensor);
    extents.push_back({in.number<std::uint64_t>("the data offset"), extents.size()});
  }
  in.about(nullptr, {});
  if (!tensors.empty()) place(in, tensors, extents, alignment);
  return tensors;
}

}  // namespace spectralkv
