// Fuzzes calibrations: each is refused, or stays the same through a file and makes a cache of its shape.
// driver.cc runs it without libFuzzer.
#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "base/error.h"
#include "fuzz/fuzz.h"
#include "kv/cache_format.h"
#include "kv/calibration.h"
#include "support/gguf_builder.h"
#include "support/random_calibration.h"

namespace spectralkv {
namespace {

struct Fixture {
  test::TempFolder folder;
  std::string path = folder.write("calibration.gguf", ""), again = folder.write("again.gguf", "");
};

Fixture& fixture() {
  static Fixture all;
  return all;
}

}  // namespace
}  // namespace spectralkv

std::vector<std::string> fuzz_seeds() {
  using namespace spectralkv;
  std::vector<std::string> seeds;
  for (const std::int64_t d : {16, 32}) {
    CacheShape shape;
    shape.n_layers = 2;
    shape.n_kv_heads = d == 16 ? 1 : 2;
    shape.head_dim = d;
    testing_support::random_calibration(shape, 2)->save(fixture().path);
    std::ifstream file(fixture().path, std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>{});
  }
  return seeds;
}

std::vector<std::string> fuzz_words() {
  return {"GGUF",
          "spectralkv-calibration",
          "calibration.version",
          "calibration.method",
          "calibration.layers",
          "calibration.kv_heads",
          "calibration.head_dim",
          "calibration.group",
          "calibration.model",
          "calibration.metric",
          "calibration.queries",
          "calibration.harm",
          "general.alignment",
          std::string("\0\x7c", 2),
          std::string("\xff\xff\xff\xff\xff\xff\xff\x7f", 8)};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace spectralkv;
  Fixture& f = fixture();
  std::ofstream(f.path, std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  try {
    const auto calibration = std::make_shared<const Calibration>(Calibration::load(f.path));
    calibration->save(f.again);
    if (Calibration::load(f.again).fingerprint() != calibration->fingerprint()) std::abort();
    const CacheFormat format(calibration->shape(), "eoptshrinkq:2", "eoptshrinkq:2.5", CacheLayout::kNowhere,
                             calibration);
    if (format.layers().empty()) std::abort();
  } catch (const Error&) {
    // Refused, or of a head dim that no codec takes.
  }
  return 0;
}
