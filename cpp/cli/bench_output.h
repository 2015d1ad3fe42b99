// Rows of `bench` as a table, CSV, JSON or SQL.
#pragma once

#include <string>

#include "measure/bench.h"

namespace spectralkv {

enum class BenchFormat { md, csv, json, jsonl, sql };

// What all rows of one engine and one pair of cache types share.
struct BenchSetup {
  std::string model_filename, model_type, backend;  // "llama 135M q4_1", "cpu avx512"
  std::int64_t model_size = 0;                      // bytes of the tensors
  int n_threads = 0;
  std::int64_t n_batch = 0;  // tokens of a forward pass
  std::string type_k, type_v;
  double bandwidth = 0;  // bytes per second, measured
};

// Columns of the table for people that are not always there.
struct BenchColumns {
  bool profile = false, batch = false;
};

// "pp512", "tg128 @ d8192", "pp512+tg128".
std::string bench_name(const BenchTest& test);

// What comes before the first row, between two rows, and after the last.
std::string bench_head(BenchFormat format, const BenchColumns& shown);
std::string bench_separator(BenchFormat format);
std::string bench_tail(BenchFormat format);
std::string bench_row(BenchFormat format, const BenchColumns& shown, const BenchSetup& setup,
                      const BenchResult& result);

}  // namespace spectralkv
