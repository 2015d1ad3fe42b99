// Reads Linux's folders about processors; asks macOS.
#include "base/processors.h"

#if defined(__linux__)
#include <sched.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <set>
#include <thread>
#include <vector>

#include "base/error.h"

namespace spectralkv {
namespace {

// A core with less of the fastest one's capacity was made to save power.
constexpr double kFastShare = 0.6;

std::string line_of(const std::string& path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

// Whether a list as "0-7,16" has the number.
bool lists(const std::string& list, int number) {
  for (const char* p = list.c_str(); *p >= '0' && *p <= '9';) {
    char* end = nullptr;
    const long first = std::strtol(p, &end, 10);
    const long last = *end == '-' ? std::strtol(end + 1, &end, 10) : first;
    if (number >= first && number <= last) return true;
    p = *end == ',' ? end + 1 : end;
  }
  return false;
}

std::vector<int> own_processors() {
  std::vector<int> own;
#if defined(__linux__)
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0)
    for (int i = 0; i < CPU_SETSIZE; ++i)
      if (CPU_ISSET(i, &set)) own.push_back(i);
#endif
  if (own.empty())
    for (int i = 0; i < std::max(1, static_cast<int>(std::thread::hardware_concurrency())); ++i)
      own.push_back(i);
  return own;
}

// What the cgroup leaves of n.
int within_quota(int n) {
#if defined(__linux__)
  if (std::FILE* file =
          std::fopen("/sys/fs/cgroup/cpu.max", "r")) {  // "quota period" in microseconds, or "max period"
    double quota = 0, period = 0;
    if (std::fscanf(file, "%lf %lf", &quota, &period) == 2 && quota > 0 && period > 0)
      n = std::min(n, static_cast<int>(quota / period + 0.999));
    std::fclose(file);
  }
#endif
  return std::max(n, 1);
}

}  // namespace

int available_processors() {
  return within_quota(static_cast<int>(own_processors().size()));
}

int fast_cores(std::span<const int> processors, const std::string& devices) {
  const std::string slow =
      line_of(devices + "/cpu_atom/cpus");  // of processors with two kinds of cores by Intel
  const auto of = [&](int processor, const char* what) {
    return line_of(concat(devices, "/system/cpu/cpu", processor, "/", what));
  };
  const auto capacity = [&](int processor) { return std::atof(of(processor, "cpu_capacity").c_str()); };
  double most = 0;
  for (const int processor : processors) most = std::max(most, capacity(processor));
  std::set<std::string> all, fast;
  for (const int processor : processors) {
    std::string core = of(processor, "topology/thread_siblings_list");
    if (core.empty()) core = concat("processor ", processor);
    all.insert(core);
    if (!lists(slow, processor) && capacity(processor) >= kFastShare * most) fast.insert(core);
  }
  return static_cast<int>(fast.empty() ? all.size() : fast.size());
}

int default_threads() {
#if defined(__APPLE__)
  int cores = 0;
  std::size_t size = sizeof cores;
  if (::sysctlbyname("hw.perflevel0.physicalcpu", &cores, &size, nullptr, 0) == 0 && cores > 0) return cores;
#endif
  return within_quota(fast_cores(own_processors(), "/sys/devices"));
}

}  // namespace spectralkv
