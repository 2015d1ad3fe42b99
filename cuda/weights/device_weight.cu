// The table of weight types on the device, and the launches over it.
#include "cuda/weights/device_weight.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdint>
#include <limits>

#include "base/error.h"
#include "cuda/weights/expert_gemv.cuh"
#include "cuda/weights/gemv.cuh"
#include "cuda/weights/mma_product.cuh"
#include "cuda/weights/repack.cuh"
#include "formats/formats.h"

namespace spectralkv::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr std::int64_t kPiece = std::int64_t{64} << 20;  // bytes of the file that are on the device at once

unsigned blocks_for(std::int64_t threads) {
  const std::int64_t blocks = (threads + kThreads - 1) / kThreads;
  assert(blocks <= std::numeric_limits<int>::max());
  return static_cast<unsigned>(blocks);
}

template <class Block>
constexpr bool kQuantised = Block::kForm.bits != 0;

template <class B>
struct BlockTag {
  using Block = B;
};

// Calls visit(BlockTag<the type's block>).
template <class Visit>
void with_type(DType type, const Visit& visit) {
  switch (type) {
#define X(name, ...) \
  case DType::name:  \
    return visit(BlockTag<skv_block_##name>());
#include "formats/list.def"
#undef X
  }
  fail(ErrorKind::value, "cuda", "a weight type of number ", static_cast<int>(type), " is not supported");
}

// Bytes of the four planes of a matrix, each a multiple of 256, so that all begin where wide loads may.
template <class F>
std::array<std::size_t, 4> plane_bytes(std::int64_t values) {
  const auto chunks = static_cast<std::size_t>(values / 32);
  const auto whole = [](std::size_t bytes) { return (bytes + 255) / 256 * 256; };
  return {whole(chunks * F::kMainWords * 4), whole(chunks * F::kHighWords * 4),
          whole(chunks * 32 / F::kSuper * F::kCoarse * 2), whole(chunks * F::kFineBytes)};
}

template <class Block>
void load_quantised(const WeightView& w, Planes& planes, device::DeviceBuffer<std::uint8_t>& memory,
                    device::DeviceBuffer<std::uint8_t>& staging, device::Stream stream) {
  using F = FormOf<Block>;
  const auto bytes = plane_bytes<F>(w.rows * w.cols);
  memory = device::DeviceBuffer<std::uint8_t>(bytes[0] + bytes[1] + bytes[2] + bytes[3]);
  std::uint8_t* at = memory.data();
  planes.main = reinterpret_cast<std::uint32_t*>(at);
  planes.high = reinterpret_cast<std::uint32_t*>(at += bytes[0]);
  planes.coarse = reinterpret_cast<std::uint16_t*>(at += bytes[1]);
  planes.fine = at + bytes[2];

  constexpr auto kBlockBytes = static_cast<std::int64_t>(sizeof(Block));
  const std::int64_t blocks = w.rows * w.cols / F::kSuper, most = kPiece / kBlockBytes;
  staging.reserve(static_cast<std::size_t>(std::min(blocks, most) * kBlockBytes));
  for (std::int64_t first = 0; first < blocks; first += most) {
    const std::int64_t n = std::min(most, blocks - first);
    device::copy_to_device(staging.data(), w.data + first * kBlockBytes,
                           static_cast<std::size_t>(n * kBlockBytes), stream);
    device::launch(repack_kernel<Block>, dim3(blocks_for(n)), dim3(kThreads), 0, stream, staging.data(), n,
                   first, planes);
  }
}

void load_floats(const WeightView& w, std::int64_t width, Planes& planes,
                 device::DeviceBuffer<std::uint8_t>& memory, device::Stream stream) {
  const std::int64_t unit = 16 / width;
  planes.stride = (w.cols + unit - 1) / unit * unit;
  memory = device::DeviceBuffer<std::uint8_t>(static_cast<std::size_t>(w.rows * planes.stride * width));
  planes.main = reinterpret_cast<std::uint32_t*>(memory.data());
  if (planes.stride == w.cols) {
    device::copy_to_device(memory.data(), w.data, memory.bytes(), stream);
    return;
  }
  device::fill_bytes(memory.data(), 0, memory.bytes(), stream);
  for (std::int64_t r = 0; r < w.rows; ++r)
    device::copy_to_device(memory.data() + r * planes.stride * width, w.row(r),
                           static_cast<std::size_t>(w.cols * width), stream);
}

template <class Out>
void expand(DType type, const Planes& w, const RowChoice& rows, Out* out, std::int64_t stride,
            device::Stream stream) {
  with_type(type, [&](auto tag) {
    using Block = typename decltype(tag)::Block;
    if constexpr (kQuantised<Block>) {
      assert(reinterpret_cast<std::uintptr_t>(out) % 16 == 0 && stride % 8 == 0);
      device::launch(dequantise_kernel<FormOf<Block>, Out>, dim3(blocks_for(rows.n * w.cols / 8)),
                     dim3(kThreads), 0, stream, w, rows, out, stride);
    } else {
      device::launch(copy_floats_kernel<kFloatKind<Block>, Out>, dim3(blocks_for(rows.n * w.cols)),
                     dim3(kThreads), 0, stream, w, rows, out, stride);
    }
  });
}

}  // namespace

bool DeviceWeight::quantised() const {
  return kUnpack[static_cast<std::size_t>(type_)].unpack != nullptr;
}

DeviceWeight::DeviceWeight(const WeightView& w, device::DeviceBuffer<std::uint8_t>& staging,
                           device::Stream stream)
    : type_(w.type) {
  planes_.rows = w.rows;
  planes_.cols = w.cols;
  with_type(type_, [&](auto tag) {
    using Block = typename decltype(tag)::Block;
    if constexpr (kQuantised<Block>)
      load_quantised<Block>(w, planes_, memory_, staging, stream);
    else
      load_floats(w, sizeof(Block), planes_, memory_, stream);
  });
  device::synchronize(stream);  // the file's pages may go
}

