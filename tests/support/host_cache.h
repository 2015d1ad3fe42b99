// A sequence's cache on the CPU with work space of its own, and steps through it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kv/attention.h"
#include "kv/cache.h"

namespace spectralkv::testing_support {

struct HostCache {
  HostCache(const CacheShape& shape, std::int64_t n_ctx, const std::string& type_k, const std::string& type_v,
            ThreadPool& pool, std::shared_ptr<const Calibration> calibration = nullptr)
      : work(pool, BlockPool()),
        cache(std::make_shared<const CacheFormat>(shape, type_k, type_v, CacheLayout::kNowhere,
                                                  std::move(calibration)),
              n_ctx, work.blocks) {}

  // Rows of the next tokens into one layer, [n, n_kv_heads * head_dim].
  void append(std::int64_t layer, ConstMatrix k, ConstMatrix v) {
    const Appended rows(cache.layer(layer), k, v, work);
  }
  // The same, and what their queries get: out [n, n_heads * head_dim].
  void attend(std::int64_t layer, const AttentionShape& shape, ConstMatrix q, ConstMatrix k, ConstMatrix v,
              Matrix out) {
    const Appended rows(cache.layer(layer), k, v, work);
    spectralkv::attend(rows, shape, q, out, work);
  }

  CacheWork work;
  Cache cache;
};

}  // namespace spectralkv::testing_support
