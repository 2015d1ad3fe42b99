// Calibrations as files, which nobody trusts.
#include "kv/calibration.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "base/error.h"
#include "base/half.h"
#include "gguf/writer.h"
#include "support/gguf_builder.h"
#include "support/random_calibration.h"

namespace spectralkv::calibration_test {
namespace {

using testing_support::random_calibration;

constexpr CacheShape kShape{2, 3, 16};
constexpr std::int64_t kGroup = 2;

std::string read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string refusal(const std::string& path) {
  try {
    Calibration::load(path);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::value) << e.what();
    return e.what();
  }
  return "";
}

TEST(CalibrationFile, SaysTheSameAgain) {
  const test::TempFolder folder;
  const auto made = random_calibration(kShape, kGroup);
  const std::string path = folder.write("calibration.gguf", "");
  made->save(path);
  const Calibration read = Calibration::load(path);
  EXPECT_EQ(read.fingerprint(), made->fingerprint());
  EXPECT_EQ(read.model(), made->model());
  EXPECT_EQ(made->method(), 3);
  EXPECT_EQ(read.method(), 3);
  EXPECT_EQ(read.group(), kGroup);
  EXPECT_EQ(read.shape().n_layers, kShape.n_layers);
  for (std::int64_t l = 0; l < kShape.n_layers; ++l)
    for (std::int64_t h = 0; h < kShape.n_kv_heads; ++h) {
      const HeadCalibration &a = made->head(l, h), &b = read.head(l, h);
      EXPECT_EQ(std::memcmp(a.metric.data(), b.metric.data(), a.metric.bytes()), 0);
      EXPECT_EQ(std::memcmp(a.queries.data(), b.queries.data(), a.queries.bytes()), 0);
      EXPECT_EQ(a.harm, b.harm);
    }
  EXPECT_NE(random_calibration(kShape, kGroup, 2)->fingerprint(), made->fingerprint());
}

// What a file says, with one thing wrong.
struct Parts {
  std::string architecture = "spectralkv-calibration";
  std::uint32_t version = 1, head_dim = 16, layers = 2, kv_heads = 3, group = 2;
  float diagonal = 1, beside = 0, query = 1, harm = 1;
  std::int64_t short_row = 0;
  bool model = true;

  std::string write(const test::TempFolder& folder) const {
    const std::int64_t d = 16, heads = 6;
    std::vector<std::uint16_t> metrics,
        queries(static_cast<std::size_t>(2 * d * heads), skv_f32_to_f16(query));
    for (std::int64_t h = 0; h < heads; ++h)
      for (std::int64_t i = 0; i < d; ++i)
        for (std::int64_t j = i; j < d; ++j) metrics.push_back(skv_f32_to_f16(i == j ? diagonal : beside));
    const std::vector<float> harms(static_cast<std::size_t>((2 - short_row) * heads), harm);
    GgufWriter out;
    out.add("general.architecture", architecture);
    out.add("calibration.version", version);
    out.add("calibration.layers", layers);
    out.add("calibration.kv_heads", kv_heads);
    out.add("calibration.head_dim", head_dim);
    out.add("calibration.group", group);
    if (model) out.add("calibration.model", std::uint64_t{7});
    const auto tensor = [&](const char* name, std::int64_t row, DType type, const auto& values) {
      const auto bytes = std::as_bytes(std::span(values));
      out.add_tensor(name, {row, heads}, type, bytes);
    };
    tensor("calibration.metric", d * (d + 1) / 2, DType::f16, metrics);
    tensor("calibration.queries", 2 * d, DType::f16, queries);
    tensor("calibration.harm", 2 - short_row, DType::f32, harms);
    const std::string path = folder.write("parts.gguf", "");
    out.save(path);
    return path;
  }
};

TEST(CalibrationFile, IsRefusedWithTheReason) {
  const test::TempFolder folder;
  EXPECT_EQ(refusal(Parts{}.write(folder)), "");
  const auto expect = [&](const Parts& parts, const std::string& reason) {
    const std::string path = parts.write(folder), message = refusal(path);
    EXPECT_NE(message.find(reason), std::string::npos) << message;
    EXPECT_NE(message.find(path), std::string::npos) << message;
  };
  expect({.architecture = "llama"}, "no calibration of spectralkv");
  expect({.version = 2}, "version 2; this program reads version 1");
  expect({.head_dim = 32}, "expected f16 [528, 6]");
  expect({.layers = 3}, "expected f16 [136, 9]");
  expect({.kv_heads = 0}, "calibration.kv_heads");
  expect({.group = 3}, "calibration.queries");
  expect({.model = false}, "calibration.model");
  expect({.short_row = 1}, "calibration.harm");
  expect({.diagonal = -1}, "no positive matrix");
  expect({.beside = 1}, "no positive matrix");
  expect({.query = INFINITY}, "not finite");
  expect({.diagonal = INFINITY}, "not finite");
  expect({.harm = -1}, "negative");
  expect({.harm = NAN}, "not finite");
}

TEST(CalibrationFile, ShortAndDamagedFilesAreRefusedOrRead) {
  const test::TempFolder folder;
  const std::string path = folder.write("calibration.gguf", "");
  random_calibration(kShape, kGroup)->save(path);
  const std::string whole = read_all(path);
  for (std::size_t n = 1; n < whole.size(); n += 1 + n / 3)
    EXPECT_NE(refusal(folder.write("short.gguf", whole.substr(0, n))), "") << n;
  int refused = 0;
  for (std::uint64_t i = 0; i < 600; ++i) {  // a damaged number may be another good one
    std::string bytes = whole;
    const std::size_t range = i % 2 == 0 ? 400 : bytes.size();
    bytes[random_bits(5, i) % range] = static_cast<char>(random_bits(6, i));
    refused += refusal(folder.write("damaged.gguf", bytes)).empty() ? 0 : 1;
  }
  EXPECT_GT(refused, 100);
}

TEST(CalibrationFile, AFolderThatIsNotThere) {
  try {
    random_calibration(kShape, kGroup)->save("/nowhere/at/all.gguf");
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::os);
    EXPECT_NE(std::string(e.what()).find("/nowhere/at/all.gguf"), std::string::npos);
  }
}

}  // namespace
}  // namespace spectralkv::calibration_test
