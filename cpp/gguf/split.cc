// The keys and the file names of split models.
#include "gguf/split.h"

#include <array>
#include <cstdio>
#include <limits>
#include <string_view>

#include "gguf/name_index.h"

namespace spectralkv {
namespace {

constexpr std::int64_t kMaxParts = 65535;

std::optional<std::int64_t> part_int(const GgufPart& part, const std::string& path, std::string_view key,
                                     std::int64_t max) {
  const GgufEntry* const entry = find_by_name(part.metadata, part.key_index, &GgufEntry::key, key);
  if (entry == nullptr) return std::nullopt;
  std::int64_t value = -1;
  if (const auto* u = std::get_if<std::uint64_t>(&entry->value)) {
    check(*u <= static_cast<std::uint64_t>(max), "gguf", "'", path, "': ", key, " is ", *u,
          ", expected 0 to ", max);
    value = static_cast<std::int64_t>(*u);
  } else if (const auto* i = std::get_if<std::int64_t>(&entry->value)) {
    value = *i;
  } else {
    fail(ErrorKind::value, "gguf", "'", path, "': ", key, " has type ", entry->type_name,
         ", expected an integer");
  }
  check(value >= 0 && value <= max, "gguf", "'", path, "': ", key, " is ", value, ", expected 0 to ", max);
  return value;
}

std::string suffix_of(std::int64_t no, std::int64_t count) {
  std::array<char, 64> text;
  std::snprintf(text.data(), text.size(), "-%05lld-of-%05lld.gguf", static_cast<long long>(no + 1),
                static_cast<long long>(count));
  return text.data();
}

}  // namespace

SplitInfo split_info(const GgufPart& part, const std::string& path) {
  SplitInfo info;
  info.count = part_int(part, path, "split.count", kMaxParts).value_or(1);
  if (info.count <= 1) return SplitInfo{};
  const auto no = part_int(part, path, "split.no", kMaxParts);
  check(no.has_value(), "gguf", "'", path, "': split.count is ", info.count, " but split.no is missing");
  check(*no < info.count, "gguf", "'", path, "': split.no is ", *no, ", expected less than split.count, ",
        info.count);
  info.no = *no;
  info.n_tensors = part_int(part, path, "split.tensors.count", std::numeric_limits<std::int64_t>::max());
  return info;
}

std::string split_path(const std::string& path, const SplitInfo& info, std::int64_t no) {
  const std::string own = suffix_of(info.no, info.count);
  const bool named = path.size() > own.size() && path.ends_with(own);
  check(named, "gguf", "'", path, "': is part ", info.no + 1, " of ", info.count,
        " and cannot find its siblings: expected a name that ends in '", own, "'");
  return path.substr(0, path.size() - own.size()) + suffix_of(no, info.count);
}

}  // namespace spectralkv
