// llama.cpp's options that change nothing here, and those that are refused with a reason.
#pragma once

#include <string>
#include <vector>

#include "cli/args.h"

namespace spectralkv {

// Such rows; the first name of one that is used without effect goes into `ignored`.
Option no_effect(std::vector<std::string>& ignored, std::vector<std::string> names, std::string value,
                 std::string why);
Option refused(std::vector<std::string> names, std::string why);

// Those that llama-cli, llama-completion and llama-perplexity share.
std::vector<Option> common_peer_rows(std::vector<std::string>& ignored);
// Those of llama-cli and llama-completion alone.
std::vector<Option> run_peer_rows(std::vector<std::string>& ignored);
// llama-bench's.
std::vector<Option> bench_peer_rows(std::vector<std::string>& ignored);

// "--mlock and -fa have no effect here: see docs/llama-cpp.md"; "" when there are none.
std::string ignored_note(const std::vector<std::string>& ignored);

}  // namespace spectralkv
