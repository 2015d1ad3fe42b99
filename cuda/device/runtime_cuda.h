// Memory, streams and launches; every call is checked. tests/cuda/host/runtime_host.h is the twin.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <tuple>
#include <utility>

#include "base/error.h"

namespace spectralkv::device {

using Stream = cudaStream_t;

inline void cuda_check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) [[likely]]
    return;
  static_cast<void>(cudaGetLastError());
  fail(status == cudaErrorMemoryAllocation ? ErrorKind::memory : ErrorKind::os, "cuda", what, ": ",
       cudaGetErrorString(status));
}

inline void* allocate(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  void* memory = nullptr;
  const cudaError_t status = cudaMalloc(&memory, bytes);
  if (status == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());
    std::size_t free = 0, total = 0;
    static_cast<void>(cudaMemGetInfo(&free, &total));
    fail(ErrorKind::memory, "cuda", "cannot allocate ", bytes, " bytes on the device: ", free, " of ", total,
         " are free");
  }
  cuda_check(status, "allocating device memory");
  return memory;
}
inline void release(void* memory) {
  static_cast<void>(cudaFree(memory));
}

inline constexpr std::size_t kPagesAtOnce = 16;  // that PagePool asks the driver for

// Memory of the host that the device copies from and to on its own; what the host has elsewhere goes through
// memory of the driver, and the caller waits.
inline void* allocate_pinned(std::size_t bytes) {
  void* memory = nullptr;
  cuda_check(cudaHostAlloc(&memory, bytes, cudaHostAllocDefault), "allocating pinned memory");
  return memory;
}
inline void release_pinned(void* memory) {
  static_cast<void>(cudaFreeHost(memory));
}

inline void copy_to_device(void* device, const void* host, std::size_t bytes, Stream stream) {
  cuda_check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream), "copying to the device");
}
inline void copy_to_host(void* host, const void* device, std::size_t bytes, Stream stream) {
  cuda_check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream), "copying from the device");
}
inline void copy_on_device(void* to, const void* from, std::size_t bytes, Stream stream) {
  cuda_check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream), "copying on the device");
}
inline void fill_bytes(void* device, int value, std::size_t bytes, Stream stream) {
  cuda_check(cudaMemsetAsync(device, value, bytes, stream), "filling device memory");
}
inline void synchronize(Stream stream) {
  cuda_check(cudaStreamSynchronize(stream), "waiting for the device");
}

// Of two streams that have work the urgent one's thread blocks go first.
enum class Urgency { ordinary, urgent };
inline Stream make_stream(Urgency urgency) {
  int least = 0, greatest = 0;
  cuda_check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "asking for stream priorities");
  Stream stream = nullptr;
  cuda_check(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking,
                                          urgency == Urgency::urgent ? greatest : least),
             "making a stream");
  return stream;
}
inline void destroy_stream(Stream stream) {
  static_cast<void>(cudaStreamDestroy(stream));
}

class Event {
 public:
  Event() { cuda_check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "making an event"); }
  Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  Event& operator=(Event&& other) noexcept {
    std::swap(event_, other.event_);
    return *this;
  }
  ~Event() {
    if (event_ != nullptr) static_cast<void>(cudaEventDestroy(event_));
  }
  void record(Stream stream) { cuda_check(cudaEventRecord(event_, stream), "recording an event"); }
  void make_wait(Stream stream) {
    cuda_check(cudaStreamWaitEvent(stream, event_, 0), "waiting for an event");
  }
  void synchronize() { cuda_check(cudaEventSynchronize(event_), "waiting for an event"); }

 private:
  cudaEvent_t event_ = nullptr;
};

