// The steps of a load, each of which may fail for itself: types, configuration, tensors, vocabulary.
#include "engine/obstacles.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <string_view>

#include "backend/backends.h"
#include "base/error.h"
#include "engine/vocab.h"
#include "model/architectures.h"

namespace spectralkv {
namespace {

// The weight types that we cannot read, with the number of tensors that have them; empty: there are none.
std::string foreign_types(const Gguf& file) {
  std::vector<std::pair<std::string_view, int>> counts;
  for (const GgufTensor& tensor : file.tensors()) {
    if (tensor.foreign_type.empty()) continue;
    const auto same = [&](const auto& count) { return count.first == tensor.foreign_type; };
    auto found = std::find_if(counts.begin(), counts.end(), same);
    if (found == counts.end()) found = counts.insert(found, {tensor.foreign_type, 0});
    ++found->second;
  }
  std::string names;
  for (const auto& [name, n] : counts)
    names += concat(names.empty() ? "" : ", ", name, " (", n, n == 1 ? " tensor)" : " tensors)");
  return names;
}

}  // namespace

std::vector<std::string> obstacles(const Gguf& file) {
  std::vector<std::string> found;
  const auto attempt = [&found](const std::function<void()>& step) {
    try {
      step();
    } catch (const Error& error) {
      found.emplace_back(error.what());
    }
  };
  const std::string foreign = foreign_types(file);
  std::optional<ModelConfig> config;
  if (file.tensors().empty()) {
    attempt([&] { architecture_of(file); });
    found.push_back(concat("[engine] '", file.path(), "': there are no tensors, only a vocabulary"));
  } else if (!foreign.empty()) {
    attempt([&] { architecture_of(file); });
    found.push_back(concat("[engine] '", file.path(), "': weight types that are not supported: ", foreign));
  } else {
    attempt([&] { config = read_config(file); });
  }
  if (config)
    attempt([&] {
      const auto backend = make_backend_without_weights();
      load_model(file, *config, *backend);
    });
  attempt([&] {
    const Tokenizer tokenizer(read_vocab(file, false));
    check(!config || tokenizer.n_vocab() == config->n_vocab, "engine", "'", file.path(),
          "': ", tokenizer.n_vocab(), " tokens in the vocabulary but token_embd.weight has ",
          config ? config->n_vocab : 0, " rows");
  });
  return found;
}

}  // namespace spectralkv
