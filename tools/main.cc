// The standalone binary.
#include "cli/cli.h"

int main(int argc, char** argv) {
  return spectralkv::cli_main(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc), {});
}
