// Device memory of the host twin.
#include "tests/cuda/host/runtime_host.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <stdexcept>
#include <utility>

#include "base/error.h"

namespace spectralkv::device {
namespace {

constexpr std::size_t kGuard = 256;
constexpr int kGuardByte = 0xa5, kPoison = 0xff;  // NaN as any float

// Memory as handed out, and its bytes. Static objects may own some: it is there until the program ends.
std::map<std::byte*, std::size_t>& blocks() {
  static auto& map = *new std::map<std::byte*, std::size_t>;
  return map;
}

thread_local std::vector<std::function<void()>>* recording = nullptr;
Calls counted;

// SPECTRALKV_HOST_DEVICE_FAILS=1: whoever waits learns that something failed. =sticky: from then on all else
// fails too, as after a fault within a kernel.
bool has_failed = false;
void fail_if_broken() {
  const char* const told = std::getenv("SPECTRALKV_HOST_DEVICE_FAILS");
  has_failed = has_failed && told != nullptr;
  if (has_failed && std::string(told) == "sticky")
    fail(ErrorKind::value, "cuda", "the device is of no use any more");
}

void refuse_recording(const char* what) {
  if (recording != nullptr) throw std::runtime_error(std::string(what) + " while a graph is being recorded");
}

bool whole(const std::byte* memory, std::size_t bytes) {
  const auto guard = [](std::byte b) { return b == std::byte{kGuardByte}; };
  return std::all_of(memory - kGuard, memory, guard) &&
         std::all_of(memory + bytes, memory + bytes + kGuard, guard);
}

// That [at, at + bytes) is device memory.
void require(const void* at, std::size_t bytes, const char* what) {
  if (bytes == 0) return;
  const auto* const first = static_cast<const std::byte*>(at);
  auto it = blocks().upper_bound(const_cast<std::byte*>(first));
  if (it == blocks().begin() || (--it, first + bytes > it->first + it->second))
    throw std::runtime_error(std::string(what) + ": no device memory there");
}

}  // namespace

void* allocate(std::size_t bytes) {
  refuse_recording("allocate");
  ++counted.allocations;
  void* memory = nullptr;
  constexpr std::size_t kMost = std::size_t{1} << 40;
  if (bytes > kMost || posix_memalign(&memory, 256, bytes + 2 * kGuard) != 0)
    fail(ErrorKind::memory, "cuda", "cannot allocate ", bytes, " bytes on the device: the host has no more");
  auto* const at = static_cast<std::byte*>(memory) + kGuard;
  std::memset(memory, kGuardByte, bytes + 2 * kGuard);
  std::memset(at, kPoison, bytes);
  blocks()[at] = bytes;
  return at;
}

void release(void* memory) {
  if (memory == nullptr) return;
  auto* const at = static_cast<std::byte*>(memory);
  const auto it = blocks().find(at);
  if (it == blocks().end()) throw std::runtime_error("release: this is no device memory");
  const bool good = whole(at, it->second);
  blocks().erase(it);
  std::free(at - kGuard);
  if (!good) std::abort();  // check_guards says more, after the launch that did it
}

void check_guards(const char* after) {
  for (const auto& [memory, bytes] : blocks())
    if (!whole(memory, bytes))
      throw std::runtime_error(std::string(after) + " wrote beside device memory of " +
                               std::to_string(bytes) + " bytes");
}

void* allocate_pinned(std::size_t bytes) {
  refuse_recording("allocate_pinned");
  return std::malloc(bytes);
}
void release_pinned(void* memory) {
  std::free(memory);
}

Calls calls() {
  return counted;
}
void count_launch() {
  ++counted.launches;
}

namespace {
bool waited = false;
}
void note_wait() {
  waited = true;
}
void expect_wait() {
  waited = false;
}
void check_wait() {
  if (!waited) throw std::runtime_error("a kernel that starts early does not wait for those before");
}

void Event::record(Stream) {
  refuse_recording("Event::record");
  fail_if_broken();
}
void Event::make_wait(Stream) {
  refuse_recording("Event::make_wait");
  fail_if_broken();
}
void Event::synchronize() {
  refuse_recording("Event::synchronize");
  fail_if_broken();
}

std::size_t allocated_bytes() {
  std::size_t sum = 0;
  for (const auto& block : blocks()) sum += block.second;
  return sum;
}

void for_each_memory(const std::function<void(std::byte* at, std::size_t bytes)>& visit) {
  for (const auto& [at, bytes] : blocks()) visit(at, bytes);
}

void on_stream(std::function<void()> work) {
  if (recording != nullptr)
    recording->push_back(std::move(work));
  else
    work();
}

void Graph::record(Stream, const std::function<void()>& launches) {
  std::vector<std::function<void()>> list;
  recording = &list;
  try {
    launches();
  } catch (...) {
    recording = nullptr;
    throw;
  }
  recording = nullptr;
  work_ = std::move(list);
}

void copy_to_device(void* device, const void* host, std::size_t bytes, Stream) {
  refuse_recording("copy_to_device");  // its memory on the host would be read at every replay
  fail_if_broken();
  ++counted.copies_to_device;
  require(device, bytes, "copy_to_device");
  if (bytes > 0) std::memcpy(device, host, bytes);
}
void copy_to_host(void* host, const void* device, std::size_t bytes, Stream) {
  refuse_recording("copy_to_host");
  fail_if_broken();
  ++counted.copies_to_host;
  require(device, bytes, "copy_to_host");
  if (bytes > 0) std::memcpy(host, device, bytes);
}
void copy_on_device(void* to, const void* from, std::size_t bytes, Stream) {
  require(to, bytes, "copy_on_device");
  require(from, bytes, "copy_on_device");
  on_stream([=] {
    if (bytes > 0) std::memmove(to, from, bytes);
  });
}
void fill_bytes(void* device, int value, std::size_t bytes, Stream) {
  require(device, bytes, "fill_bytes");
  fail_if_broken();
  on_stream([=] {
    if (bytes > 0) std::memset(device, value, bytes);
  });
}
void synchronize(Stream) {
  refuse_recording("synchronize");
  fail_if_broken();
  ++counted.waits;
  has_failed = std::getenv("SPECTRALKV_HOST_DEVICE_FAILS") != nullptr;
  if (has_failed) fail(ErrorKind::value, "cuda", "the device failed");  // as a launch shows itself that did
}

}  // namespace spectralkv::device
