// What every row of the table of backends keeps to.
#include "backend/backends.h"

#include <gtest/gtest.h>

#include <set>

#include "base/error.h"

namespace spectralkv {
namespace {

TEST(Backends, TheReferenceComesFirstAndNamesDiffer) {
  EXPECT_EQ(backends().front().name, "cpu");
  EXPECT_TRUE(backends().front().available());
  std::set<std::string_view> names;
  for (const BackendRow& row : backends()) names.insert(row.name);
  EXPECT_EQ(names.size(), backends().size());
}

// Nothing is made of one that is not there, and the error carries its name.
TEST(Backends, EachIsMadeUnderItsNameOrSaysWhyNot) {
  for (const BackendRow& row : backends()) {
    try {
      const auto backend = row.make({.n_threads = 1, .n_gpu_layers = row.on_gpu ? -1 : 0});
      EXPECT_TRUE(row.available()) << row.name;
      EXPECT_EQ(backend->description().rfind(std::string(row.name) + " ", 0), 0u) << backend->description();
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()).rfind("[" + std::string(row.name) + "] ", 0), 0u) << e.what();
    }
  }
}

TEST(Backends, LayersOnTheGpuAreAllOrNone) {
  EXPECT_EQ(make_backend({.n_threads = 1}, 4)->description().rfind("cpu ", 0), 0u);
  for (const int some : {1, 3}) EXPECT_THROW(make_backend({.n_gpu_layers = some}, 4), Error) << some;
}

}  // namespace
}  // namespace spectralkv