void DeviceWeight::rows(const RowChoice& rows, float* out, std::int64_t stride, device::Stream stream) const {
  expand(type_, planes_, rows, out, stride, stream);
}
void DeviceWeight::rows(const RowChoice& rows, std::uint16_t* out, std::int64_t stride,
                        device::Stream stream) const {
  expand(type_, planes_, rows, out, stride, stream);
}

void gemv(std::span<const DeviceJob> jobs, ConstMatrix x, const QuantRows& quantised, const GemvTail& tail,
          device::Stream stream) {
  assert(!jobs.empty() && jobs.size() <= kGemvJobs && x.rows <= kGemvTokens);
  GemvJobs all{};
  int groups = 0;
  for (std::size_t j = 0; j < kGemvJobs; ++j) {
    all.first_group[j] = groups;
    if (j >= jobs.size()) continue;
    const DeviceJob& job = jobs[j];
    all.job[j] = {job.w->planes(), job.bias, job.y.data, job.y.stride};
    groups += static_cast<int>((job.w->planes().rows + kGemvRows - 1) / kGemvRows);
  }
  all.first_group[kGemvJobs] = groups;
  all.paired = tail.paired;
  const int apart = tail.paired ? 16 : 1;  // groups that a block begins with
  const auto n = static_cast<int>(x.rows);
  const auto run = [&](auto kernel, std::size_t shared, const auto&... of_x) {
    // As many blocks as the device holds at a time, which stay.
    const int held = device::multiprocessors() * device::blocks_at_once(kernel, kGemvThreads, shared);
    device::launch_early(kernel, dim3(static_cast<unsigned>(std::min(groups / apart, held))),
                         dim3(kGemvThreads), shared, stream, all, of_x..., n, tail);
  };
  const std::size_t pairs = n == 1 ? pairs_shared<1>(tail) : pairs_shared<kGemvTokens>(tail);
  with_type(jobs[0].w->type(), [&](auto tag) {
    using Block = typename decltype(tag)::Block;
    if constexpr (kQuantised<Block>) {
      using F = FormOf<Block>;
      run(n == 1 ? gemv_kernel<F, 1> : gemv_kernel<F, kGemvTokens>, gemv_shared(QuantStep<F>::kBytes) + pairs,
          quantised);
    } else {
      constexpr FloatKind kKind = kFloatKind<Block>;
      run(n == 1 ? gemv_floats_kernel<kKind, 1> : gemv_floats_kernel<kKind, kGemvTokens>,
          gemv_shared(FloatStep<kKind>::kBytes) + pairs, x.data, x.stride);
    }
  });
}

namespace {

template <class F, class Tile>
void launch_mma(const MmaJob& job, device::Stream stream) {
  const auto tiles = [](std::int64_t n, int of) { return static_cast<unsigned>((n + of - 1) / of); };
  device::launch(mma_product<F, Tile>, dim3(tiles(job.w.rows, Tile::kRows), tiles(job.n, Tile::kTokens)),
                 dim3(Tile::kThreads), static_cast<std::size_t>(kMmaStages * MmaGroup<F, Tile>::kStage),
                 stream, job);
}

}  // namespace

void mma(const DeviceJob& job, std::int64_t n, const QuantRows& quantised, device::Stream stream) {
  const Planes& w = job.w->planes();
  const MmaJob args{w, job.bias, quantised, n, job.y.data, job.y.stride};
  const std::int64_t large = (w.rows + LargeTile::kRows - 1) / LargeTile::kRows *
                             ((n + LargeTile::kTokens - 1) / LargeTile::kTokens);
  const bool small = n <= SmallTile::kTokens || large < device::multiprocessors();
  with_type(job.w->type(), [&](auto tag) {
    using Block = typename decltype(tag)::Block;
    if constexpr (kQuantised<Block>)
      small ? launch_mma<FormOf<Block>, SmallTile>(args, stream)
            : launch_mma<FormOf<Block>, LargeTile>(args, stream);
    else
      assert(false);
  });
}

void expert_gemv(std::span<const WeightView> experts, const Route* routes, ConstMatrix x, std::int64_t share,
                 Matrix y, device::Stream stream) {
  const std::int64_t blocks = y.rows * ((y.cols + kExpertWarps - 1) / kExpertWarps);
  check(blocks <= std::numeric_limits<int>::max(), "cuda", y.rows, " rows with ", y.cols,
        " values of an expert are too many at once: choose a smaller n_batch");
  const dim3 grid(static_cast<unsigned>(blocks)), threads(32 * kExpertWarps);
  for (std::size_t first = 0; first < experts.size();) {
    const DType type = device_weight(experts[first]).type();
    ExpertGemv args{{}, static_cast<int>(first), 0, routes, x.data, y.data, share};
    for (; first < experts.size() && args.count < kExpertsPerLaunch; ++first, ++args.count) {
      const DeviceWeight& w = device_weight(experts[first]);
      if (w.type() != type) break;
      args.w[args.count] = w.planes();
    }
    with_type(type, [&](auto tag) {
      using Block = typename decltype(tag)::Block;
      if constexpr (kQuantised<Block>)
        device::launch(expert_gemv_kernel<FormOf<Block>>, grid, threads, 0, stream, args);
      else
        device::launch(expert_gemv_floats_kernel<kFloatKind<Block>>, grid, threads, 0, stream, args);
    });
  }
}

}  // namespace spectralkv::cuda
