// The priority list and the processor test.
#include "simd/dispatch.h"

#include <cstdlib>
#include <string_view>

#include "base/error.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace spectralkv {
namespace {

#if defined(__x86_64__) || defined(__i386__)
// What compilers do not know by name is asked of the processor: F16C (clang 14), AVX-VNNI (GCC 12).
bool cpu_has_avx2() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
bool cpu_has_avxvnni() {  // bit 4 of eax in leaf 7, subleaf 1
  unsigned a = 0, b = 0, c = 0, d = 0;
  return cpu_has_avx2() && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && a >= 1 &&
         __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & 1u << 4) != 0;
}
bool cpu_has_avx512() {
  return cpu_has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}
#endif

#if defined(__aarch64__)
#if defined(__APPLE__)
bool system_says(const char* name) {
  int has = 0;
  std::size_t size = sizeof has;
  return sysctlbyname(name, &has, &size, nullptr, 0) == 0 && has != 0;
}
#endif
bool cpu_has_dotprod() {
#if defined(__linux__)
  constexpr unsigned long kAsimdDp = 1ul << 20;  // HWCAP_ASIMDDP, which old headers lack
  return (getauxval(AT_HWCAP) & kAsimdDp) != 0;
#elif defined(__APPLE__)
  return system_says("hw.optional.arm.FEAT_DotProd");
#else
  return false;
#endif
}
bool cpu_has_i8mm() {
#if defined(__linux__)
  constexpr unsigned long kI8mm = 1ul << 13;  // HWCAP2_I8MM, likewise
  return cpu_has_dotprod() && (getauxval(AT_HWCAP2) & kI8mm) != 0;
#elif defined(__APPLE__)
  return cpu_has_dotprod() && system_says("hw.optional.arm.FEAT_I8MM");
#else
  return false;
#endif
}
#endif

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
  const auto add = [&](bool has, const simd::Kernels* kernels) {
    if (has && kernels != nullptr) result.push_back(kernels);
  };
#if defined(__x86_64__) || defined(__i386__)
  add(cpu_has_avx512(), simd::kernels_avx512());
  add(cpu_has_avxvnni(), simd::kernels_avxvnni());
  add(cpu_has_avx2(), simd::kernels_avx2());
#elif defined(__aarch64__)
  add(cpu_has_i8mm(), simd::kernels_i8mm());
  add(cpu_has_dotprod(), simd::kernels_dotprod());
  add(true, simd::kernels_neon());
#endif
  result.push_back(simd::kernels_scalar());
  return result;
}

const simd::Kernels& kernels() {
  static const simd::Kernels& chosen = choose();
  return chosen;
}

}  // namespace spectralkv