// Launches that were recorded once and can be launched again, in one go.
class Graph {
 public:
  Graph() = default;
  Graph(Graph&& other) noexcept : exec_(std::exchange(other.exec_, nullptr)) {}
  Graph& operator=(Graph&& other) noexcept {
    std::swap(exec_, other.exec_);
    return *this;
  }
  ~Graph() {
    if (exec_ != nullptr) static_cast<void>(cudaGraphExecDestroy(exec_));
  }
  // Records what `launches` puts on the stream, without running it; when it throws, nothing is recorded.
  template <class F>
  void record(Stream stream, const F& launches) {
    cuda_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "recording a graph");
    cudaGraph_t graph = nullptr;
    try {
      launches();
    } catch (...) {
      static_cast<void>(cudaStreamEndCapture(stream, &graph));
      static_cast<void>(cudaGetLastError());
      if (graph != nullptr) static_cast<void>(cudaGraphDestroy(graph));
      throw;
    }
    cuda_check(cudaStreamEndCapture(stream, &graph), "recording a graph");
    Graph recorded;  // takes the one before along when it goes
    const cudaError_t status = cudaGraphInstantiate(&recorded.exec_, graph, 0);
    static_cast<void>(cudaGraphDestroy(graph));
    cuda_check(status, "making a graph");
    *this = std::move(recorded);
  }
  void launch(Stream stream) const { cuda_check(cudaGraphLaunch(exec_, stream), "launching a graph"); }

 private:
  cudaGraphExec_t exec_ = nullptr;
};

inline int multiprocessors() {
  static const int known = [] {
    int device = 0, count = 0;
    cuda_check(cudaGetDevice(&device), "asking for the device");
    cuda_check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device), "asking the device");
    return count;
  }();
  return known;
}

// Bytes of shared memory of a multiprocessor; what each thread block takes of them besides its own.
inline std::size_t shared_a_processor() {
  static const int known = [] {
    int device = 0, bytes = 0;
    cuda_check(cudaGetDevice(&device), "asking for the device");
    cuda_check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerMultiprocessor, device),
               "asking the device");
    return bytes;
  }();
  return static_cast<std::size_t>(known);
}
inline constexpr std::size_t kSharedOfABlock = 1024;

// Beyond 48 KiB of shared memory a kernel has to be told before; some of that it may have besides.
template <class... Parameters>
void allow_shared(void (*kernel)(Parameters...), std::size_t shared) {
  if (shared > 44 * 1024)
    cuda_check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                    cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)),
               "raising a kernel's shared memory");
}

// Thread blocks of a kernel that a multiprocessor holds at a time; shared: bytes of dynamic shared memory.
template <class... Parameters>
int blocks_at_once(void (*kernel)(Parameters...), int threads, std::size_t shared) {
  allow_shared(kernel, shared);
  int blocks = 0;
  cuda_check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, reinterpret_cast<const void*>(kernel),
                                                           threads, shared),
             "asking for a kernel's room");
  return blocks;
}

// Whether kernels can start before the one ahead of them has ended: compute capability 9.0, and a driver that
// takes such launches in graphs.
inline bool can_start_early() {
  static const bool can = [] {
    constexpr int kOldestDriver = 12030;
    int device = 0, major = 0, driver = 0;
    cuda_check(cudaGetDevice(&device), "asking for the device");
    cuda_check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
               "asking the device");
    cuda_check(cudaDriverGetVersion(&driver), "asking for the driver's version");
    return CUDART_VERSION >= kOldestDriver && major >= 9 && driver >= kOldestDriver;
  }();
  return can;
}

enum class Start { behind, early };

// shared: bytes of dynamic shared memory.
template <class... Parameters, class... Args>
void launch_with(Start start, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared,
                 Stream stream, const Args&... args) {
  allow_shared(kernel, shared);
  std::tuple<Parameters...> values(static_cast<Parameters>(args)...);
  std::apply(
      [&](auto&... value) {
        void* places[] = {&value...};
        cudaLaunchAttribute early{};
        early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
        early.val.programmaticStreamSerializationAllowed = 1;
        cudaLaunchConfig_t config{};
        config.gridDim = grid;
        config.blockDim = block;
        config.dynamicSmemBytes = shared;
        config.stream = stream;
        config.attrs = &early;
        config.numAttrs = start == Start::early && can_start_early() ? 1 : 0;
        cuda_check(cudaLaunchKernelExC(&config, reinterpret_cast<const void*>(kernel), places),
                   "launching a kernel");
      },
      values);
}

template <class... Parameters, class... Args>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared, Stream stream,
            const Args&... args) {
  launch_with(Start::behind, kernel, grid, block, shared, stream, args...);
}
// Of a kernel that calls wait_for_earlier() before it touches what others write: where the device can, its
// blocks start while the last ones of the launch ahead still run.
template <class... Parameters, class... Args>
void launch_early(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared, Stream stream,
                  const Args&... args) {
  launch_with(Start::early, kernel, grid, block, shared, stream, args...);
}

}  // namespace spectralkv::device
