// Every entry is listed under each hash of its chain, so the deepest hash that a prompt shares leads to all
// that begin so. Hashes only lead there: tokens are compared.
#include "engine/prefix_cache.h"

#include <algorithm>

#include "base/error.h"
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

PrefixCache::PrefixCache(std::shared_ptr<const CacheFormat> format, std::unique_ptr<KeptFiles> files)
    : format_(std::move(format)), files_(std::move(files)) {
  if (files_ == nullptr) return;
  for (KeptFiles::File& file : files_->found()) {
    auto chain = chain_of(file.tokens);
    ++n_files_;
    file_bytes_ += file.bytes;
    std::vector<Token> tokens = file.tokens;
    list({std::move(tokens), std::move(chain), nullptr, std::move(file), false});
  }
}

PrefixCache::Found PrefixCache::find(std::span<const Token> tokens, std::int64_t most) {
  const auto chain = chain_of(tokens.first(static_cast<std::size_t>(most)));
  for (;;) {
    Found best;
    Place used = entries_.end();
    for (std::int64_t depth = std::ssize(chain); depth > 0 && (depth + 1) * kLink > best.n; --depth)
      visit(chain[static_cast<std::size_t>(depth - 1)], [&](Place place) {
        if (depth < std::ssize(chain) && std::ssize(place->chain) > depth &&
            place->chain[static_cast<std::size_t>(depth)] == chain[static_cast<std::size_t>(depth)])
          return;  // seen one link deeper
        const std::int64_t common = std::min(common_tokens(place->tokens, tokens), most);
        best.common = std::max(best.common, common);
        const std::int64_t held = std::ssize(place->tokens);
        std::int64_t n = common;
        while (n > best.n && !format_->can_go_back(held, n)) --n;
        if (n <= best.n) return;
        best.n = n;
        used = place;
      });
    if (used == entries_.end()) return best;
    if (used->cache == nullptr && !load(used)) continue;  // a file that was not whole: without it
    best.cache = used->cache.get();
    touch(used);
    return best;
  }
}

void PrefixCache::add(std::span<const Token> tokens, const KvCache& cache) {
  Entry entry{{tokens.begin(), tokens.end()}, chain_of(tokens), nullptr, {}, true};
  if (entry.chain.empty()) return;
  const auto gives = [&](std::span<const Token> longer, std::span<const Token> shorter) {
    return shorter.size() <= longer.size() && format_->can_go_back(std::ssize(longer), std::ssize(shorter)) &&
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
  for (const Place place : needless) {
    if (!place->file.path.empty()) forget(place);
    drop(place);
  }
  list(std::move(entry));
}

PrefixCache::Place PrefixCache::list(Entry entry) {
  const Place place = entries_.insert(entries_.end(), std::move(entry));
  for (const std::uint64_t hash : place->chain) by_hash_.emplace(hash, place);
  if (place->cache == nullptr) return place;
  exact_bytes_ += place->cache->exact_bytes();
  ++in_memory_;
  if (place->unsaved) ++unsaved_;
  return place;
}

std::int64_t PrefixCache::n_tokens() const {
  std::int64_t n = 0;
  for (const Entry& entry : entries_)
    if (entry.cache != nullptr) n += std::ssize(entry.tokens);
  return n;
}

bool PrefixCache::drop_oldest() {
  const auto oldest = std::find_if(entries_.begin(), entries_.end(),
                                   [](const Entry& entry) { return entry.cache != nullptr; });
  if (oldest == entries_.end()) return false;
  if (files_ != nullptr && oldest->unsaved) save(oldest);
  if (oldest->file.path.empty())
    drop(oldest);
  else
    release(oldest);
  return true;
}

bool PrefixCache::save_one() {
  if (!has_unsaved()) return false;
  const auto newest = std::find_if(entries_.rbegin(), entries_.rend(), [](const Entry& entry) {
    return entry.cache != nullptr && entry.unsaved;
  });
  save(std::prev(newest.base()));
  return true;
}

// Where it cannot be written it is not tried again. Older files go where there would be too many.
void PrefixCache::save(Place place) {
  place->unsaved = false;
  --unsaved_;
  try {
    place->file = files_->save(place->tokens, *place->cache);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::os) throw;
    return;
  }
  place->file.tokens = place->tokens;
  ++n_files_;
  file_bytes_ += place->file.bytes;
  for (auto at = entries_.begin(); at != entries_.end() && file_bytes_ > files_->most_bytes();) {
    const Place next = at++;
    if (next->file.path.empty() || next == place) continue;
    forget(next);
    if (next->cache == nullptr) drop(next);
  }
  if (file_bytes_ > files_->most_bytes()) forget(place);
}

// Its cache, out of its file. False: it had none that is whole, and is gone.
bool PrefixCache::load(Place place) {
  place->cache = files_->load(place->file);
  if (place->cache == nullptr) {
    forget(place);
    drop(place);
    return false;
  }
  exact_bytes_ += place->cache->exact_bytes();
  ++in_memory_;
  return true;
}

// Without its file.
void PrefixCache::forget(Place place) {
  files_->remove(place->file);
  --n_files_;
  file_bytes_ -= place->file.bytes;
  place->file = {};
}

// Without its memory.
void PrefixCache::release(Place place) {
  if (place->cache == nullptr) return;
  exact_bytes_ -= place->cache->exact_bytes();
  --in_memory_;
  if (std::exchange(place->unsaved, false)) --unsaved_;
  place->cache.reset();
}

void PrefixCache::drop(Place place) {
  release(place);
  for (const std::uint64_t hash : place->chain) {
    auto [at, end] = by_hash_.equal_range(hash);
    at = std::find_if(at, end, [&](const auto& entry) { return entry.second == place; });
    by_hash_.erase(at);
  }
  entries_.erase(place);
}

}  // namespace spectralkv
