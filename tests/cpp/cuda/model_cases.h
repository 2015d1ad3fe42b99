// A tiny model, its engines and sessions, for tests of the whole backend.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <span>
#include <string>

#include "engine/engine.h"
#include "support/tiny_model.h"

namespace spectralkv::model_cases {

// head_dim 64, so that compressed caches take it.
inline test::TinyModel model() {
  test::TinyModel m;
  m.n_embd = 128;
  m.n_heads = 2;
  m.n_kv_heads = 1;
  m.n_ff = 96;
  return m;
}

// A library that the tests load: where it was built, or beside others (tests/cuda/first_contact).
inline std::string library(const std::string& built) {
  const char* const folder = std::getenv("SPECTRALKV_TEST_LIBRARIES");
  return folder == nullptr ? built : folder + built.substr(built.rfind('/'));
}

class CudaModel : public testing::TestWithParam<const char*> {
 protected:
  CudaModel() : path_(folder_.write("tiny.gguf", model().bytes())) {
    ::setenv("SPECTRALKV_CUDA_LIBRARY", library(SPECTRALKV_TEST_PLUGIN).c_str(), 1);
  }
  static EngineOptions options(bool gpu) {
    EngineOptions o;
    o.n_threads = 1;
    o.n_gpu_layers = gpu ? -1 : 0;
    return o;
  }
  static SessionOptions session(const char* type) {
    SessionOptions o;
    o.n_ctx = 512;
    o.n_batch = 100;
    o.type_k = o.type_v = type;
    return o;
  }
  const test::TempFolder folder_;
  const std::string path_;
};

// The relative distance of two rows of logits.
inline double distance(std::span<const float> a, std::span<const float> b) {
  double squares = 0, norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    squares += difference * difference;
    norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return std::sqrt(squares / norm);
}

class CudaEngine : public CudaModel {};

}  // namespace spectralkv::model_cases
