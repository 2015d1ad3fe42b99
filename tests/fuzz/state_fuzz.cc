// Fuzzes state files whose checksum is right: each is refused, or loads into a session that goes on.
// driver.cc runs it without libFuzzer.
//
// An input is a byte, which chooses the cache types, and a state file without its trailer.
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "engine/engine.h"
#include "fuzz/fuzz.h"
#include "kv/state_file.h"
#include "support/tiny_model.h"

namespace spectralkv {
namespace {

constexpr std::size_t kTrailer = 16;
constexpr std::pair<const char*, const char*> kTypes[] = {
    {"eoptshrinkq:2,block=32,window=16", "eoptshrinkq:3,block=32,window=16"},
    {"turboquant:3,block=32", "kivi:2,block=32"},
    {"q8_0,block=32,sink=4;layers 1=f16", "q4_0,block=32,sink=4;layers 1=f32"}};

struct Fixture {
  test::TempFolder folder;
  test::TinyModel model;
  std::string path = folder.write("state", "");
  Engine engine{folder.write("tiny.gguf", model.bytes()), EngineOptions{.n_threads = 1}};

  std::unique_ptr<Session> session(std::size_t types) {
    SessionOptions options;
    options.n_ctx = 160;
    options.type_k = kTypes[types % std::size(kTypes)].first;
    options.type_v = kTypes[types % std::size(kTypes)].second;
    return std::make_unique<Session>(engine, options);
  }
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
  Fixture& f = fixture();
  for (std::size_t types = 0; types < std::size(kTypes); ++types)
    for (const std::size_t n : {3, 100}) {
      const auto session = f.session(types);
      session->eval(f.model.text(n));
      session->save_state(f.path);
      std::ifstream file(f.path, std::ios::binary);
      std::string state(std::istreambuf_iterator<char>(file), {});
      state.resize(state.size() - kTrailer);
      seeds.push_back(std::string(1, static_cast<char>(types)) + state);
    }
  return seeds;
}

std::vector<std::string> fuzz_words() {
  using spectralkv::test::raw;
  std::vector<std::string> words{"SPKVSTAT",
                                 "f16",
                                 "f32",
                                 raw(std::int32_t{-1}),
                                 raw(UINT64_MAX),
                                 raw(INT64_MAX),
                                 raw(std::uint32_t{1} << 31),
                                 raw(0x7f800000),
                                 raw(0x7fc00000)};
  for (const auto& [k, v] : spectralkv::kTypes) words.insert(words.end(), {k, v});
  return words;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace spectralkv;
  if (size == 0) return 0;
  Fixture& f = fixture();
  std::string state(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto append = [&](std::uint64_t number) {
    state.append(reinterpret_cast<const char*>(&number), sizeof number);
  };
  StateHash hash;
  append(state.size() + kTrailer);
  hash.add(std::as_bytes(std::span(state)));
  append(hash.value());
  std::ofstream(f.path, std::ios::binary).write(state.data(), static_cast<std::streamsize>(state.size()));

  static std::unique_ptr<Session> sessions[std::size(kTypes)];
  auto& session = sessions[data[0] % std::size(kTypes)];
  if (session == nullptr) session = f.session(data[0]);
  session->reset();
  try {
    session->load_state(f.path);
  } catch (const Error&) {
    if (!session->tokens().empty()) std::abort();  // a refusal leaves all as it was
    return 0;
  }
  try {
    session->eval(f.model.text(1));
  } catch (const Error&) {
    // Rows that are not finite, or no room for another token.
  }
  return 0;
}
