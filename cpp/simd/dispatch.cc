// The priority list and the processor test.
#include "simd/dispatch.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

#include <cstdlib>
#include <string_view>

#include "base/error.h"

namespace spectralkv {
namespace {

#if defined(__x86_64__) || defined(__i386__)
// The builtin does not know this name in clang before 15.
bool cpu_has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

bool cpu_has_avx2() {
#if defined(__x86_64__) || defined(__i386__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && cpu_has_f16c();
#else
  return false;
#endif
}

bool cpu_has_avx512() {
#if defined(__x86_64__) || defined(__i386__)
  return cpu_has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
#else
  return false;
#endif
}

const simd::Kernels& choose() {
  const auto usable = usable_kernels();
  const char* wish = std::getenv("SPECTRALKV_SIMD");
  if (wish == nullptr || *wish == '\0') return *usable.front();
  std::string names;
  for (const auto* k : usable) {
    if (std::string_view(wish) == k->name) return *k;
    names += names.empty() ? k->name : std::string(", ") + k->name;
  }
  fail(ErrorKind::value, "simd", "SPECTRALKV_SIMD=", wish, ": this processor and build have ", names);
}

}  // namespace

std::vector<const simd::Kernels*> usable_kernels() {
  std::vector<const simd::Kernels*> result;
  if (cpu_has_avx512() && simd::kernels_avx512() != nullptr) result.push_back(simd::kernels_avx512());
  if (cpu_has_avx2() && simd::kernels_avx2() != nullptr) result.push_back(simd::kernels_avx2());
  result.push_back(simd::kernels_scalar());
  return result;
}

const simd::Kernels& kernels() {
  static const simd::Kernels& chosen = choose();
  return chosen;
}

}  // namespace spectralkv
