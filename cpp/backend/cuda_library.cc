// Looks for the library beside what holds this code, and takes nothing of another build.
#include "backend/cuda_library.h"

#include <dlfcn.h>
#include <sys/auxv.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "backend/plugin.h"

namespace spectralkv {
namespace {

constexpr const char* kFile = "libspectralkv_cuda.so";
constexpr const char* kVariable = "SPECTRALKV_CUDA_LIBRARY";
constexpr const char* kOtherwise = ", or stay on the CPU (-ngl 0, n_gpu_layers=0)";

// The folder of the program or shared object that this function is linked into.
std::filesystem::path own_folder() {
  Dl_info own{}, program{};
  std::error_code ignored;
  if (dladdr(reinterpret_cast<const void*>(&own_folder), &own) == 0) return {};
  const bool is_program = dladdr(reinterpret_cast<const void*>(getauxval(AT_PHDR)), &program) != 0 &&
                          program.dli_fbase == own.dli_fbase;
  return std::filesystem::canonical(is_program ? "/proc/self/exe" : own.dli_fname, ignored).parent_path();
}

// What the variable names; else the file beside this code, or where there is none, nothing.
std::filesystem::path library_path() {
  if (const char* named = std::getenv(kVariable); named != nullptr && *named != '\0') return named;
  const std::filesystem::path folder = own_folder();
  std::error_code ignored;
  for (const char* way : {".", "../lib"})
    if (auto path = folder / way / kFile; std::filesystem::exists(path, ignored))
      return path.lexically_normal();
  return {};
}

std::string require_library() {
  const std::filesystem::path path = library_path();
  std::error_code ignored;
  if (!path.empty()) {
    check(std::filesystem::exists(path, ignored), "cuda", kVariable, " names '", path.string(),
          "', which does not exist");
    return path.string();
  }
  // SPECTRALKV_WITH_CUDA is 0 or 1, from CMake.
  check(SPECTRALKV_WITH_CUDA == 1, "cuda",
        "built without CUDA: install a CUDA toolkit (nvcc 12 or newer) and build again with "
        "-DSPECTRALKV_CUDA=ON",
        kOtherwise);
  fail(ErrorKind::value, "cuda", kFile, " is missing in '", own_folder().string(),
       "': install again, or name the file by the variable ", kVariable, kOtherwise);
}

void* symbol(void* library, const char* name, const std::string& path) {
  void* const found = dlsym(library, name);
  check(found != nullptr, "cuda", "'", path, "' is no backend of spectralkv: it lacks ", name);
  return found;
}

}  // namespace

bool has_cuda_library() {
  std::error_code ignored;
  return std::filesystem::exists(library_path(), ignored);
}

std::unique_ptr<Backend> load_cuda_backend(const BackendOptions& options) {
  const std::string path = require_library();
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const reason = dlerror();
    fail(ErrorKind::value, "cuda", "cannot load '", path, "': ", reason == nullptr ? "no reason" : reason,
         "; if that names a library of CUDA's, install the toolkit's libraries or add their folder to "
         "LD_LIBRARY_PATH",
         kOtherwise);
  }
  const auto abi = reinterpret_cast<PluginAbi>(symbol(library, kPluginAbiName, path));
  check(std::string_view(abi()) == SPECTRALKV_PLUGIN_ABI, "cuda", "'", path, "' is of another build (", abi(),
        ", this is " SPECTRALKV_PLUGIN_ABI "): build or install both together");
  PluginReply reply;
  reinterpret_cast<PluginMake>(symbol(library, kPluginMakeName, path))(&options, &reply);
  if (reply.backend == nullptr) throw Error(reply.kind, reply.error, {__FILE__, __LINE__});
  return std::unique_ptr<Backend>(reply.backend);
}

}  // namespace spectralkv
