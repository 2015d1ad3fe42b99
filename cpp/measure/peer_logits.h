// llama-perplexity's file of a model's distributions over a text (its --kl-divergence-base), read and
// written.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "base/mapped_file.h"
#include "engine/vocab.h"
#include "tensor/matrix.h"

namespace spectralkv {

// The file, little-endian:
//
//   magic     8 bytes "_logits_"
//   shape     i32 n_ctx, n_vocab, n_chunks
//   tokens    i32 [n_chunks * n_ctx], as the text has them
//   rows      of each chunk those of the positions n_ctx / 2 to n_ctx - 2: f32 scale, f32 least, the
//   logarithm of the
//             least probability, then u16 [n_vocab], a padding u16 behind an odd number: token t has the
//             logarithm least + scale * u16[t]. Logits more than 16 below the best are lifted to there.
struct PeerLogitsShape {
  std::int64_t n_vocab = 0, n_ctx = 0, n_chunks = 0;

  std::int64_t first() const { return n_ctx / 2; }
  std::int64_t rows_of_chunk() const { return n_ctx - 1 - first(); }
};

class PeerLogitsWriter {
 public:
  // tokens: of all chunks. An os error when the file cannot be written.
  PeerLogitsWriter(const std::string& path, const PeerLogitsShape& shape, std::span<const Token> tokens);
  void add(ConstMatrix logits);  // of the next positions, [n, n_vocab]
  void commit() { file_.commit(); }

 private:
  AtomicFile file_;
  std::vector<std::uint16_t> row_;
};

class PeerLogitsReader {
 public:
  // A file that is none, or cut off, is a value error that says so.
  explicit PeerLogitsReader(const std::string& path);

  const PeerLogitsShape& shape() const { return shape_; }
  const std::vector<Token>& tokens() const { return tokens_; }  // of all chunks
  // Logarithms of the probabilities of the next n positions, [n, n_vocab]; good until the next call.
  ConstMatrix next(std::int64_t n);

 private:
  MappedFile file_;
  PeerLogitsShape shape_;
  std::vector<Token> tokens_;
  std::size_t at_ = 0;  // bytes
  std::vector<float> rows_;
};

}  // namespace spectralkv
