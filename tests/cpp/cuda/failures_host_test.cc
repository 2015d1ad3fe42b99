// What becomes of a device that fails, and what the host asks of it: only the host executor can be told to
// fail, and only it counts.
#include <gtest/gtest.h>

#include <deque>
#include <limits>
#include <stdexcept>

#include "backend/forwarding.h"
#include "base/error.h"
#include "cpp/cuda/cache_cases.h"
#include "cpp/cuda/model_cases.h"
#include "cuda/backend/best.h"
#include "cuda/backend/cuda_backend.h"
#include "cuda/kv/page_pool.h"
#include "engine/generate.h"
#include "formats/encode.h"
#include "model/model.h"
#include "model/scratch.h"
#include "spectralkv.h"

namespace spectralkv {
namespace {

using namespace model_cases;

// What the device did not finish was not read: the session is empty, as after any pass that failed.
TEST_F(CudaEngine, ADeviceThatFailsLeavesNoTokensBehind) {
  Engine cpu(path_, options(false)), gpu(path_, options(true));
  Session a(cpu, session("f32")), b(gpu, session("f32"));
  const auto text = model().text(12);
  b.eval(text);
  ::setenv("SPECTRALKV_HOST_DEVICE_FAILS", "1", 1);
  EXPECT_THROW(b.eval_next(5), Error);
  ::unsetenv("SPECTRALKV_HOST_DEVICE_FAILS");
  EXPECT_TRUE(b.tokens().empty());
  EXPECT_EQ(b.cache_report().n_tokens, 0);
  a.eval(text);
  b.eval(text);
  EXPECT_LT(distance(b.logits(), a.logits()), 1e-5);
}

// The same through the public header: the answer's last token goes with the rest.
TEST_F(CudaEngine, ADeviceThatFailsLeavesAnEmbeddedSessionEmpty) {
  const api::Model model(path_, {1, -1});
  const api::SessionOptions exact{512, "f32", "f32"};
  api::Session failed(model, exact), fresh(model, exact);
  const api::GenerateOptions greedy{.temperature = 0, .max_tokens = 3};
  failed.read("abc");
  failed.generate(greedy);
  ::setenv("SPECTRALKV_HOST_DEVICE_FAILS", "1", 1);
  EXPECT_THROW(failed.read("d"), std::exception);
  ::unsetenv("SPECTRALKV_HOST_DEVICE_FAILS");
  EXPECT_EQ(failed.n_tokens(), 0);
  failed.read("abc");
  fresh.read("abc");
  EXPECT_EQ(failed.n_tokens(), fresh.n_tokens());
  EXPECT_EQ(failed.generate(greedy), fresh.generate(greedy));
}

// After a fault within a kernel every call fails; what is said is what was wrong first.
TEST_F(CudaEngine, ADeviceThatIsBrokenSaysWhatBrokeIt) {
  Engine gpu(path_, options(true));
  Session b(gpu, session("f32"));
  b.eval(model().text(12));
  ::setenv("SPECTRALKV_HOST_DEVICE_FAILS", "sticky", 1);
  try {
    b.eval_next(5);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("the device failed"), std::string::npos) << e.what();
  }
  ::unsetenv("SPECTRALKV_HOST_DEVICE_FAILS");
  EXPECT_TRUE(b.tokens().empty());
}

namespace cases = cache_cases;

// Gives its weights to the device as Q8_0.
class InBytes final : public ForwardingBackend {
 public:
  explicit InBytes(Backend& inner) : ForwardingBackend(inner) {}
  WeightView upload(const WeightView& w, Use use) override {
    WeightView view = w;
    view.type = DType::q8_0;
    auto& bytes = held_.emplace_back(static_cast<std::size_t>(view.bytes()));
    const std::vector<float> weights(static_cast<std::size_t>(w.cols), 1.0f);
    for (std::int64_t r = 0; r < w.rows; ++r)
      kEncode[static_cast<std::size_t>(DType::q8_0)](reinterpret_cast<const float*>(w.row(r)), weights.data(),
                                                     bytes.data() + r * view.row_bytes(), w.cols);
    view.data = bytes.data();
    return ForwardingBackend::upload(view, use);
  }

