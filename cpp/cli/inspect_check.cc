// Reads every weight once, then loads the model as a session would.
#include "cli/inspect_check.h"

#include "base/error.h"
#include "base/threads.h"
#include "engine/engine.h"
#include "engine/vocab.h"
#include "tensor/requantize.h"

namespace spectralkv {

std::string check_file(const Gguf& file) {
  ThreadPool pool(0);
  for (const GgufTensor& tensor : file.tensors()) {
    const std::int64_t cols = tensor.dims[0];
    check_finite({tensor.type, tensor.data, tensor.n_values() / cols, cols,
                  concat(tensor.name, "' of '", file.files()[static_cast<std::size_t>(tensor.file)].path())},
                 pool);
  }
  if (file.tensors().empty()) {
    const Tokenizer tokenizer(read_vocab(file, false));
    return concat("no tensors; a tokenizer of ", tokenizer.n_vocab(), " tokens");
  }
  const Engine engine(file.path(), {});
  return concat(file.tensors().size(), " tensors, all values finite; loads as ", engine.description());
}

}  // namespace spectralkv
