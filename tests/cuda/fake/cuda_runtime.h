// CUDA's runtime as cuda/device/runtime_cuda.h calls it, for g++: nothing runs, but what is made and ended is
// counted.
#pragma once

#include <cstddef>
#include <cstdlib>

enum cudaError_t { cudaSuccess, cudaErrorMemoryAllocation, cudaErrorUnknown };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount,
  cudaDevAttrComputeCapabilityMajor,
  cudaDevAttrMaxSharedMemoryPerMultiprocessor
};
enum cudaLaunchAttributeID { cudaLaunchAttributeProgrammaticStreamSerialization };
#define CUDART_VERSION 13000
constexpr unsigned cudaHostAllocDefault = 0, cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2;

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned nx = 1, unsigned ny = 1, unsigned nz = 1) : x(nx), y(ny), z(nz) {}
};

namespace fake {

struct Thing {
  int* count;
  int priority = 0;
};
// How many there are, and what was asked for last.
inline int streams = 0, events = 0, graphs = 0, execs = 0, pinned = 0;
inline cudaError_t instantiate = cudaSuccess;
inline const void* launched = nullptr;
inline std::size_t shared_allowed = 0;
inline int first_argument = 0;
inline unsigned attributes = 0;  // of that launch

inline cudaError_t make(Thing** thing, int& count, int priority = 0) {
  *thing = new Thing{&count, priority};
  ++count;
  return cudaSuccess;
}
inline cudaError_t end(Thing* thing) {
  --*thing->count;
  delete thing;
  return cudaSuccess;
}

}  // namespace fake

using cudaStream_t = fake::Thing*;
using cudaEvent_t = fake::Thing*;
using cudaGraph_t = fake::Thing*;
using cudaGraphExec_t = fake::Thing*;

inline cudaError_t cudaGetLastError() {
  return cudaSuccess;
}
inline const char* cudaGetErrorString(cudaError_t) {
  return "what the driver says";
}
inline cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  *memory = std::malloc(bytes);
  return cudaSuccess;
}
inline cudaError_t cudaFree(void* memory) {
  std::free(memory);
  return cudaSuccess;
}
inline cudaError_t cudaMemGetInfo(std::size_t*, std::size_t*) {
  return cudaSuccess;
}
inline cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned) {
  *memory = std::malloc(bytes);
  ++fake::pinned;
  return cudaSuccess;
}
inline cudaError_t cudaFreeHost(void* memory) {
  std::free(memory);
  --fake::pinned;
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void*, const void*, std::size_t, cudaMemcpyKind, cudaStream_t) {
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void*, int, std::size_t, cudaStream_t) {
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) {
  return cudaSuccess;
}
inline cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0, *greatest = -5;
  return cudaSuccess;
}
inline cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int priority) {
  return fake::make(stream, fake::streams, priority);
}
inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return fake::end(stream);
}
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  return fake::make(event, fake::events);
}
inline cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return fake::end(event);
}
inline cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) {
  return cudaSuccess;
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t) {
  return cudaSuccess;
}
inline cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) {
  return cudaSuccess;
}
inline cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) {
  return cudaSuccess;
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  return fake::make(graph, fake::graphs);
}
inline cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return fake::end(graph);
}
inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t, unsigned long long) {
  if (fake::instantiate != cudaSuccess) return fake::instantiate;
  return fake::make(exec, fake::execs);
}
inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  return fake::end(exec);
}
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t) {
  return exec == nullptr ? cudaErrorUnknown : cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrComputeCapabilityMajor ? 9 : 1;
  return cudaSuccess;
}
inline cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
inline cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int bytes) {
  fake::shared_allowed = static_cast<std::size_t>(bytes);
  return cudaSuccess;
}
inline cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void*, int, std::size_t) {
  *blocks = 1;
  return cudaSuccess;
}
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  struct {
    int programmaticStreamSerializationAllowed;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};
inline cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* kernel,
                                       void** arguments) {
  fake::launched = kernel;
  fake::first_argument = *static_cast<int*>(arguments[0]);
  fake::attributes = config->numAttrs;
  return cudaSuccess;
}