 private:
  std::deque<std::vector<std::byte>> held_;
};

// What steps of one token of each of some sequences ask for, one step after the other.
std::vector<device::Calls> calls_of_steps(Backend& backend, std::uint32_t n_layers, const char* type,
                                          std::size_t n_sequences, std::size_t n_steps) {
  const test::TempFolder folder;
  test::TinyModel tiny = model();
  tiny.n_layers = n_layers;
  const Gguf file(folder.write("tiny.gguf", tiny.bytes()));
  const ModelConfig config = read_config(file);
  const std::unique_ptr<Model> loaded = load_model(file, config, backend);
  const auto rows = static_cast<std::int64_t>(n_sequences);
  Scratch scratch(backend, config, rows, rows);
  const auto format = std::make_shared<const CacheFormat>(config.cache_shape(), type, type);
  std::vector<std::unique_ptr<KvCache>> caches;
  for (std::size_t s = 0; s < n_sequences; ++s) caches.push_back(backend.make_cache(format, 512));
  std::vector<device::Calls> calls;
  const Token token = 5;
  for (std::size_t i = 0; i < n_steps; ++i) {
    std::vector<StepPart> step;
    for (const auto& cache : caches) step.push_back({cache.get(), {&token, 1}, 1});
    const device::Calls before = device::calls();
    loaded->forward(backend, scratch, step);
    device::Calls more = device::calls();
    more.launches -= before.launches;
    more.copies_to_device -= before.copies_to_device;
    more.copies_to_host -= before.copies_to_host;
    calls.push_back(more);
  }
  return calls;
}
std::vector<std::int64_t> launches_of_steps(Backend& backend, std::uint32_t n_layers, const char* type,
                                            std::size_t n_sequences, std::size_t n_steps) {
  std::vector<std::int64_t> launches;
  for (const device::Calls& calls : calls_of_steps(backend, n_layers, type, n_sequences, n_steps))
    launches.push_back(calls.launches);
  return launches;
}

// Of a step whose weights are Q8_0.
std::int64_t launches_of_a_step(std::uint32_t n_layers, const char* type, std::size_t n_sequences = 1) {
  const std::unique_ptr<Backend> device = cuda::make_backend({});
  InBytes backend(*device);
  return launches_of_steps(backend, n_layers, type, n_sequences, 2).back();
}

// A token's launches in each layer (docs/cuda.md has them one by one), and besides: the embedding, the first
// norm, the head.
TEST(CudaStep, TakesSoManyLaunches) {
  EXPECT_EQ(launches_of_a_step(4, "eoptshrinkq:2"), 4 * 6 + 3);
  EXPECT_EQ(launches_of_a_step(7, "eoptshrinkq:2"), 7 * 6 + 3);
  EXPECT_EQ(launches_of_a_step(4, "f16"), 4 * 6 + 3);
}

// Of several sequences norms are launches of their own; beyond four products are a launch each, and so is the
// rounding before them.
TEST(CudaStep, TakesAsManyForSeveralSequences) {
  EXPECT_EQ(launches_of_a_step(2, "eoptshrinkq:2", 4), 2 * 8 + 3);
  EXPECT_EQ(launches_of_a_step(2, "f16", 4), 2 * 8 + 3);
  EXPECT_EQ(launches_of_a_step(2, "eoptshrinkq:2", 5), 2 * 16 + 4);
  EXPECT_EQ(launches_of_a_step(2, "eoptshrinkq:2", 16), 2 * 16 + 4);
  EXPECT_EQ(launches_of_a_step(2, "eoptshrinkq:2", 17), 2 * (16 + 2) + 4);
}

// To the device go tokens, angles and positions, back come faults, however many sequences there are.
TEST(CudaStep, CopiesAsOftenForManySequences) {
  const std::unique_ptr<Backend> device = cuda::make_backend({});
  for (const std::size_t n : {1u, 3u, 16u}) {
    const device::Calls calls = calls_of_steps(*device, 1, "f16", n, 2).back();
    EXPECT_EQ(calls.copies_to_device, 3) << n;
    EXPECT_EQ(calls.copies_to_host, 1) << n;
  }
}

// The second step is recorded, and from then on only the embedding comes before the record.
TEST(CudaStep, SeveralSequencesAreReplayed) {
  const std::unique_ptr<Backend> device = cuda::make_backend({});
  const auto few = launches_of_steps(*device, 2, "f16", 3, 4);
  EXPECT_EQ(few[1], 2 * 8 + 3);
  EXPECT_EQ(few[2], 1);
  EXPECT_EQ(few[3], 1);
  const auto many = launches_of_steps(*device, 2, "f16", 6, 3);
  EXPECT_EQ(many[2], many[0]) << "with matrices of f32, which cuBLAS multiplies";
}

// Sealing is enqueued layer by layer while tokens go on, never all at once.
TEST(DeviceCacheSealing, IsSpreadOverTheTokensOfTheWindow) {
  constexpr std::int64_t kLayers = 8, kTokens = 420;
  const cases::Case c{1, 1, 64, kTokens, "eoptshrinkq:2", "eoptshrinkq:2"};
  const cases::Inputs in(c);
  DeviceCache cache = cases::device_cache({kLayers, 1, 64}, kTokens, c.k, c.v);
  device::DeviceBuffer<float> k(in.k.size()), v(in.v.size());
  k.write(in.k, nullptr);
  v.write(in.v, nullptr);
  std::int64_t most = 0, sum = 0;
  const auto one = [&](std::int64_t t) {
    cache.prepare(1);
    for (std::int64_t l = 0; l < kLayers; ++l)
      take_rows(cache, l, {k.data() + t * 64, 1, 64}, {v.data() + t * 64, 1, 64});
    const std::int64_t before = device::calls().launches;
    cache.commit(1);
    most = std::max(most, device::calls().launches - before);
    sum += device::calls().launches - before;
  };
  for (std::int64_t t = 0; t < kTokens; ++t) one(t);
  EXPECT_GT(most, 0);
  EXPECT_LE(most, 12) << "launches at one token: one layer's";
  EXPECT_GE(sum, 3 * kLayers * 5) << "three blocks of each layer";
}

template <int kUnused>
__global__ void starts_early(bool waits) {
  if (waits) device::wait_for_earlier();
}

TEST(CudaStep, KernelsThatStartEarlyWait) {
  device::launch_early(starts_early<0>, dim3(1), dim3(32), 0, nullptr, true);
  EXPECT_THROW(device::launch_early(starts_early<0>, dim3(1), dim3(32), 0, nullptr, false),
               std::runtime_error);
}

// What is recorded for a token holds for later ones, whose context has sealed blocks, also where so many
// heads share a KV head that they would be read as a prompt's rows.
TEST(CudaStep, ATokenOfManyHeadsIsReplayed) {
  for (const char* type : {"f16", "eoptshrinkq:5"}) {
    const cases::Case c{140, 1, 64, 302, type, type};
    const cases::Inputs in(c);
    DeviceCache replayed = cases::device_cache(c, c.n), straight = cases::device_cache(c, c.n);
    const auto q_width = static_cast<std::size_t>(c.heads * c.d), width = static_cast<std::size_t>(c.d);
    device::DeviceBuffer<float> q(q_width), k(in.k.size()), v(in.v.size()), out(q_width);
    k.write(in.k, nullptr);
    v.write(in.v, nullptr);
    const auto rows = [&](const auto& of, std::int64_t from, std::int64_t n) {
      return ConstMatrix(of.data() + from * c.d, n, c.d);
    };
    const auto read = [&](DeviceCache& cache, std::int64_t from, std::int64_t to) {
      cache.prepare(to - from);
      take_rows(cache, 0, rows(k, from, to - from), rows(v, from, to - from));
      cache.commit(to - from);
    };
    device::DeviceBuffer<float> next_k(width), next_v(width);
    const auto bring = [&](std::int64_t t) {
      const auto of = [&](const std::vector<float>& x, std::size_t n) {
        return std::span(x).subspan(static_cast<std::size_t>(t) * n, n);
      };
      q.write(of(in.q, q_width), nullptr);
      next_k.write(of(in.k, width), nullptr);
      next_v.write(of(in.v, width), nullptr);
      replayed.prepare(1);
    };
    const auto token = [&] {
      const CachePart all{&replayed, 0, 1};
      attend({&all, 1}, 0, cases::shape_of(c),
             {{q.data(), 1, c.heads * c.d},
              {next_k.data(), 1, c.d},
              {next_v.data(), 1, c.d},
              {out.data(), 1, c.heads * c.d},
              {},
              {}});
    };
    read(replayed, 0, 100);
    bring(100);
    token();  // makes the memory that it needs
    replayed.commit(1);
    bring(101);
    device::Graph graph;
    graph.record(nullptr, token);
    graph.launch(nullptr);
    replayed.commit(1);
    read(replayed, 102, c.n - 1);
    bring(c.n - 1);
    graph.launch(nullptr);
    replayed.commit(1);
    std::vector<float> got(q_width);
    out.read(got, nullptr);
    device::synchronize(nullptr);

    for (const std::int64_t to : {100, 101, 102}) read(straight, to == 100 ? 0 : to - 1, to);
    read(straight, 102, c.n - 1);
    EXPECT_EQ(got, cases::device_step(straight, c, in, c.n - 1, c.n)) << type;
  }
}

// The blocks of a step go through each kernel together, straight from the step's rows, and are what they are
// when tokens come one by one.
TEST(DeviceCacheSealing, TakesTheBlocksOfAStepTogether) {
  const cases::Case c{2, 2, 64, 1100, "eoptshrinkq:2,sink=3", "turboquant:2,sink=3"};
  const cases::Inputs in(c);
  DeviceCache one_by_one = cases::device_cache({1, 2, 64}, c.n, c.k, c.v),
              together = cases::device_cache({1, 2, 64}, c.n, c.k, c.v);
  device::DeviceBuffer<float> k(in.k.size()), v(in.v.size());
  k.write(in.k, nullptr);
  v.write(in.v, nullptr);
  const auto read = [&](DeviceCache& cache, std::int64_t from, std::int64_t n) {
    const std::int64_t width = c.kv_heads * c.d, before = device::calls().launches;
    cache.prepare(n);
    take_rows(cache, 0, {k.data() + from * width, n, width}, {v.data() + from * width, n, width});
    const std::int64_t launches = device::calls().launches - before;
    cache.commit(n);
    return launches;
  };
  for (std::int64_t t = 0; t < c.n; ++t) read(one_by_one, t, 1);
  read(together, 0, 50);
  const std::int64_t rows = (1050 + 255) / 256, blocks = (1099 - 128) / 128;
  constexpr std::int64_t kernels = 9;  // before blocks are placed: of low-rank parts and a search
  EXPECT_EQ(read(together, 50, 1050), rows + 2 * kernels + blocks)
      << "the first block, with sinks, alone; then all others";
  const test::TempFolder folder;
  EXPECT_EQ(cases::contents(cases::save(together, folder, "together")),
            cases::contents(cases::save(one_by_one, folder, "one by one")));
}

// Blocks find their places without the host waiting for the device, and pages that were given back are used
// again.
TEST(DeviceCacheSealing, NeitherWaitsNorAllocatesWhereItHasBeenBefore) {
  const cases::Case c{2, 2, 256, 1300, "f16", "f16"};
  const cases::Inputs in(c);
  DeviceCache cache = cases::device_cache({1, 2, 256}, c.n, c.k, c.v),
              other = cases::device_cache({1, 2, 256}, c.n, c.k, c.v);
  device::DeviceBuffer<float> k(in.k.size()), v(in.v.size());
  k.write(in.k, nullptr);
  v.write(in.v, nullptr);
  const auto read_all = [&](DeviceCache& to) {
    const std::int64_t width = c.kv_heads * c.d;
    for (std::int64_t t = 0; t < c.n; ++t) {
      to.prepare(1);
      take_rows(to, 0, {k.data() + t * width, 1, width}, {v.data() + t * width, 1, width});
      to.commit(1);
    }
  };
  const device::Calls begin = device::calls();
  read_all(other);  // keeps its pages
  const device::Calls first = device::calls();
  EXPECT_EQ(first.waits, begin.waits);
  read_all(cache);
  cache.reset();
  const device::Calls second = device::calls();
  EXPECT_GT(second.allocations, first.allocations);
  read_all(cache);
  EXPECT_EQ(device::calls().allocations, second.allocations);
}

TEST(DeviceCachePages, AreFullOfBlocksOfOneSize) {
  const cases::Case c{2, 2, 256, 128 * 20 + 1, "f16", "f16"};  // 128 KiB a block
  const cases::Inputs in(c);
  DeviceCache cache = cases::device_cache({1, 2, 256}, c.n, c.k, c.v);
  const std::int64_t width = c.kv_heads * c.d, before = cases::device_work().pages->in_use();
  device::DeviceBuffer<float> k(in.k.size()), v(in.v.size());
  k.write(in.k, nullptr);
  v.write(in.v, nullptr);
  cache.prepare(c.n);
  take_rows(cache, 0, {k.data(), c.n, width}, {v.data(), c.n, width});
  cache.commit(c.n);
  const CacheReport report = cache.report();
  const std::int64_t held = cases::device_work().pages->in_use() - before, page = held / 2 / ((20 + 7) / 8);
  EXPECT_GE(page, 1 << 20);
  EXPECT_LE(held, report.k.sealed_bytes + report.v.sealed_bytes + 2 * page);
}

TEST(PagePool, GivesPagesOfOneSlab) {
  const std::size_t before = device::allocated_bytes();
  {
    device_kv::PagePool pool(3);
    const std::int64_t first = device::calls().allocations;
    std::vector<std::uint8_t*> pages;
    for (int i = 0; i < 3; ++i) pages.push_back(pool.take(1000));
    EXPECT_EQ(device::calls().allocations, first + 1);
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < i; ++j)
        EXPECT_GE(std::abs(pages[static_cast<std::size_t>(i)] - pages[static_cast<std::size_t>(j)]), 1000);
    pages.push_back(pool.take(1000));
    EXPECT_EQ(device::calls().allocations, first + 2);
    EXPECT_EQ(pool.in_use(), 4000);
    pool.give_back(pages[1], 1000);
    EXPECT_EQ(pool.take(1000), pages[1]);
    for (std::uint8_t* const page : pages) pool.give_back(page, 1000);
    EXPECT_EQ(pool.in_use(), 0);
    EXPECT_EQ(device::allocated_bytes(), before) << "memory that nobody uses is the driver's again";
  }
}

// A token that is chosen costs one copy and one wait.
TEST(CudaBest, IsFetchedAtOnce) {
  std::vector<float> values(5000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i * 37 % 5000);
  device::DeviceBuffer<float> in(values.size());
  in.write(values, nullptr);
  cuda::Best best;
  std::vector<std::pair<float, std::int32_t>> out(40);
  const device::Calls before = device::calls();
  ASSERT_TRUE(best.find(in.data(), 5000, out, nullptr));
  EXPECT_EQ(device::calls().copies_to_host - before.copies_to_host, 1);
  EXPECT_EQ(device::calls().waits - before.waits, 1);
}

}  // namespace
}  // namespace spectralkv
