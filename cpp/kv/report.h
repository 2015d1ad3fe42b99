// What a cache holds, in bytes and bits.
#pragma once

#include <cstdint>
#include <string>

namespace spectralkv {

struct CacheSideReport {   // of K, or of V, over all layers
  std::string codec;       // canonical spec: what most layers have, and ";layers 0-1=..." for the others
  double paper_bits = 0;   // per entry of the sealed blocks, as the paper counts: codes and factors alone
  double honest_bits = 0;  // per entry of the sealed blocks: every byte that they hold
  std::int64_t sealed_bytes = 0, sealed_entries = 0;
  std::int64_t exact_bytes = 0;  // sinks and tail, as allocated
};

struct CacheReport {
  std::int64_t n_layers = 0, n_kv_heads = 0, head_dim = 0, n_ctx = 0, n_tokens = 0;
  CacheSideReport k, v;
  std::int64_t work_bytes = 0;  // staging, sealing and attention work space, as allocated
  std::int64_t bytes() const { return k.sealed_bytes + v.sealed_bytes + k.exact_bytes + v.exact_bytes; }
};

}  // namespace spectralkv
