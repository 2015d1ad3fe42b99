// State files: restored sessions go on bit for bit, and nothing but a right file changes a session.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "base/random.h"
#include "engine/engine.h"
#include "kv/codecs/shared_tables.h"
#include "kv/state_file.h"
#include "support/tiny_model.h"

namespace spectralkv::state_file_test {
namespace {

const test::TinyModel kTiny;

struct Loaded {
  explicit Loaded(const test::TinyModel& model = kTiny)
      : engine(folder.write("tiny.gguf", model.bytes()), EngineOptions{.n_threads = 1}) {}
  test::TempFolder folder;
  Engine engine;
};

SessionOptions options_of(const std::string& k, const std::string& v) {
  SessionOptions options;
  options.n_ctx = 256;
  options.n_batch = 48;
  options.type_k = k;
  options.type_v = v;
  return options;
}

std::string read_bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

bool same_logits(const Session& a, const Session& b) {
  const auto x = a.logits(), y = b.logits();
  return x.size() == y.size() && (x.empty() || std::memcmp(x.data(), y.data(), x.size_bytes()) == 0);
}

std::string refusal(Session& session, const std::string& path) {
  try {
    session.load_state(path);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

// The file with its length and checksum made right again.
std::string seal(std::string bytes) {
  bytes.resize(bytes.size() - 16);
  bytes += test::raw(static_cast<std::uint64_t>(bytes.size() + 16));
  StateHash hash;
  hash.add(std::as_bytes(std::span(bytes)));
  return bytes + test::raw(hash.value());
}

// A small state with sinks, blocks, tails and codecs of all kinds.
constexpr const char* kMixedK = "eoptshrinkq:2,block=16,sink=4;layers 1=q8_0,block=16,sink=4";
constexpr const char* kMixedV = "turboquant:3,block=16,sink=4;layers 1=f16";

struct Pair {
  const char *k, *v;
};

class StateFile : public testing::TestWithParam<Pair> {};

TEST_P(StateFile, GoesOnWithIdenticalLogits) {
  Loaded loaded;
  const auto options = options_of(GetParam().k, GetParam().v);
  const auto text = kTiny.text(200);
  const std::span<const Token> all(text);
  const std::string path = loaded.folder.write("state", "");
  for (const std::size_t held :
       {std::size_t{0}, std::size_t{1}, std::size_t{48}, std::size_t{64}, std::size_t{131}}) {
    Session first(loaded.engine, options), second(loaded.engine, options);
    first.eval(all.first(held));
    first.save_state(path);
    second.eval(all.first(3));
    second.load_state(path);
    EXPECT_EQ(second.tokens(), first.tokens());
    EXPECT_TRUE(same_logits(first, second));
    for (std::size_t t = held; t < held + 40; ++t) {
      first.eval(all.subspan(t, 1));
      second.eval(all.subspan(t, 1));
      ASSERT_TRUE(same_logits(first, second)) << held << " tokens held, token " << t;
    }
    EXPECT_EQ(first.cache_report().k.sealed_bytes, second.cache_report().k.sealed_bytes);
  }
}

INSTANTIATE_TEST_SUITE_P(Codecs, StateFile,
                         testing::Values(Pair{"f16", "f16"}, Pair{"f32", "f16"}, Pair{"q8_0,block=32", "f32"},
                                         Pair{"eoptshrinkq:2,block=32", "eoptshrinkq:2,block=32"},
                                         Pair{"turboquant:3,block=32,window=16", "q4_0,block=32,window=16"},
                                         Pair{kMixedK, kMixedV}));

TEST(StateFile, IsRefusedWithTheReason) {
  Loaded loaded;
  const auto text = kTiny.text(60);
  const auto options = options_of("q8_0", "q8_0");
  Session saved(loaded.engine, options);
  saved.eval(text);
  const std::string path = loaded.folder.write("state", "");
  saved.save_state(path);
  const auto expect = [&](Session& session, const std::string& file, const std::string& reason) {
    const auto before = session.tokens();
    const std::string message = refusal(session, file);
    EXPECT_NE(message.find(reason), std::string::npos) << message;
    EXPECT_EQ(session.tokens(), before);
  };
  Session other_type(loaded.engine, options_of("q4_0", "q8_0"));
  expect(other_type, path, "layer 0, K: it was made with cache type 'q8_0");
  auto small = options;
  small.n_ctx = 59;
  Session short_context(loaded.engine, small);
  expect(short_context, path, "raise n_ctx");
  Session same(loaded.engine, options);
  expect(same, loaded.folder.write("text", "Once upon a time"), "no state file");
  const std::string whole = read_bytes(path);
  for (const char version : {char{0}, char{2}, char{9}}) {
    std::string other = whole;
    other[kStateMagic.size()] = version;
    expect(same, loaded.folder.write("version", seal(other)),
           concat("it has version ", static_cast<int>(version)));
  }
  std::string turned = whole;
  const std::size_t seed = whole.find(test::raw(kCacheRotationSeed));
  ASSERT_NE(seed, std::string::npos);
  turned[seed] = static_cast<char>(turned[seed] + 1);
  expect(same, loaded.folder.write("turned", seal(turned)), "sealed with a calibration");
  EXPECT_THROW(same.load_state(path + "-absent"), Error);

  test::TinyModel named = kTiny, deeper = kTiny, other = kTiny;
  named.name = "another";
  deeper.n_layers = 3;
  other.seed = 2;
  Loaded of_name(named), of_depth(deeper), of_weights(other);
  Session a(of_name.engine, options), b(of_depth.engine, options), c(of_weights.engine, options);
  expect(a, path, "another model of this shape");
  expect(b, path, "2 layers, this one has 3");
  expect(c, path, "another model of this shape");
  EXPECT_THROW(saved.save_state(loaded.folder.write("file", "x") + "/state"), Error);
}

// A state of scalar codes, as all were, in a session whose types leave the quantiser to the default: it goes
// on, is copied and reset.
TEST(StateFile, ScalarCodesGoOnInASessionOfTheDefault) {
  Loaded loaded;
  const std::string of_then = "eoptshrinkq:2,quantiser=scalar,window=16,block=32",
                    now = "eoptshrinkq:2,block=32,window=16";
  const auto text = kTiny.text(120);
  const std::span<const Token> all(text);
  for (const std::size_t n : {std::size_t{10}, std::size_t{100}}) {
    Session old(loaded.engine, options_of(of_then, of_then));
    old.eval(all.first(n));
    const std::string path = loaded.folder.write("old", "");
    old.save_state(path);
    Session today(loaded.engine, options_of(now, now)), copy(loaded.engine, today.options());
    today.load_state(path);
    copy.copy_from(today);
    old.eval(all.subspan(n));
    for (Session* s : {&today, &copy}) {
      EXPECT_EQ(s->cache_report().k.codec, of_then) << n;
      s->eval(all.subspan(n));
      EXPECT_TRUE(same_logits(*s, old)) << n;
    }
    Session third(loaded.engine, today.options());
    third.eval(all.first(5));
    today.copy_from(third);  // back to the default's
    EXPECT_EQ(today.cache_report().k.codec, third.cache_report().k.codec);
    copy.reset();
    EXPECT_EQ(copy.cache_report().k.codec, third.cache_report().k.codec);
    copy.eval(all);
    third.eval(all.subspan(5));
    EXPECT_TRUE(same_logits(copy, third));
    // Other differences stay refusals, in the words of today's command line.
    Session wider(loaded.engine, options_of("eoptshrinkq:2", "eoptshrinkq:2"));
    EXPECT_NE(refusal(wider, path).find("quantiser=scalar"), std::string::npos);
    EXPECT_THROW(wider.copy_from(third), Error);
  }
}

TEST(StateFile, EveryTruncationAndEditIsRefused) {
  Loaded loaded;
  const auto text = kTiny.text(70);
  Session session(loaded.engine, options_of(kMixedK, kMixedV)), victim(loaded.engine, session.options());
  session.eval(text);
  const std::string path = loaded.folder.write("state", "");
  session.save_state(path);
  const std::string whole = read_bytes(path);
  victim.eval(std::span<const Token>(text).first(20));
  const std::string bad = loaded.folder.write("bad", whole);
  for (std::size_t n = whole.size() - 1; n > 0; --n) {
    std::filesystem::resize_file(bad, n);
    ASSERT_NE(refusal(victim, bad), "") << n << " bytes";
  }
  Session little(loaded.engine, session.options());  // of which every byte is changed
  little.eval(std::span<const Token>(text).first(21));
  little.save_state(path);
  const std::string small = read_bytes(path);
  loaded.folder.write("bad", small);
  std::fstream file(bad, std::ios::in | std::ios::out | std::ios::binary);
  const auto put = [&](std::size_t at, char byte) {
    file.seekp(static_cast<std::streamoff>(at)).put(byte).flush();
  };
  for (std::size_t at = 0; at < small.size(); ++at) {
    put(at, static_cast<char>(small[at] ^ static_cast<char>(1 + random_bits(5, at) % 255)));
    ASSERT_NE(refusal(victim, bad), "") << "byte " << at;
    put(at, small[at]);
  }
  victim.load_state(bad);  // all is right again
  victim.reset();
  victim.eval(std::span<const Token>(text).first(20));
  EXPECT_EQ(victim.tokens().size(), 20u);
  session.save_state(path);
  victim.load_state(path);
  EXPECT_TRUE(same_logits(session, victim));
}

// Edits by one who knows the format: the checksum is right again. What is taken is what the file says, and
// can be used.
TEST(StateFile, ForgedFilesAreRefusedOrHarmless) {
  Loaded loaded;
  const auto text = kTiny.text(70);
  Session session(loaded.engine, options_of(kMixedK, kMixedV)), victim(loaded.engine, session.options());
  session.eval(text);
  const std::string path = loaded.folder.write("state", "");
  session.save_state(path);
  const std::string whole = read_bytes(path);
  ASSERT_EQ(seal(whole), whole);
  int taken = 0;
  for (std::uint64_t i = 0; i < 2000; ++i) {
    std::string bad = whole;
    const auto draw = [&](std::uint64_t k, std::uint64_t n) { return random_bits(6, 4 * i + k) % n; };
    const std::size_t at = draw(0, bad.size() - 16);
    if (i % 4 == 0)
      bad.erase(at, 1 + draw(1, 8));
    else if (i % 4 == 1)
      bad.insert(at, 1 + draw(1, 8), static_cast<char>(draw(2, 256)));
    else
      bad[at] = static_cast<char>(draw(1, 256));
    if (bad.size() < 32) continue;
    bad = seal(bad);
    const auto before = victim.tokens();
    if (!refusal(victim, loaded.folder.write("bad", bad)).empty()) {
      ASSERT_EQ(victim.tokens(), before);
      continue;
    }
    if (++taken % 8 != 1) continue;  // saving waits for the disk
    const std::string again = loaded.folder.write("again", "");
    victim.save_state(again);
    ASSERT_EQ(read_bytes(again), bad) << "mutation " << i;
    try {
      victim.eval(std::span<const Token>(text).first(20));
    } catch (const Error&) {  // keys that are not finite any more
      victim.reset();
    }
  }
  EXPECT_GT(taken, 50);
}

// A disk that is full leaves the file of before, and nothing beside it.
TEST(StateFile, AFullDiskKeepsTheOldFile) {
  Loaded loaded;
  const auto text = kTiny.text(200);
  Session session(loaded.engine, options_of("f16", "f16"));
  session.eval(std::span<const Token>(text).first(10));
  const std::string path = loaded.folder.write("state", "");
  session.save_state(path);
  const std::string before = read_bytes(path);
  session.eval(std::span<const Token>(text).subspan(10));
  const auto entries = [&] {
    const auto parent = std::filesystem::path(path).parent_path();
    return std::distance(std::filesystem::directory_iterator(parent), std::filesystem::directory_iterator());
  };
  const auto files = entries();
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto ignored = std::signal(SIGXFSZ, SIG_IGN);
  for (const rlim_t most : {rlim_t{0}, rlim_t{1000}, static_cast<rlim_t>(before.size() + 4096)}) {
    const rlimit low{most, old.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &low), 0);
    std::string said;
    try {
      session.save_state(path);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::os);
      said = e.what();
    }
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
    EXPECT_NE(said.find(path), std::string::npos) << said;
    EXPECT_EQ(read_bytes(path), before);
    EXPECT_EQ(entries(), files);
  }
  std::signal(SIGXFSZ, ignored);
  session.save_state(path);
  EXPECT_NE(read_bytes(path), before);
}

TEST(StateFile, KeepsTheCommonStart) {
  Loaded loaded;
  const auto text = kTiny.text(100);
  auto other = text;
  other[70] = other[70] == 5 ? 6 : 5;
  Session exact(loaded.engine, options_of("f16", "f16"));
  exact.eval(text);
  EXPECT_EQ(exact.keep_common(text), 100);
  EXPECT_FALSE(exact.logits().empty());
  EXPECT_EQ(exact.keep_common(other), 70);
  EXPECT_EQ(exact.keep_common(std::span<const Token>(text).first(30)), 29);
  Session lossy(loaded.engine, options_of("q8_0,block=32,sink=0", "q8_0,block=32,sink=0"));
  lossy.eval(text);
  EXPECT_EQ(lossy.keep_common(other), 64);
  EXPECT_EQ(lossy.tokens().size(), 64u);
  EXPECT_EQ(lossy.keep_common(std::vector<Token>{3, 3, 3}), 0);
  EXPECT_TRUE(lossy.tokens().empty());
}

}  // namespace
}  // namespace spectralkv::state_file_test
