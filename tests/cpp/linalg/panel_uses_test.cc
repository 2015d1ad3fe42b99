// Matrices of a mapped file: products by panels that are dropped, that are kept, and that were there before
// are the same, and the file and the panels are not both in memory.
#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <fstream>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "linalg/matmul.h"
#include "linalg/panels.h"
#include "simd/kernels.h"
#include "support/compare.h"
#include "support/gguf_builder.h"
#include "support/random_rows.h"

namespace spectralkv {
namespace {

using testing_support::kFormats;
using testing_support::normals;
using testing_support::random_rows;

// A file of bytes, mapped.
class Mapped {
 public:
  explicit Mapped(const std::vector<std::uint8_t>& bytes)
      : file_(folder_.write("weights", {reinterpret_cast<const char*>(bytes.data()), bytes.size()})) {}
  Mapped(const Mapped&) = delete;

  // `rows` rows of cols values from row `first` on.
  WeightView weight(DType type, std::int64_t first, std::int64_t rows, std::int64_t cols) const {
    WeightView w;
    w.type = type;
    w.rows = rows;
    w.cols = cols;
    w.data = file_.bytes().data() + first * w.row_bytes();
    w.file = &file_;
    return w;
  }

 private:
  test::TempFolder folder_;
  MappedFile file_;
};

std::vector<float> product(Matmul& matmul, const WeightView& w, const std::vector<float>& x) {
  const auto tokens = static_cast<std::int64_t>(x.size()) / w.cols;
  std::vector<float> y(static_cast<std::size_t>(tokens * w.rows));
  const MatmulJob job{&w, nullptr, ConstMatrix(x.data(), tokens, w.cols), Matrix(y.data(), tokens, w.rows)};
  matmul.run({&job, 1});
  return y;
}

TEST(PanelUses, TheSameProductsWheneverPanelsArePacked) {
  for (int type = 0; type < simd::kTypes; ++type) {
    const auto dtype = static_cast<DType>(type);
    if (!Panels::possible(dtype)) continue;
    const std::int64_t rows = 83, n = kFormats[type].values * 2;
    const Mapped file(random_rows(kFormats[type], rows, n, 3));
    for (const int threads : {1, 3})
      for (const std::int64_t tokens : {1, 300}) {  // 300 are more than a block of activations at this width
        ThreadPool pool(threads);
        Matmul matmul(pool);
        WeightView w = file.weight(dtype, 0, rows, n);
        const Panels all(w, pool), later(w);
        const auto x = normals(7, static_cast<std::size_t>(tokens * n));
        w.uploaded = &all;
        const auto expected = product(matmul, w, x);
        w.uploaded = &later;
        for (int use = 0; use < 4; ++use)
          EXPECT_EQ(product(matmul, w, x), expected)
              << kFormats[type].name << ", " << threads << " threads, " << tokens << " tokens, use " << use;
        EXPECT_EQ(later.begin_use(), Panels::Use::kept);
        for (std::int64_t i = 0; i < all.count(); ++i)
          EXPECT_EQ(std::memcmp(later.panel(i), all.panel(i), static_cast<std::size_t>(all.panel_bytes())),
                    0);
      }
  }
}

TEST(PanelUses, AllAtOnceAfterOneUse) {
  const std::int64_t rows = 100, n = 512;
  const Mapped file(random_rows(kFormats[static_cast<int>(DType::q6_k)], rows, n, 3));
  ThreadPool pool(2);
  Matmul matmul(pool);
  WeightView w = file.weight(DType::q6_k, 0, rows, n);
  Panels panels(w);
  w.uploaded = &panels;
  const auto x = normals(7, static_cast<std::size_t>(n));
  const auto expected = product(matmul, w, x);
  for (int times = 0; times < 2; ++times) {
    panels.keep_all(pool);
    EXPECT_EQ(panels.begin_use(), Panels::Use::kept);
    EXPECT_EQ(product(matmul, w, x), expected);
  }
}

TEST(PanelUses, OneMatrixTwiceInACall) {
  const std::int64_t rows = 100, n = 512;
  const Mapped file(random_rows(kFormats[static_cast<int>(DType::q4_k)], rows, n, 3));
  ThreadPool pool(3);
  Matmul matmul(pool);
  WeightView w = file.weight(DType::q4_k, 0, rows, n);
  const Panels all(w, pool), later(w);
  const auto x = normals(7, static_cast<std::size_t>(n));
  w.uploaded = &all;
  const auto expected = product(matmul, w, x);
  w.uploaded = &later;
  for (int use = 0; use < 3; ++use) {
    std::vector<float> y(rows), z(rows);
    const MatmulJob jobs[] = {{&w, nullptr, ConstMatrix(x.data(), 1, n), Matrix(y.data(), 1, rows)},
                              {&w, nullptr, ConstMatrix(x.data(), 1, n), Matrix(z.data(), 1, rows)}};
    matmul.run(jobs);
    EXPECT_EQ(y, expected);
    EXPECT_EQ(z, expected);
  }
  EXPECT_EQ(later.begin_use(), Panels::Use::kept);
}

TEST(PanelUses, AnErrorLeavesThePanelsForTheNext) {
  const std::int64_t rows = 40, n = 256;
  const Mapped file(random_rows(kFormats[static_cast<int>(DType::q4_k)], rows, n, 3));
  const Panels panels(file.weight(DType::q4_k, 0, rows, n));
  EXPECT_EQ(panels.begin_use(), Panels::Use::drop);
  panels.abandon(Panels::Use::drop);
  EXPECT_EQ(panels.begin_use(), Panels::Use::drop);  // the first is the first that ended
  panels.end_use(Panels::Use::drop);
  EXPECT_EQ(panels.begin_use(), Panels::Use::keep);
  EXPECT_EQ(panels.begin_use(), Panels::Use::drop);  // meanwhile
  panels.end_use(Panels::Use::drop);
  panels.abandon(Panels::Use::keep);
  EXPECT_EQ(panels.begin_use(), Panels::Use::keep);
  panels.end_use(Panels::Use::keep);
  EXPECT_EQ(panels.begin_use(), Panels::Use::kept);
}

// "RssAnon" and the like, in bytes; -1 where the system does not say.
std::int64_t resident(const std::string& what) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind(what + ":", 0) == 0) return std::stoll(line.substr(what.size() + 1)) * 1024;
  return -1;
}

