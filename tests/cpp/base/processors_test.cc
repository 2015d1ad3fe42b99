// Cores by what the system says of processors, in folders of the test's own.
#include "base/processors.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace spectralkv {
namespace {

class FastCores : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              ("devices_" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
    std::filesystem::remove_all(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void put(const std::string& path, const std::string& line) {
    std::filesystem::create_directories((folder_ / path).parent_path());
    std::ofstream(folder_ / path) << line << '\n';
  }
  void siblings(int processor, const std::string& list) {
    put("system/cpu/cpu" + std::to_string(processor) + "/topology/thread_siblings_list", list);
  }
  int count(const std::vector<int>& processors) const { return fast_cores(processors, folder_.string()); }

  std::filesystem::path folder_;
};

TEST_F(FastCores, WhatIsUnknownCountsAsItIs) {
  EXPECT_EQ(count({0, 1, 5}), 3);
}

TEST_F(FastCores, SecondThreadsOfACoreAreLeftOut) {
  for (int i = 0; i < 8; ++i) siblings(i, std::to_string(i % 4) + "," + std::to_string(i % 4 + 4));
  EXPECT_EQ(count({0, 1, 2, 3, 4, 5, 6, 7}), 4);
  EXPECT_EQ(count({2, 6, 7}), 2);
  EXPECT_EQ(count({5}), 1);
}

TEST_F(FastCores, EfficiencyCoresAreLeftOut) {
  put("cpu_atom/cpus", "4-6,8");
  for (int i = 0; i < 4; ++i) siblings(i, i < 2 ? "0-1" : "2-3");
  for (int i = 4; i < 10; ++i) siblings(i, std::to_string(i));
  EXPECT_EQ(count({0, 1, 2, 3, 4, 5, 6, 7, 8, 9}), 4);  // two with two threads each, 7 and 9
  EXPECT_EQ(count({4, 5, 8}), 3) << "where there are no others, they count";
}

TEST_F(FastCores, CapacityTellsSlowCores) {
  for (int i = 0; i < 8; ++i)
    put("system/cpu/cpu" + std::to_string(i) + "/cpu_capacity", i == 0 ? "1024" : i < 4 ? "871" : "361");
  EXPECT_EQ(count({0, 1, 2, 3, 4, 5, 6, 7}), 4);
  EXPECT_EQ(count({4, 5}), 2);
}

TEST(Processors, TheDefaultIsWithinWhatThereIs) {
  EXPECT_GE(default_threads(), 1);
  EXPECT_LE(default_threads(), available_processors());
}

}  // namespace
}  // namespace spectralkv
