// Sizes and fingerprint tell models apart; every number is checked.
#include "engine/state_head.h"

#include <array>
#include <cstring>
#include <fstream>

#include "base/error.h"
#include "engine/fingerprint.h"

namespace spectralkv {
namespace {

// The sizes that a state file names in its head.
std::array<std::pair<const char*, std::uint32_t>, 4> state_sizes(const ModelConfig& c) {
  const auto size = [](std::int64_t n) { return static_cast<std::uint32_t>(n); };
  return {{{"layers", size(c.n_layers)},
           {"KV heads", size(c.n_kv_heads)},
           {"dimensions of a head", size(c.head_dim)},
           {"tokens of vocabulary", size(c.n_vocab)}}};
}

}  // namespace

void write_state_head(StateWriter& out, const Engine& engine, std::span<const Token> tokens,
                      std::span<const float> logits) {
  out.number(model_fingerprint(engine.file(), engine.config()));
  for (const auto& [name, size] : state_sizes(engine.config())) out.number(size);
  out.number(static_cast<std::uint64_t>(tokens.size()));
  out.bytes(std::as_bytes(tokens));
  out.number(static_cast<std::uint8_t>(!logits.empty()));
  out.bytes(std::as_bytes(logits));
}

StateHead read_state_head(StateReader& in, const Engine& engine, std::int64_t n_ctx) {
  const ModelConfig& c = engine.config();
  const auto fingerprint = in.number<std::uint64_t>();
  for (const auto& [name, size] : state_sizes(c)) {
    const auto held = in.number<std::uint32_t>();
    in.require(held == size, "it belongs to another model: ", held, " ", name, ", this one has ", size);
  }
  in.require(fingerprint == model_fingerprint(engine.file(), c), "it belongs to another model of this shape");

  const auto n_tokens = in.number<std::uint64_t>();
  in.require(n_tokens <= static_cast<std::uint64_t>(n_ctx), "it holds ", n_tokens,
             " tokens, the context of this session ", n_ctx, "; raise n_ctx (-c)");
  StateHead head;
  const auto ids = in.bytes(n_tokens * sizeof(Token));
  head.tokens.resize(static_cast<std::size_t>(n_tokens));
  if (!head.tokens.empty()) std::memcpy(head.tokens.data(), ids.data(), ids.size());
  for (const Token token : head.tokens)
    in.require(token >= 0 && token < c.n_vocab, "token ", token, " is not in the vocabulary");
  const auto has_logits = in.number<std::uint8_t>();
  in.require(has_logits <= 1 && (n_tokens > 0 || has_logits == 0), "its logits are damaged");
  head.logits.resize(has_logits == 1 ? static_cast<std::size_t>(c.n_vocab) : 0);
  const auto values = in.bytes(head.logits.size() * sizeof(float));
  if (!head.logits.empty()) std::memcpy(head.logits.data(), values.data(), values.size());
  return head;
}

std::optional<std::vector<Token>> peek_state_tokens(const std::string& path, const Engine& engine) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const auto size = static_cast<std::int64_t>(file.tellg());
  file.seekg(0);
  const auto number = [&](auto value) {
    file.read(reinterpret_cast<char*>(&value), sizeof value);
    return value;
  };
  std::array<char, 8> magic{};
  file.read(magic.data(), magic.size());
  bool ours = std::string_view(magic.data(), magic.size()) == kStateMagic &&
              number(std::uint32_t{}) == kStateVersion &&
              number(std::uint64_t{}) == model_fingerprint(engine.file(), engine.config());
  for (const auto& [name, expected] : state_sizes(engine.config()))
    ours = ours && number(std::uint32_t{}) == expected;
  const auto n = number(std::uint64_t{});
  if (!ours || !file || n > static_cast<std::uint64_t>(size) / sizeof(Token)) return std::nullopt;
  std::vector<Token> tokens(static_cast<std::size_t>(n));
  file.read(reinterpret_cast<char*>(tokens.data()), static_cast<std::streamsize>(n * sizeof(Token)));
  if (!file) return std::nullopt;
  return tokens;
}

}  // namespace spectralkv
