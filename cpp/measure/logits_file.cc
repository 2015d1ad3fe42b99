// The bytes of files of logits.
#include "measure/logits_file.h"

#include <cassert>
#include <utility>

namespace spectralkv {
namespace {

constexpr CheckedFormat kFormat{"SPKVLOGI", 1, "file of logits"};

}  // namespace

LogitsWriter::LogitsWriter(const std::string& path, const LogitsShape& shape, std::span<const Token> tokens)
    : shape_(shape), out_(path, kFormat) {
  out_.number(static_cast<std::uint32_t>(shape.n_vocab));
  for (const std::int64_t size : {shape.n_ctx, shape.n_chunks, shape.prefix})
    out_.number(static_cast<std::uint64_t>(size));
  out_.bytes(std::as_bytes(tokens));
  if (tokens.size() % 2 != 0) out_.number(Token{0});
}

void LogitsWriter::add(ConstMatrix logits) {
  assert(logits.cols == shape_.n_vocab);
  for (std::int64_t r = 0; r < logits.rows; ++r)
    out_.bytes(std::as_bytes(std::span(logits.row(r), static_cast<std::size_t>(logits.cols))));
  rows_ += logits.rows;
}

void LogitsWriter::commit() {
  assert(rows_ == shape_.rows());
  out_.commit();
}

LogitsReader::LogitsReader(const std::string& path, const LogitsShape& shape, std::span<const Token> tokens)
    : shape_(shape), in_(path, kFormat) {
  const auto n_vocab = in_.number<std::uint32_t>();
  in_.require(n_vocab == static_cast<std::uint64_t>(shape.n_vocab), "its vocabulary has ", n_vocab,
              " tokens, this model's has ", shape.n_vocab);
  for (const auto& [name, size] : {std::pair{"tokens of a chunk (-c)", shape.n_ctx},
                                   {"chunks (--chunks)", shape.n_chunks},
                                   {"tokens that are not scored (--prefix)", shape.prefix}}) {
    const auto held = in_.number<std::uint64_t>();
    in_.require(held == static_cast<std::uint64_t>(size), "it has ", held, " ", name, ", this run has ",
                size);
  }
  const auto held = in_.bytes(tokens.size_bytes());
  in_.require(std::memcmp(held.data(), tokens.data(), held.size()) == 0, "it was made of another text");
  if (tokens.size() % 2 != 0) in_.number<Token>();
  in_.require_left(static_cast<std::uint64_t>(shape.rows() * shape.n_vocab) * sizeof(float));
}

ConstMatrix LogitsReader::next(std::int64_t n) {
  const auto values = in_.bytes(static_cast<std::uint64_t>(n * shape_.n_vocab) * sizeof(float));
  return {reinterpret_cast<const float*>(values.data()), n, shape_.n_vocab};
}

}  // namespace spectralkv
