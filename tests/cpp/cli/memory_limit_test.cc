// Untrusted files of every kind under a limit of memory: whatever number in one is made a large one, there is
// an error or a result, and never more memory than twice the file and 256 MiB.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <new>

#include "base/error.h"
#include "cli/cli.h"
#include "cli/text_input.h"
#include "engine/engine.h"
#include "kv/calibration.h"
#include "kv/state_file.h"
#include "support/random_calibration.h"
#include "support/tiny_model.h"

namespace spectralkv {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kCanLimit = false;  // shadow memory takes all addresses that there are
#else
constexpr bool kCanLimit = true;
#endif

constexpr std::size_t kBeside = std::size_t{256} << 20;

std::string bytes_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// The file with the bytes of `value` at a place.
template <class T>
std::string with(std::string bytes, std::size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, std::min(sizeof value, bytes.size() - at));
  return bytes;
}

using Read = std::function<void(const std::string& bytes)>;

// All files with a large number in the place of any four or eight bytes among the first `most`.
void read_spoiled(const std::string& good, std::size_t most, const Read& read) {
  read(good);
  for (std::size_t at = 0; at < std::min(most, good.size()); ++at) {
    for (const std::uint32_t value : {0x7fffffffu, 0xffffffffu}) read(with(good, at, value));
    for (const std::uint64_t value :
         {std::uint64_t{INT64_MAX}, std::uint64_t{1} << 62, std::uint64_t{1} << 40, std::uint64_t{1} << 31})
      read(with(good, at, value));
  }
}

// Runs `work` in a process of little memory; what it throws but Errors, or what ends it, is a failure.
void expect_within(std::size_t file_bytes, const std::function<void()>& work) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const rlimit limit{2 * file_bytes + kBeside, RLIM_INFINITY};
    std::string fault;
    if (setrlimit(RLIMIT_AS, &limit) != 0) fault = "no limit could be set";
    try {
      work();
    } catch (const std::bad_alloc&) {
      fault = "out of memory";
    } catch (const std::exception& error) {
      fault = error.what();
    }
    const auto written = write(ends[1], fault.data(), fault.size());
    _exit(fault.empty() && written == 0 ? 0 : 1);
  }
  close(ends[1]);
  std::string fault(200, '\0');
  const ssize_t n = read(ends[0], fault.data(), fault.size());
  close(ends[0]);
  fault.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status << ": " << fault;
}

class MemoryLimit : public testing::Test {
 protected:
  void SetUp() override {
    if (!kCanLimit) GTEST_SKIP() << "a sanitizer needs more addresses than the limit leaves";
  }

  void expect_refusals(const std::string& good, std::size_t most,
                       const std::function<void(const std::string&)>& load) {
    expect_within(good.size(), [&] {
      read_spoiled(good, most, [&](const std::string& bytes) {
        try {
          load(bytes);
        } catch (const Error&) {
          // Refused.
        }
      });
    });
  }

  const test::TempFolder folder_;
  test::TinyModel model_ = [] {
    test::TinyModel model;
    model.n_layers = 1;
    model.n_embd = model.n_ff = 16;
    model.n_heads = model.n_kv_heads = 1;
    return model;
  }();
};

TEST_F(MemoryLimit, Models) {
  expect_refusals(model_.bytes(), 1500, [&](const std::string& bytes) {
    Engine engine(folder_.write("m.gguf", bytes), EngineOptions{.n_threads = 1});
    SessionOptions options;
    options.n_ctx = 8;
    options.type_k = options.type_v = "f16";
    Session session(engine, options);
    session.eval(std::vector<Token>{1, 2});
  });
}

TEST_F(MemoryLimit, States) {
  const std::string path = folder_.write("m.gguf", model_.bytes());
  SessionOptions options;
  options.n_ctx = 128;
  options.type_k = "eoptshrinkq:2,block=16,sink=4,window=16";
  options.type_v = "turboquant:3,block=16,sink=4,window=16";
  std::string good;
  {
    Engine engine(path, EngineOptions{.n_threads = 1});
    Session session(engine, options);
    session.eval(model_.text(60));
    const std::string saved = folder_.write("saved", "");
    session.save_state(saved);
    good = bytes_of(saved);
  }
  good.resize(good.size() - 16);
  expect_within(good.size(), [&] {
    Engine engine(path, EngineOptions{.n_threads = 1});
    Session session(engine, options);
    read_spoiled(good, 600, [&](const std::string& body) {
      std::string bytes = body + test::raw(static_cast<std::uint64_t>(body.size() + 16));
      StateHash hash;
      hash.add(std::as_bytes(std::span(bytes)));
      try {
        session.load_state(folder_.write("spoiled", bytes + test::raw(hash.value())));
      } catch (const Error&) {
        // Refused.
      }
    });
  });
}

TEST_F(MemoryLimit, Calibrations) {
  CacheShape shape;
  shape.n_layers = shape.n_kv_heads = 1;
  shape.head_dim = 16;
  const std::string path = folder_.write("c.gguf", "");
  testing_support::random_calibration(shape, 2)->save(path);
  expect_refusals(bytes_of(path), 1000,
                  [&](const std::string& bytes) { Calibration::load(folder_.write("spoiled.gguf", bytes)); });
}

TEST_F(MemoryLimit, Arrays) {
  std::string header = "{'descr': '<i4', 'fortran_order': False, 'shape': (99999999999,), }";
  header.resize(118, ' ');
  for (const char version : {'\1', '\2'}) {
    const std::string length = version == 1 ? test::raw(static_cast<std::uint16_t>(header.size()))
                                            : test::raw(static_cast<std::uint32_t>(header.size()));
    expect_refusals(std::string("\x93NUMPY") + version + '\0' + length + header + test::raw(7), 200,
                    [&](const std::string& bytes) { read_token_file(folder_.write("ids.npy", bytes), {}); });
  }
}

TEST_F(MemoryLimit, Texts) {
  // A long text takes more than that: then there are words, and no abort.
  const std::string model = folder_.write("m.gguf", model_.bytes());
  for (const auto& [bytes, status] : {std::pair{std::size_t{1} << 20, 0}, {std::size_t{24} << 20, 1}}) {
    std::string text;
    while (text.size() < bytes) text += "ab c ";
    const std::string path = folder_.write("text", text);
    expect_within(bytes, [&, status = status] {
      for (FILE* stream : {stdout, stderr})
        if (std::freopen("/dev/null", "w", stream) == nullptr) throw std::runtime_error("no /dev/null");
      const int ended = cli_main({"tokenize", "-m", model, "-f", path, "--ids"}, {});
      if (ended != status) throw std::runtime_error(concat("status ", ended));
    });
  }
}

}  // namespace
}  // namespace spectralkv
