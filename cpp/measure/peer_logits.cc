// The rounding is llama.cpp's, so that its program reads of our file what it would have written.
#include "measure/peer_logits.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"

namespace spectralkv {
namespace {

constexpr char kMagic[] = "_logits_";
constexpr std::size_t kMagicBytes = 8, kHeadWords = 4;  // of a row's two floats
constexpr float kRange = 16, kSteps = 65535;

std::size_t row_words(std::int64_t n_vocab) {
  return static_cast<std::size_t>(2 * ((n_vocab + 1) / 2)) + kHeadWords;
}

}  // namespace

PeerLogitsWriter::PeerLogitsWriter(const std::string& path, const PeerLogitsShape& shape,
                                   std::span<const Token> tokens)
    : file_(path, "measure", FileAccess::owner), row_(row_words(shape.n_vocab)) {
  file_.write(std::as_bytes(std::span(kMagic, kMagicBytes)));
  for (const std::int64_t number : {shape.n_ctx, shape.n_vocab, shape.n_chunks}) {
    const auto value = static_cast<std::int32_t>(number);
    file_.write(std::as_bytes(std::span(&value, 1)));
  }
  file_.write(std::as_bytes(tokens));
}

void PeerLogitsWriter::add(ConstMatrix logits) {
  for (std::int64_t r = 0; r < logits.rows; ++r) {
    const std::span<const float> row(logits.row(r), static_cast<std::size_t>(logits.cols));
    const auto [lowest, highest] = std::minmax_element(row.begin(), row.end());
    const float best = *highest, least = std::max(*lowest, best - kRange);
    double sum = 0;
    for (const float logit : row) sum += std::exp(static_cast<double>(logit - best));
    const float head[2] = {(best - least) / kSteps, least - best - static_cast<float>(std::log(sum))};
    std::memcpy(row_.data(), head, sizeof head);
    const float steps = head[0] > 0 ? 1 / head[0] : 0;
    for (std::size_t t = 0; t < row.size(); ++t)
      row_[kHeadWords + t] = row[t] > least ? static_cast<std::uint16_t>(std::lrint(steps * (row[t] - least)))
                                            : std::uint16_t{0};
    file_.write(std::as_bytes(std::span(row_)));
  }
}

PeerLogitsReader::PeerLogitsReader(const std::string& path) : file_(path) {
  const auto bytes = file_.bytes();
  const auto require = [&](bool ok, const char* what) { check(ok, "measure", "'", path, "' ", what); };
  std::int32_t head[3];
  require(bytes.size() >= kMagicBytes + sizeof head && std::memcmp(bytes.data(), kMagic, kMagicBytes) == 0,
          "is no file of llama-perplexity's distributions");
  std::memcpy(head, bytes.data() + kMagicBytes, sizeof head);
  shape_ = {head[1], head[0], head[2]};
  require(shape_.n_ctx >= 2 && shape_.n_vocab >= 1 && shape_.n_chunks >= 1, "holds no positions");
  at_ = kMagicBytes + sizeof head;
  const auto n_tokens =
      static_cast<std::uint64_t>(shape_.n_ctx) * static_cast<std::uint64_t>(shape_.n_chunks);
  const std::uint64_t row_bytes = row_words(shape_.n_vocab) * sizeof(std::uint16_t);
  const auto n_rows =
      static_cast<std::uint64_t>(shape_.rows_of_chunk()) * static_cast<std::uint64_t>(shape_.n_chunks);
  // By division: the file's numbers may be anything.
  const std::uint64_t left = bytes.size() - at_;
  require(n_tokens <= left / sizeof(Token) && n_rows <= (left - n_tokens * sizeof(Token)) / row_bytes,
          "is cut off");
  tokens_.resize(n_tokens);
  std::memcpy(tokens_.data(), bytes.data() + at_, n_tokens * sizeof(Token));
  at_ += n_tokens * sizeof(Token);
}

ConstMatrix PeerLogitsReader::next(std::int64_t n) {
  const auto n_vocab = static_cast<std::size_t>(shape_.n_vocab);
  rows_.resize(static_cast<std::size_t>(n) * n_vocab);
  std::vector<std::uint16_t> row(row_words(shape_.n_vocab));
  for (std::size_t r = 0; r < static_cast<std::size_t>(n); ++r) {
    std::memcpy(row.data(), file_.bytes().data() + at_, row.size() * sizeof(std::uint16_t));
    at_ += row.size() * sizeof(std::uint16_t);
    float head[2];
    std::memcpy(head, row.data(), sizeof head);
    for (std::size_t t = 0; t < n_vocab; ++t)
      rows_[r * n_vocab + t] = head[1] + head[0] * static_cast<float>(row[kHeadWords + t]);
  }
  return {rows_.data(), n, shape_.n_vocab};
}

}  // namespace spectralkv
