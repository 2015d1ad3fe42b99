// cuda/device/runtime_cuda.h, which the host executor has a twin of, over a runtime that only counts.
#include "cuda/device/runtime_cuda.h"

#include <gtest/gtest.h>

namespace spectralkv::device {
namespace {

// A pass is recorded again whenever work memory has grown, for as long as a program runs.
TEST(CudaRuntime, RecordingAgainEndsWhatWasRecordedBefore) {
  const Stream stream = make_stream(Urgency::ordinary);
  {
    Graph graph;
    for (int i = 0; i < 3; ++i) {
      graph.record(stream, [] {});
      graph.launch(stream);
      EXPECT_EQ(fake::execs, 1);
      EXPECT_EQ(fake::graphs, 0);
    }
    EXPECT_THROW(graph.record(stream, [] { throw 1; }), int);
    fake::instantiate = cudaErrorUnknown;
    EXPECT_THROW(graph.record(stream, [] {}), Error);
    fake::instantiate = cudaSuccess;
    EXPECT_EQ(fake::graphs, 0);
    graph.launch(stream);  // what was recorded before is still there
    Graph other = std::move(graph);
    other.launch(stream);
  }
  EXPECT_EQ(fake::execs, 0);
  destroy_stream(stream);
  EXPECT_EQ(fake::streams, 0);
}

TEST(CudaRuntime, UrgentStreamsGoFirst) {
  const Stream urgent = make_stream(Urgency::urgent), ordinary = make_stream(Urgency::ordinary);
  EXPECT_LT(urgent->priority, ordinary->priority);
  destroy_stream(urgent);
  destroy_stream(ordinary);
}

TEST(CudaRuntime, EventsEndOnce) {
  {
    Event one;
    Event two = std::move(one);
    one = Event();
    EXPECT_EQ(fake::events, 2);
  }
  EXPECT_EQ(fake::events, 0);
}

void some_kernel(int, const double) {}

TEST(CudaRuntime, LaunchesPassArgumentsAndAskForSharedMemory) {
  launch(some_kernel, dim3(2), dim3(32), 1000, nullptr, short{7}, 1);
  EXPECT_EQ(fake::launched, reinterpret_cast<const void*>(some_kernel));
  EXPECT_EQ(fake::first_argument, 7);
  EXPECT_EQ(fake::shared_allowed, 0U);
  launch(some_kernel, dim3(2), dim3(32), 50000, nullptr, 8, 1);
  EXPECT_EQ(fake::shared_allowed, 50000U);
}

TEST(CudaRuntime, OnlyLaunchesThatSaySoMayStartEarly) {
  launch(some_kernel, dim3(2), dim3(32), 0, nullptr, 1, 1);
  EXPECT_EQ(fake::attributes, 0U);
  launch_early(some_kernel, dim3(2), dim3(32), 0, nullptr, 2, 1);
  EXPECT_EQ(fake::attributes, 1U);
  EXPECT_EQ(fake::first_argument, 2);
}

}  // namespace
}  // namespace spectralkv::device