TEST(PanelUses, TheFileIsNotInMemoryTwice) {
  if (!std::ofstream("/proc/self/clear_refs").put('5').flush() || resident("VmHWM") < 0)
    GTEST_SKIP() << "this system does not tell the peak of memory";
  // 24 matrices of 4.5 bits a value in 2 MiB and more each, which have 5 bits in panels.
  constexpr std::int64_t kMatrices = 24, rows = 2048, n = 2048;
  const auto& format = kFormats[static_cast<int>(DType::q4_k)];
  const std::int64_t bytes = rows * n / format.values * format.bytes, all = kMatrices * bytes;
  ThreadPool pool(2);
  Matmul matmul(pool);
  const auto x = normals(7, static_cast<std::size_t>(n));
  const Mapped file([&] {
    const auto one = random_rows(format, rows, n, 3);
    std::vector<std::uint8_t> many;
    many.reserve(static_cast<std::size_t>(all));
    for (std::int64_t i = 0; i < kMatrices; ++i) many.insert(many.end(), one.begin(), one.end());
    return many;
  }());
  std::vector<WeightView> weights;
  std::deque<Panels> panels;
  const auto step = [&] {
    for (const WeightView& w : weights) static_cast<void>(product(matmul, w, x));
  };
  std::ofstream("/proc/self/clear_refs").put('5').flush();                            // the peak begins anew
  const std::int64_t before = resident("VmRSS"), files_before = resident("RssFile");  // the program is one
  for (std::int64_t i = 0; i < kMatrices; ++i) {
    WeightView w = file.weight(DType::q4_k, i * rows, rows, n);
    w.uploaded = &panels.emplace_back(w);
    weights.push_back(w);
  }
  constexpr std::int64_t kSome = std::int64_t{8} << 20;  // work space, and parts of large pages
  EXPECT_LT(resident("VmRSS") - before, kSome) << "loaded";
  step();
  EXPECT_LT(resident("VmHWM") - before, all + kSome) << "the first step: the file's pages alone";
  for (int i = 0; i < 2; ++i) step();
  std::int64_t packed = 0;
  for (const Panels& one : panels) packed += one.bytes();
  EXPECT_LT(resident("VmHWM") - before, packed + kSome) << "all steps";
  EXPECT_LT(resident("RssFile") - files_before, all / 4) << "the pages of the file are gone";
}

}  // namespace
}  // namespace spectralkv
