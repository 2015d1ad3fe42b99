// Fuzzes the command line: no arguments end in anything but an exit status of the known ones, and those of
// `run` are refused or understood. driver.cc runs it without libFuzzer.
//
// An input is the arguments, each ended by a zero; the first one of a command line is the command. No
// argument has a slash, so no file is reached: there is none where this runs.
#include <fcntl.h>
#include <sanitizer/common_interface_defs.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "base/error.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/run_options.h"
#include "fuzz/fuzz.h"
#include "support/gguf_builder.h"

namespace spectralkv {
namespace {

std::vector<Option> known_options() {
  std::vector<Option> rows = run_options();
  for (auto* more : {bench_options, perplexity_options})
    for (Option& row : more()) rows.push_back(std::move(row));
  return rows;
}

std::string zeroed(const std::vector<std::string>& args) {
  std::string input;
  for (const std::string& arg : args) input += arg + '\0';
  return input;
}

// An empty folder to stand in, an empty standard input, and nowhere for what commands print.
struct Place {
  test::TempFolder folder;
  int out = -1;
  Place() {
    const std::string here = folder.write("out", "");
    std::filesystem::current_path(std::filesystem::path(here).parent_path());
    std::filesystem::remove(here);
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    ::dup2(null, STDIN_FILENO);
    out = null;
    // What a sanitizer finds is told all the same.
    const std::intptr_t told = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
    __sanitizer_set_report_fd(reinterpret_cast<void*>(told));
  }
  ~Place() { std::filesystem::current_path("/"); }
};

// While it lives, standard output and errors go nowhere.
class Silence {
 public:
  explicit Silence(int nowhere) {
    for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
      kept_[fd - 1] = ::fcntl(fd, F_DUPFD_CLOEXEC, 10);
      ::dup2(nowhere, fd);
    }
  }
  ~Silence() {
    std::fflush(stdout);
    for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
      ::dup2(kept_[fd - 1], fd);
      ::close(kept_[fd - 1]);
    }
  }
  Silence(const Silence&) = delete;
  Silence& operator=(const Silence&) = delete;

 private:
  int kept_[2];
};

}  // namespace
}  // namespace spectralkv

std::vector<std::string> fuzz_seeds() {
  using namespace spectralkv;
  std::vector<std::string> seeds{
      zeroed({"run", "-m", "m.gguf", "-p", "a\\nb", "-n", "5", "--temp", "0.7", "-ctk", "f16"}),
      zeroed({"run", "--samplers", "top_k;temperature", "-l", "15+1.5", "--override-kv", "a.b=int:1"}),
      zeroed({"run", "-cnv", "-sys", "x", "--chat-template", "chatml", "--seed=7"}),
      zeroed({"help", "llama.cpp"}), zeroed({"--version"})};
  for (const CommandRow& row : command_table()) {
    seeds.push_back(zeroed({row.name, "--help"}));
    seeds.push_back(zeroed({row.name, "-m", "none.gguf", "-f", "none.txt", "-c", "128"}));
  }
  return seeds;
}

std::vector<std::string> fuzz_words() {
  using namespace spectralkv;
  std::vector<std::string> words{
      "=", "-", "--", ",", "f16", "1e9", "-1", "0x1", "{{", "=int:", "9223372036854775807"};
  for (const Option& row : known_options())
    for (const std::string& name : row.names) words.push_back(name + '\0');
  return words;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace spectralkv;
  static const Place place;
  std::vector<std::string> args;
  for (std::string_view rest(reinterpret_cast<const char*>(data), size); !rest.empty();) {
    const std::size_t zero = rest.find('\0');
    args.emplace_back(rest.substr(0, zero));
    if (args.back().find('/') != std::string::npos) return 0;
    rest = zero == std::string_view::npos ? std::string_view{} : rest.substr(zero + 1);
  }
  int status = 0;
  {
    const Silence silence(place.out);
    status = cli_main(args, {});
  }
  if (status < 0 || status > 2) std::abort();
  if (args.empty()) return 0;
  args.erase(args.begin());
  try {
    RunOptions options;
    parse_run(args, options);
  } catch (const UsageError&) {
    // Refused: what nearly every input deserves.
  } catch (const Error&) {
    // A file that is not there.
  }
  return 0;
}
