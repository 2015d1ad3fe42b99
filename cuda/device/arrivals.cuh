// The last thread block of a launch that comes to a place goes on with what all of them made.
#pragma once

#include "cuda/device/device.h"

namespace spectralkv::device {

// Whether this block is the last of `blocks` that call it with the same counter; all its threads call, and
// for the last one all that any of them wrote before is there to be read. The counter, 0 before the launch,
// is 0 again behind it, for the next launch or replay.
//
// Why that holds (PTX's memory model): a block's writes come before its thread 0's fence by the barrier, and
// that fence before the addition; the last addition reads what those of all others wrote, directly or by way
// of further additions, which makes their fences synchronise with the second one here; and the block's other
// threads come behind that by the barrier. Nobody adds behind the last, so a plain store resets the counter,
// and the end of the launch shows it to the next. A kernel that starts early waits for earlier ones before it
// comes here: no two launches ever count together.
__device__ __forceinline__ bool last_to_arrive(unsigned* counter, unsigned blocks) {
  __shared__ bool last;
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    last = atomicAdd(counter, 1u) == blocks - 1;
    if (last) {
      *counter = 0;
      __threadfence();
    }
  }
  __syncthreads();
  return last;
}

}  // namespace spectralkv::device
