// Speed of prompts and of generation, after llama-bench.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "backend/stages.h"
#include "engine/engine.h"

namespace spectralkv {

// Reads n tokens, at once (a prompt) or one by one, behind `depth` tokens; behind a prompt `answer` more, one
// by one.
struct BenchTest {
  std::int64_t n = 0, depth = 0;
  bool prompt = true;
  std::int64_t answer = 0;

  std::int64_t total() const { return n + answer; }
};

struct BenchResult {
  BenchTest test;
  std::vector<double> samples;  // tokens per second, by repetition
  Stages stages;                // means of a repetition
  double seconds = 0;           // mean of a repetition
  double bytes = 0;             // of weights and cache that a repetition read, the cache as it was at its end
  double mean() const;
  double deviation() const;  // of a single sample; 0 for one
};

struct BenchOptions {
  SessionOptions session;  // n_ctx: as many as the tests need
  std::vector<BenchTest> tests;
  int repetitions = 5;
};

struct BenchHooks {
  std::function<void(const BenchTest& test, int repetition)> before;  // repetition 0: reading to the depth
  std::function<void(const BenchResult&)> done;
  std::function<bool()> cancelled;
};

// Runs the tests by rising depth, on tokens drawn from the vocabulary. First it makes sure that reading one
// by one and at once give the same next token; an internal error says so when they do not. Between
// repetitions the context goes back to the depth by way of a state file in the system's folder for temporary
// files.
void run_bench(Engine& engine, const BenchOptions& options, const BenchHooks& hooks);

// Bytes per second that n threads read from memory: the best of a few passes over 256 MiB.
double memory_bandwidth(int n_threads);

}  // namespace spectralkv
