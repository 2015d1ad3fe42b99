// Calibrations made by reading a text, found again, and when a session makes one.
#include "engine/calibrate.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "kv/cache.h"
#include "support/tiny_model.h"

namespace spectralkv {
namespace {

namespace fs = std::filesystem;

// A model long enough to be calibrated, and a cache folder of its own.
struct Loaded {
  explicit Loaded(int threads = 1, std::string source = "auto", std::uint32_t context = 2048,
                  std::string arch = "llama")
      : model(make_model(context, std::move(arch))) {
    ::setenv("SPECTRALKV_CALIBRATIONS", folder.write("", "").c_str(), 1);
    EngineOptions options{.n_threads = threads};
    options.calibration.source = std::move(source);
    options.calibration.notice = [this](const std::string& line) { notices.push_back(line); };
    engine = std::make_unique<Engine>(folder.write("tiny.gguf", model.bytes()), options);
  }
  static test::TinyModel make_model(std::uint32_t context, std::string arch) {
    test::TinyModel model;
    model.context_length = context;
    model.arch = std::move(arch);
    return model;
  }

  test::TempFolder folder;
  test::TinyModel model;
  std::vector<std::string> notices;
  std::unique_ptr<Engine> engine;
};

SessionOptions lossy(std::int64_t n_batch = 512) {
  SessionOptions options;
  options.n_ctx = 1300;
  options.n_batch = n_batch;
  options.type_k = options.type_v = "eoptshrinkq:2";
  return options;
}

std::vector<float> logits_of(Session& session) {
  const auto logits = session.logits();
  return {logits.begin(), logits.end()};
}

TEST(Calibrate, DoesNotDependOnThreads) {
  Loaded one(1), three(3);
  const auto text = one.model.text(700);
  const Calibration a = calibrate(*one.engine, text, {}), b = calibrate(*three.engine, text, {});
  EXPECT_EQ(a.fingerprint(), b.fingerprint());
  const auto other = one.model.text(701);
  EXPECT_NE(calibrate(*one.engine, std::span(other).subspan(1), {}).fingerprint(), a.fingerprint());
  for (std::int64_t l = 0; l < 2; ++l)
    for (std::int64_t h = 0; h < 2; ++h)
      for (const float harm : a.head(l, h).harm) {
        EXPECT_TRUE(std::isfinite(harm));
        EXPECT_GT(harm, 0);
      }
}

TEST(Calibrate, OfEveryArchitecture) {
  for (const auto& arch : test::tiny_architectures()) {
    Loaded loaded(2, "auto", 2048, std::string(arch.name));
    const auto text = loaded.model.text(600);
    const Calibration made = calibrate(*loaded.engine, text, {});
    for (std::int64_t l = 0; l < made.shape().n_layers; ++l)
      for (std::int64_t h = 0; h < made.shape().n_kv_heads; ++h)
        for (const float harm : made.head(l, h).harm) {
          EXPECT_GT(harm, 0) << arch.name;
          EXPECT_LT(harm, 1e6f) << arch.name << ": not beside the size of the residual stream";
        }
  }
}

TEST(Calibrate, RefusesShortTextsAndBadTokens) {
  Loaded loaded;
  const auto expect = [&](std::vector<Token> tokens, const std::string& reason) {
    try {
      calibrate(*loaded.engine, tokens, {});
      ADD_FAILURE();
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::value);
      EXPECT_NE(std::string(e.what()).find(reason), std::string::npos) << e.what();
    }
  };
  expect(loaded.model.text(kLeastCalibration - 1), "at least 512");
  auto bad = loaded.model.text(600);
  bad[599] = 40;
  expect(bad, "token 40");
  int asked = 0;
  CalibrateHooks hooks;
  hooks.cancelled = [&] { return ++asked > 1; };
  try {
    calibrate(*loaded.engine, loaded.model.text(1200), hooks);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::interrupted);
  }
}

