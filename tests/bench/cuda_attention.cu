// Measures attention over one layer's device cache, by cache type and context: of one token, and of a
// prompt's 2048 tokens behind the context. And the copy bandwidth of the same device in the same run. Checks
// the results against the CPU first.
//
//   cuda_attention [tokens...]     contexts, 32768 and 131072 by default; 32 heads, 8 KV heads, head dim 128
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "base/random.h"
#include "cuda/device/memory.h"
#include "cuda/kv/device_cache.h"

using namespace spectralkv;  // NOLINT: a program of one file

namespace {

constexpr std::int64_t kHeads = 32, kKvHeads = 8, kDim = 128, kPattern = 4096, kPrompt = 2048;
constexpr std::int64_t kQueryWidth = kHeads * kDim, kWidth = kKvHeads * kDim;

// A common direction, two strong ones and noise: blocks have low-rank parts.
std::vector<float> make_rows(std::uint64_t seed, std::int64_t n, std::int64_t width) {
  std::vector<float> x(static_cast<std::size_t>(n * width));
  for (std::int64_t t = 0; t < n; ++t)
    for (std::int64_t c = 0; c < width; ++c) {
      const auto column = static_cast<std::uint64_t>(c), row = static_cast<std::uint64_t>(t);
      double value = random_normal(seed, row * static_cast<std::uint64_t>(width) + column);
      value += random_normal(seed + 1, column);
      for (std::uint64_t i = 2; i < 4; ++i)
        value += random_normal(seed + i, column) * random_normal(seed + 10 + i, row);
      x[static_cast<std::size_t>(t * width + c)] = static_cast<float>(value);
    }
  return x;
}

struct Inputs {
  std::vector<float> q = make_rows(1, kPrompt, kQueryWidth), k = make_rows(100, kPattern, kWidth),
                     v = make_rows(200, kPattern, kWidth);
  device::DeviceBuffer<float> dq{q.size()}, dk{k.size()}, dv{v.size()}, out{q.size()};
};

AttentionShape shape() {
  return {kHeads, 1 / std::sqrt(static_cast<float>(kDim)), 0};
}

std::shared_ptr<const CacheFormat> format_of(const char* type) {
  return std::make_shared<const CacheFormat>(CacheShape{1, kKvHeads, kDim}, type, type);
}

void fill(DeviceCache& cache, const Inputs& in, std::int64_t tokens) {
  while (cache.n_tokens() < tokens) {
    const std::int64_t n = std::min(kPattern, tokens - cache.n_tokens());
    cache.prepare(n);
    take_rows(cache, 0, {in.dk.data(), n, kWidth}, {in.dv.data(), n, kWidth});
    cache.commit(n);
  }
}

void step(DeviceCache& cache, const Inputs& in, std::int64_t n = 1) {
  const CachePart all{&cache, 0, n};
  attend({&all, 1}, 0, shape(),
         {{in.dq.data(), n, kQueryWidth},
          {in.dk.data(), n, kWidth},
          {in.dv.data(), n, kWidth},
          {in.out.data(), n, kQueryWidth},
          {},
          {}});
}

// The distance between the device's and the CPU's outputs of n tokens behind others, over the CPU's norm.
double difference(const Inputs& in, const char* type, std::int64_t tokens, std::int64_t n,
                  cudaStream_t stream) {
  device_kv::DeviceWork work(stream);
  DeviceCache cache(format_of(type), tokens + n, work);
  fill(cache, in, tokens);
  cache.prepare(n);
  step(cache, in, n);
  std::vector<float> got(static_cast<std::size_t>(n * kQueryWidth)), expected(got.size());
  in.out.read(got, stream);
  device::synchronize(stream);

  ThreadPool pool(0);
  CacheWork cpu_work(pool, BlockPool());
  Cache cpu(format_of(type), tokens + n, cpu_work.blocks);
  {
    const Appended all(cpu.layer(0), {in.k.data(), tokens, kWidth}, {in.v.data(), tokens, kWidth}, cpu_work);
  }
  const Appended next(cpu.layer(0), {in.k.data(), n, kWidth}, {in.v.data(), n, kWidth}, cpu_work);
  attend(next, shape(), {in.q.data(), n, kQueryWidth}, {expected.data(), n, kQueryWidth}, cpu_work);
  double squares = 0, errors = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    squares += static_cast<double>(expected[i]) * static_cast<double>(expected[i]);
    errors += std::pow(static_cast<double>(got[i]) - static_cast<double>(expected[i]), 2);
  }
  return std::sqrt(errors / squares);
}

// Median milliseconds of what `work` enqueues, from events around each call.
template <class Work>
float median_ms(cudaStream_t stream, int turns, const Work& work) {
  cudaEvent_t begin, end;
  device::cuda_check(cudaEventCreate(&begin), "making an event");
  device::cuda_check(cudaEventCreate(&end), "making an event");
  std::vector<float> times;
  for (int i = 0; i < turns + 5; ++i) {
    device::cuda_check(cudaEventRecord(begin, stream), "recording an event");
    work();
    device::cuda_check(cudaEventRecord(end, stream), "recording an event");
    device::cuda_check(cudaEventSynchronize(end), "waiting for an event");
    float ms = 0;
    device::cuda_check(cudaEventElapsedTime(&ms, begin, end), "reading an event");
    if (i >= 5) times.push_back(ms);  // the first ones warm up
  }
  device::cuda_check(cudaEventDestroy(begin), "ending an event");
  device::cuda_check(cudaEventDestroy(end), "ending an event");
  std::nth_element(times.begin(), times.begin() + turns / 2, times.end());
  return times[static_cast<std::size_t>(turns / 2)];
}

