// Rows of `bench` where a backend has no times of its stages.
#include "cli/bench_output.h"

#include <gtest/gtest.h>

namespace spectralkv {
namespace {

BenchResult result(double matmul_seconds) {
  BenchResult r;
  r.test.n = 8;
  r.samples = {4.0};
  r.seconds = 2;
  r.bytes = 1e9;
  r.stages[Stage::matmul] = matmul_seconds;
  return r;
}

std::string row(BenchFormat format, double matmul_seconds) {
  BenchSetup setup;
  setup.bandwidth = 1e10;
  return bench_row(format, {true, false}, setup, result(matmul_seconds));
}

TEST(BenchOutput, StagesThatWereNotTimedAreNoZeros) {
  EXPECT_NE(row(BenchFormat::md, 1).find("| 50.0 % | 0.0 % |"), std::string::npos);
  const std::string table = row(BenchFormat::md, 0);
  EXPECT_NE(table.find("| CPU only | CPU only | CPU only | CPU only |"), std::string::npos) << table;
  EXPECT_EQ(table.find("0.0 %"), std::string::npos) << table;
  EXPECT_NE(row(BenchFormat::jsonl, 0).find("\"matmul_s\": null"), std::string::npos)
      << row(BenchFormat::jsonl, 0);
  EXPECT_NE(row(BenchFormat::csv, 0).find(",,,,"), std::string::npos) << row(BenchFormat::csv, 0);
}

}  // namespace
}  // namespace spectralkv