// A session makes it when the first block is to seal, not before; it then reads as if it had been there all
// along, in whatever batches, and the next engine finds it.
TEST(Calibrations, AreMadeWhenABlockSeals) {
  Loaded loaded;
  const auto text = loaded.model.text(600);
  const std::span<const Token> all(text);
  Session late(*loaded.engine, lossy(100));
  late.eval(all.first(255));
  EXPECT_TRUE(loaded.notices.empty());
  EXPECT_EQ(late.cache().format().calibration(), nullptr);
  late.eval(all.subspan(255, 345));
  EXPECT_EQ(loaded.notices.size(), 2u);
  ASSERT_NE(late.cache().format().calibration(), nullptr);
  EXPECT_EQ(late.tokens(), text);

  Session early(*loaded.engine, lossy());
  early.eval(all);
  EXPECT_EQ(logits_of(early), logits_of(late));
  EXPECT_EQ(loaded.notices.size(), 2u);

  EngineOptions options{.n_threads = 1};
  options.calibration.source = "auto";
  Engine again(loaded.engine->file().path(), options);
  ASSERT_NE(again.calibrations().find(), nullptr);
  EXPECT_EQ(again.calibrations().find()->fingerprint(), late.cache().format().calibration()->fingerprint());
  options.calibration.source = "none";
  Engine without(loaded.engine->file().path(), options);
  Session plain(without, lossy());
  plain.eval(all);
  EXPECT_NE(logits_of(plain), logits_of(late));
}

TEST(Calibrations, OfNoUseAreNotMade) {
  Loaded loaded;
  SessionOptions options = lossy();
  options.type_k = options.type_v = "turboquant:2";
  Session session(*loaded.engine, options);
  session.eval(loaded.model.text(600));
  EXPECT_TRUE(loaded.notices.empty());
  Loaded brief(1, "auto", 500);
  Session of_brief(*brief.engine, [] {
    auto o = lossy();
    o.n_ctx = 400;
    return o;
  }());
  of_brief.eval(brief.model.text(400));
  EXPECT_TRUE(brief.notices.empty()) << "its context is too short for the text";
}

TEST(Calibrations, BadFilesArePassedOverWithANotice) {
  Loaded loaded;
  const std::string path = loaded.folder.write("tiny.calibration.gguf", "no calibration");
  EXPECT_EQ(loaded.engine->calibrations().find(), nullptr);
  ASSERT_EQ(loaded.notices.size(), 1u);
  EXPECT_NE(loaded.notices[0].find(path), std::string::npos) << loaded.notices[0];
}

// `made` as an older version would have kept it.
void save_outdated(const Calibration& made, const std::string& path) {
  std::vector<HeadCalibration> heads;
  for (std::int64_t l = 0; l < made.shape().n_layers; ++l)
    for (std::int64_t h = 0; h < made.shape().n_kv_heads; ++h) {
      const HeadCalibration& head = made.head(l, h);
      heads.push_back({head.metric.copy(), head.queries.copy(), {2, 1}});
    }
  Calibration(made.shape(), made.group(), made.model(), kCalibrationMethod - 1, std::move(heads)).save(path);
}

TEST(Calibrations, OfAnOlderMethodAreMadeAnew) {
  Loaded loaded;
  const auto text = loaded.model.text(600);
  const Calibration made = calibrate(*loaded.engine, text, {});
  EXPECT_EQ(made.method(), kCalibrationMethod);
  const std::string kept = calibration_folder() + "/" + calibration_file_name(made.model());
  save_outdated(made, kept);
  EXPECT_EQ(loaded.engine->calibrations().find(), nullptr);
  EXPECT_TRUE(loaded.notices.empty());
  const auto anew = loaded.engine->calibrations().make();
  ASSERT_EQ(loaded.notices.size(), 3u);
  EXPECT_NE(loaded.notices[1].find(kept + ".old"), std::string::npos) << loaded.notices[1];
  EXPECT_EQ(Calibration::load(kept + ".old").method(), kCalibrationMethod - 1) << "states may go by it";
  EXPECT_NE(loaded.notices[0].find(concat("anew, once: '", kept, "' was made by an older version")),
            std::string::npos)
      << loaded.notices[0];
  EXPECT_EQ(Calibration::load(kept).fingerprint(), anew->fingerprint());
  EXPECT_EQ(Calibration::load(kept).method(), kCalibrationMethod);

  // One that is named is used as it is.
  save_outdated(made, kept);
  EngineOptions options{.n_threads = 1};
  options.calibration.source = kept;
  Engine named(loaded.engine->file().path(), options);
  EXPECT_EQ(named.calibrations().find()->method(), kCalibrationMethod - 1);
}

