// Every entry is listed under each hash of its chain, so the deepest hash that a prompt shares leads to all
// that begin so. Hashes only lead there: tokens are compared.
#include "engine/prefix_cache.h"

#include <algorithm>

#include "base/random.h"

namespace spectralkv {

std::int64_t common_tokens(std::span<const Token> a, std::span<const Token> b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

std::vector<std::uint64_t> PrefixCache::chain_of(std::span<const Token> tokens) {
  std::vector<std::uint64_t> chain;
  std::uint64_t hash = 0;
  for (std::size_t i = 0; i + kLink <= tokens.size(); i += kLink) {
    for (const Token token : tokens.subspan(i, kLink))
      hash = random_bits(hash, static_cast<std::uint64_t>(token));
    chain.push_back(hash);
  }
  return chain;
}

template <class Visit>
void PrefixCache::visit(std::uint64_t hash, const Visit& see) {
  const auto [begin, end] = by_hash_.equal_range(hash);
  for (auto at = begin; at != end; ++at) see(at->second);
}

PrefixCache::Found PrefixCache::find(std::span<const Token> tokens, std::int64_t most) {
  const auto chain = chain_of(tokens.first(static_cast<std::size_t>(most)));
  Found best;
  Place used = entries_.end();
  for (std::int64_t depth = std::ssize(chain); depth > 0 && (depth + 1) * kLink > best.n; --depth)
    visit(chain[static_cast<std::size_t>(depth - 1)], [&](Place place) {
      if (depth < std::ssize(chain) && std::ssize(place->chain) > depth &&
          place->chain[static_cast<std::size_t>(depth)] == chain[static_cast<std::size_t>(depth)])
        return;  // seen one link deeper
      const std::int64_t common = std::min(common_tokens(place->tokens, tokens), most);
      best.common = std::max(best.common, common);
      const KvCache& cache = *place->cache;
      std::int64_t n = common;
      while (n > best.n && !cache.format().can_go_back(cache.n_tokens(), n)) --n;
      if (n <= best.n) return;
      best.n = n;
      best.cache = &cache;
      used = place;
    });
  if (used != entries_.end()) touch(used);
  return best;
}

void PrefixCache::add(std::span<const Token> tokens, const KvCache& cache) {
  Entry entry{{tokens.begin(), tokens.end()}, chain_of(tokens), nullptr};
  if (entry.chain.empty()) return;
  const CacheFormat& format = cache.format();
  const auto gives = [&](std::span<const Token> longer, std::span<const Token> shorter) {
    return shorter.size() <= longer.size() && format.can_go_back(std::ssize(longer), std::ssize(shorter)) &&
           std::equal(shorter.begin(), shorter.end(), longer.begin());
  };
  Place known = entries_.end();
  visit(entry.chain.back(), [&](Place place) {
    if (gives(place->tokens, tokens)) known = place;
  });
  if (known != entries_.end()) return touch(known);
  entry.cache = cache.keepsake();
  std::vector<Place> needless;
  for (std::size_t depth = 0; depth < entry.chain.size(); ++depth)
    visit(entry.chain[depth], [&](Place place) {
      if (place->chain.size() == depth + 1 && gives(tokens, place->tokens)) needless.push_back(place);
    });
  for (const Place place : needless) drop(place);
  exact_bytes_ += entry.cache->exact_bytes();
  const Place place = entries_.insert(entries_.end(), std::move(entry));
  for (const std::uint64_t hash : place->chain) by_hash_.emplace(hash, place);
}

std::int64_t PrefixCache::n_tokens() const {
  std::int64_t n = 0;
  for (const Entry& entry : entries_) n += std::ssize(entry.tokens);
  return n;
}

bool PrefixCache::drop_oldest() {
  if (entries_.empty()) return false;
  drop(entries_.begin());
  return true;
}

void PrefixCache::drop(Place place) {
  for (const std::uint64_t hash : place->chain) {
    auto [at, end] = by_hash_.equal_range(hash);
    at = std::find_if(at, end, [&](const auto& entry) { return entry.second == place; });
    by_hash_.erase(at);
  }
  exact_bytes_ -= place->cache->exact_bytes();
  entries_.erase(place);
}

}  // namespace spectralkv
