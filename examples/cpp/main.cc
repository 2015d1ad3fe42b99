// Continues a text and tells what the cache took: example MODEL [PROMPT [CACHE TYPE]]
#include <cstdio>
#include <exception>
#include <string_view>

#include "spectralkv.h"

namespace skv = spectralkv::api;

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fputs("usage: example MODEL [PROMPT [CACHE TYPE]]\n", stderr);
    return 2;
  }
  try {
    const skv::Model model(argv[1]);
    std::fprintf(stderr, "%s\n", model.description().c_str());

    skv::SessionOptions options;
    options.n_ctx = 0;  // the model's own
    if (argc > 3) options.cache_type_k = options.cache_type_v = argv[3];
    skv::Session session(model, options);
    session.read(argc > 2 ? argv[2] : "Once upon a time");

    skv::GenerateOptions generate;
    generate.temperature = 0;
    generate.max_tokens = 64;
    session.generate(generate, [](std::string_view piece) {
      std::fwrite(piece.data(), 1, piece.size(), stdout);
      std::fflush(stdout);
      return true;
    });
    std::fputs("\n", stdout);
    std::fprintf(stderr, "%lld tokens, %lld KiB of keys and values\n",
                 static_cast<long long>(session.n_tokens()),
                 static_cast<long long>(session.cache_bytes() / 1024));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
  return 0;
}