TEST(Calibrations, ThoseThatShipGoBeforeOlderOnes) {
  Loaded loaded;
  const auto text = loaded.model.text(600);
  const Calibration made = calibrate(*loaded.engine, text, {});
  const std::string name = calibration_file_name(made.model()), kept = calibration_folder() + "/" + name,
                    shipped = loaded.folder.write("", "") + "shipped";
  fs::create_directory(shipped);
  made.save(shipped + "/" + name);
  const auto found = [&] {
    EngineOptions options{.n_threads = 1};
    options.calibration.source = "auto";
    options.calibration.shipped = shipped;
    loaded.notices.clear();
    options.calibration.notice = [&](const std::string& line) { loaded.notices.push_back(line); };
    Engine engine(loaded.engine->file().path(), options);
    return engine.calibrations().make();
  };
  save_outdated(made, kept);
  EXPECT_EQ(found()->fingerprint(), made.fingerprint());
  ASSERT_EQ(loaded.notices.size(), 1u);
  EXPECT_NE(loaded.notices[0].find(concat("'", kept, "' was made by an older version and is not used")),
            std::string::npos)
      << loaded.notices[0];

  // Of the same method one's own goes first, be it of another text.
  const Calibration own = calibrate(*loaded.engine, std::span(text).subspan(1), {});
  own.save(kept);
  EXPECT_EQ(found()->fingerprint(), own.fingerprint());
  EXPECT_TRUE(loaded.notices.empty());

  // With both outdated, a new one.
  save_outdated(made, kept);
  save_outdated(made, shipped + "/" + name);
  EXPECT_EQ(found()->method(), kCalibrationMethod);
  EXPECT_EQ(loaded.notices.size(), 3u);
  EXPECT_EQ(Calibration::load(kept).method(), kCalibrationMethod);
}

TEST(Calibrations, ANamedFileMustFit) {
  Loaded loaded;
  const auto text = loaded.model.text(600);
  const std::string path = loaded.folder.write("named.gguf", "");
  calibrate(*loaded.engine, text, {}).save(path);
  EngineOptions options{.n_threads = 1};
  options.calibration.source = path;
  Engine named(loaded.engine->file().path(), options);
  EXPECT_NE(named.calibrations().find(), nullptr);

  test::TinyModel other;
  other.n_layers = 3;
  Engine wrong(loaded.folder.write("other.gguf", other.bytes()), options);
  EXPECT_THROW(wrong.calibrations().find(), Error);
  EXPECT_THROW(Session(wrong, lossy()), Error);
  options.calibration.source = "/nowhere.gguf";
  Engine missing(loaded.engine->file().path(), options);
  EXPECT_THROW(missing.calibrations().find(), Error);
}

// A state belongs to the calibration that sealed its blocks.
TEST(Calibrations, ArePartOfAState) {
  Loaded loaded;
  const auto text = loaded.model.text(600);
  const std::string path = loaded.folder.write("state", "");
  Session saved(*loaded.engine, lossy());
  saved.eval(text);
  saved.save_state(path);
  Session loads(*loaded.engine, lossy());
  loads.load_state(path);
  EXPECT_EQ(logits_of(loads), logits_of(saved));

  Engine without(loaded.engine->file().path(), EngineOptions{.n_threads = 1});
  Session refuses(without, lossy());
  try {
    refuses.load_state(path);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("sealed with a calibration"), std::string::npos) << e.what();
  }
  Session plain(without, lossy());
  plain.eval(text);
  plain.save_state(path);
  loads.load_state(path);  // what was sealed without goes on without
  EXPECT_EQ(logits_of(loads), logits_of(plain));
  loads.eval(text);
  plain.eval(text);
  EXPECT_EQ(logits_of(loads), logits_of(plain));
  Session copy(*loaded.engine, lossy());
  copy.copy_from(loads);  // and so does a copy, until it is emptied: then it is a new session
  EXPECT_EQ(logits_of(copy), logits_of(plain));
  copy.reset();
  copy.eval(text);
  EXPECT_EQ(logits_of(copy), logits_of(saved));
  EXPECT_NE(logits_of(copy), logits_of(plain));

  EngineOptions options{.n_threads = 1};
  options.calibration.source = loaded.folder.write("named.gguf", "");
  saved.cache().format().calibration()->save(options.calibration.source);
  Engine named(loaded.engine->file().path(), options);
  Session strict(named, lossy());
  EXPECT_THROW(strict.load_state(path), Error);

  // Before anything is sealed there is no difference.
  Session brief(without, lossy());
  brief.eval(std::span(text).first(100));
  brief.save_state(path);
  strict.load_state(path);
  EXPECT_EQ(logits_of(strict), logits_of(brief));
}

}  // namespace
}  // namespace spectralkv