// Bytes read and written a second by a large copy.
double copy_bandwidth(cudaStream_t stream) {
  constexpr std::size_t kBytes = std::size_t{1} << 30;
  device::DeviceBuffer<unsigned char> from(kBytes), to(kBytes);
  device::fill_bytes(from.data(), 0x5a, kBytes, stream);
  const float ms =
      median_ms(stream, 30, [&] { device::copy_on_device(to.data(), from.data(), kBytes, stream); });
  return 2.0 * static_cast<double>(kBytes) / (static_cast<double>(ms) * 1e-3);
}

void measure(const Inputs& in, const char* type, std::int64_t tokens, double bandwidth, cudaStream_t stream) {
  device_kv::DeviceWork work(stream);
  DeviceCache cache(format_of(type), tokens + 1, work);
  fill(cache, in, tokens);
  const CacheReport report = cache.report();
  const double bytes =
      static_cast<double>(report.k.sealed_bytes + report.v.sealed_bytes) +
      2.0 * 2 * static_cast<double>(kWidth) * static_cast<double>(tokens - report.k.sealed_entries / kWidth);
  cache.prepare(1);
  step(cache, in);  // makes room, so that nothing is allocated within the graph
  cudaGraph_t graph;
  cudaGraphExec_t replay;
  device::cuda_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "beginning a capture");
  step(cache, in);
  device::cuda_check(cudaStreamEndCapture(stream, &graph), "ending a capture");
  device::cuda_check(cudaGraphInstantiate(&replay, graph, 0), "making a graph");
  const double ms = static_cast<double>(median_ms(
      stream, 30, [&] { device::cuda_check(cudaGraphLaunch(replay, stream), "replaying a graph"); }));
  device::cuda_check(cudaGraphExecDestroy(replay), "ending a graph");
  device::cuda_check(cudaGraphDestroy(graph), "ending a graph");
  std::printf("%-16s %8lld %9.3f %9.2f %9.1f %8.1f%%\n", type, static_cast<long long>(tokens), ms,
              bytes / 1e6, bytes / ms * 1e-6, 100 * bytes / (ms * 1e-3) / bandwidth);
}

// A prompt behind `tokens`. The step is never counted, so it is the same each time, but for its sealing,
// which the first one did; and but for the newest tokens before it, in whose place the ring has the prompt's.
void measure_prompt(const Inputs& in, const char* type, std::int64_t tokens, cudaStream_t stream) {
  device_kv::DeviceWork work(stream);
  DeviceCache cache(format_of(type), tokens + kPrompt, work);
  fill(cache, in, tokens);
  cache.prepare(kPrompt);
  const double ms = static_cast<double>(median_ms(stream, 5, [&] { step(cache, in, kPrompt); }));
  const double products = 4.0 * kHeads * kDim * kPrompt * static_cast<double>(tokens + kPrompt / 2);
  std::printf("prompt %-16s %8lld %9.3f ms %9.1f TFLOP/s\n", type, static_cast<long long>(tokens), ms,
              products / ms * 1e-9);
}

}  // namespace

int main(int argc, char** argv) try {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
    std::puts("cuda_attention: there is no CUDA device");
    return 77;
  }
  std::vector<std::int64_t> contexts;
  for (int i = 1; i < argc; ++i) contexts.push_back(std::atoll(argv[i]));
  if (contexts.empty()) contexts = {32768, 131072};
  const cudaStream_t stream = device::make_stream(device::Urgency::urgent);
  Inputs in;
  in.dq.write(in.q, stream);
  in.dk.write(in.k, stream);
  in.dv.write(in.v, stream);
  constexpr const char* kTypes[] = {"f16",           "q8_0",          "turboquant:2",
                                    "eoptshrinkq:2", "eoptshrinkq:3", "eoptshrinkq:4"};
  for (const char* type : kTypes) {
    for (const std::int64_t n : {1, 100}) {
      const double error = difference(in, type, 2000, n, stream);
      std::printf("%-16s differs from the CPU by %.2e at %lld tokens\n", type, error,
                  static_cast<long long>(n));
      if (!(error < 1e-2)) {
        std::puts("cuda_attention: the result is wrong, nothing is measured");
        return 1;
      }
    }
  }
  const double bandwidth = copy_bandwidth(stream);
  std::printf("copy bandwidth: %.0f GB/s, read and written\n", bandwidth * 1e-9);
  std::printf("%-16s %8s %9s %9s %9s %9s\n", "type", "tokens", "ms", "MB", "GB/s", "of copy");
  for (const std::int64_t tokens : contexts)
    for (const char* type : kTypes) measure(in, type, tokens, bandwidth, stream);
  for (const std::int64_t tokens : contexts)
    for (const char* type : kTypes) measure_prompt(in, type, tokens, stream);
  device::destroy_stream(stream);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "cuda_attention: %s\n", error.what());
  return 1;
}
