// What a backend in a shared library of its own exports: two C functions.
//
// The library links its own copies of the core's objects, hides all of them, and is of the same build as the
// program: both compile the same headers with the same C++ library, and say so by SPECTRALKV_PLUGIN_ABI (a
// hash of all files that the library's sources include, by cuda/fingerprint.cmake). So a Backend's virtual
// functions can be called across, and an Error that they throw is caught here: GCC and clang compare
// exception types by name. Only making a backend is wrapped, because a reason why there is none must arrive
// before anything else is trusted.
#pragma once

#include "backend/backends.h"
#include "base/error.h"

namespace spectralkv {

struct PluginReply {
  Backend* backend = nullptr;  // owned by the caller from here on
  ErrorKind kind = ErrorKind::value;
  char error[1024] = {};  // "[cuda] ...", where backend is null
};

using PluginAbi = const char* (*)();
using PluginMake = void (*)(const BackendOptions* options, PluginReply* reply);

inline constexpr const char* kPluginAbiName = "spectralkv_plugin_abi";
inline constexpr const char* kPluginMakeName = "spectralkv_plugin_make";

}  // namespace spectralkv
