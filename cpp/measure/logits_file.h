// A file of a model's logits over a text, so that other runs can be compared with it.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "engine/vocab.h"
#include "kv/state_file.h"
#include "tensor/matrix.h"

namespace spectralkv {

// What was read, and which positions have logits: those from `prefix` on of each chunk of n_ctx tokens.
struct LogitsShape {
  std::int64_t n_vocab = 0, n_ctx = 0, n_chunks = 0, prefix = 0;

  std::int64_t rows() const { return n_chunks * (n_ctx - prefix); }
};

// Written as state files are (kv/state_file.h): whole or not at all, with length and checksum.
//
//   magic      8 bytes "SPKVLOGI"; u32 version, 1
//   shape      u32 n_vocab; u64 n_ctx, n_chunks, prefix
//   tokens     i32 [n_chunks * n_ctx]; a zero i32 behind an odd number of them
//   logits     f32 [n_chunks * (n_ctx - prefix), n_vocab]
class LogitsWriter {
 public:
  // tokens: of all chunks.
  LogitsWriter(const std::string& path, const LogitsShape& shape, std::span<const Token> tokens);
  void add(ConstMatrix logits);  // of the next positions, [n, n_vocab]
  void commit();

 private:
  LogitsShape shape_;
  std::int64_t rows_ = 0;
  StateWriter out_;
};

class LogitsReader {
 public:
  // A file of another text, another vocabulary or other positions is a value error that says what differs.
  LogitsReader(const std::string& path, const LogitsShape& shape, std::span<const Token> tokens);
  ConstMatrix next(std::int64_t n);  // of the next n positions, [n, n_vocab]

 private:
  LogitsShape shape_;
  StateReader in_;
};

}  // namespace spectralkv
