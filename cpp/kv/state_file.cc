// The bytes of state files: checksum, writing, checked reading.
#include "kv/state_file.h"

#include <bit>

namespace spectralkv {
namespace {

static_assert(std::endian::native == std::endian::little, "state files are written as they lie in memory");

constexpr std::uint64_t kMix = 0x9e3779b97f4a7c15ull;
constexpr std::size_t kTrailer = 16;
constexpr std::size_t kPending = 1 << 20;

std::uint64_t mix(std::uint64_t hash, const std::byte* word) {
  std::uint64_t w;
  std::memcpy(&w, word, sizeof w);
  hash = (hash ^ w) * kMix;
  return hash ^ (hash >> 32);
}

template <class T>
T number_at(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

}  // namespace

void StateHash::add(std::span<const std::byte> bytes) {
  const std::byte* at = bytes.data();
  std::size_t n = bytes.size();
  while (held_ > 0 && n > 0) {
    word_[held_++] = *at++;
    --n;
    if (held_ < word_.size()) continue;
    hash_ = mix(hash_, word_.data());
    held_ = 0;
  }
  for (; n >= word_.size(); n -= word_.size(), at += word_.size()) hash_ = mix(hash_, at);
  for (; n > 0; --n) word_[held_++] = *at++;
}

std::uint64_t StateHash::value() const {
  if (held_ == 0) return hash_;
  std::array<std::byte, 8> last{};
  std::memcpy(last.data(), word_.data(), held_);
  return mix(hash_, last.data());
}

StateWriter::StateWriter(const std::string& path, const CheckedFormat& format)
    : file_(path, "kv", FileAccess::owner) {
  bytes(std::as_bytes(std::span(format.magic)));
  number(format.version);
}

void StateWriter::bytes(std::span<const std::byte> data) {
  total_ += data.size();
  while (!data.empty()) {
    const std::size_t n = std::min(data.size(), kPending - pending_.size());
    pending_.append(reinterpret_cast<const char*>(data.data()), n);
    data = data.subspan(n);
    if (pending_.size() == kPending) flush();
  }
}

void StateWriter::text(std::string_view text) {
  number(static_cast<std::uint32_t>(text.size()));
  bytes(std::as_bytes(std::span(text)));
}

void StateWriter::flush() {
  const auto data = std::as_bytes(std::span(pending_));
  hash_.add(data);
  file_.write(data);
  pending_.clear();
}

void StateWriter::commit() {
  number(total_ + kTrailer);
  flush();
  number(hash_.value());
  flush();
  file_.commit();
}

StateReader::StateReader(const std::string& path, const CheckedFormat& format)
    : file_(path), name_(format.name), rest_(file_.bytes()) {
  const std::span<const std::byte> all = rest_;
  const std::size_t head = format.magic.size() + sizeof format.version;
  require(all.size() >= format.magic.size() &&
              std::memcmp(all.data(), format.magic.data(), format.magic.size()) == 0,
          "it is no ", name_, " of spectralkv");
  require(all.size() >= head + kTrailer, "it is cut off");
  const auto version = number_at<std::uint32_t>(all.data() + format.magic.size());
  require(version == format.version, "it has version ", version, "; this program reads version ",
          format.version);
  const std::byte* trailer = all.data() + all.size() - kTrailer;
  require(number_at<std::uint64_t>(trailer) == all.size(), "it is cut off or damaged: its length is wrong");
  StateHash hash;
  hash.add(all.first(all.size() - 8));
  require(number_at<std::uint64_t>(trailer + 8) == hash.value(), "it is damaged: its checksum is wrong");
  rest_ = all.subspan(head, all.size() - head - kTrailer);
}

std::span<const std::byte> StateReader::bytes(std::uint64_t n) {
  require(n <= rest_.size(), "it ends too early");
  const auto result = rest_.first(static_cast<std::size_t>(n));
  rest_ = rest_.subspan(static_cast<std::size_t>(n));
  return result;
}

std::string_view StateReader::text() {
  const auto data = bytes(number<std::uint32_t>());
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

void StateReader::require_left(std::uint64_t n) {
  require(rest_.size() >= n, "it ends too early");
  require(rest_.size() == n, "it holds ", rest_.size() - n, " bytes too many");
}

void StateReader::refuse(const std::string& reason) const {
  fail(ErrorKind::value, "kv", name_, " '", file_.path(), "' is refused: ", reason);
}

}  // namespace spectralkv
