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
  double exact_bits = 0;         // per entry of these
};

struct CacheReport {
  std::int64_t n_layers = 0, n_kv_heads = 0, head_dim = 0, n_ctx = 0, n_tokens = 0;
  CacheSideReport k, v;
  std::int64_t work_bytes = 0;  // work space of the backend, which its caches share, as allocated
  std::int64_t bytes() const { return k.sealed_bytes + v.sealed_bytes + k.exact_bytes + v.exact_bytes; }
};

// Adds up the sealed blocks of a side: `sum` gets its bytes, entries and bits.
class SideCounter {
 public:
  explicit SideCounter(CacheSideReport& sum) : sum_(sum) {}
  // bytes: everything that the entries take; paper_bits: of all of them together.
  void add(std::int64_t entries, std::int64_t bytes, double paper_bits) {
    sum_.sealed_bytes += bytes;
    sum_.sealed_entries += entries;
    paper_ += paper_bits;
  }
  ~SideCounter() {
    if (sum_.sealed_entries == 0) return;
    const auto entries = static_cast<double>(sum_.sealed_entries);
    sum_.paper_bits = paper_ / entries;
    sum_.honest_bits = 8.0 * static_cast<double>(sum_.sealed_bytes) / entries;
  }
  SideCounter(const SideCounter&) = delete;
  SideCounter& operator=(const SideCounter&) = delete;

 private:
  CacheSideReport& sum_;
  double paper_ = 0;
};

}  // namespace spectralkv
