// The library's two exported functions (backend/plugin.h).
#include "backend/plugin.h"

#include <cstdio>
#include <exception>
#include <new>

#include "cuda/backend/cuda_backend.h"

namespace {

void refuse(spectralkv::PluginReply& reply, spectralkv::ErrorKind kind, const char* what) {
  reply.kind = kind;
  std::snprintf(reply.error, sizeof reply.error, "%s", what);
}

}  // namespace

extern "C" const char* spectralkv_plugin_abi() {
  return SPECTRALKV_PLUGIN_ABI;
}

extern "C" void spectralkv_plugin_make(const spectralkv::BackendOptions* options,
                                       spectralkv::PluginReply* reply) {
  try {
    reply->backend = spectralkv::cuda::make_backend(*options).release();
  } catch (const spectralkv::Error& error) {
    refuse(*reply, error.kind(), error.what());
  } catch (const std::bad_alloc&) {
    refuse(*reply, spectralkv::ErrorKind::memory, "[cuda] no host memory for the backend");
  } catch (const std::exception& error) {
    refuse(*reply, spectralkv::ErrorKind::os, error.what());
  }
}
