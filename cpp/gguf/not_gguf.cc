// Folders and files that people take for GGUF files, told by their names and first bytes.
#include "gguf/not_gguf.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "base/shown.h"
#include "gguf/cursor.h"

namespace spectralkv {
namespace {

namespace fs = std::filesystem;

std::string convert_command(const std::string& folder) {
  return concat("`spectralkv convert ", shell_word(folder), " --outfile model.gguf` makes one of it");
}

struct FolderFiles {
  std::vector<std::string> gguf;  // in order
  bool checkpoint = false;        // what `convert` begins with is there
};

FolderFiles look_into(const std::string& path) {
  FolderFiles found;
  std::error_code error;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.ends_with(".gguf")) found.gguf.push_back(name);
    found.checkpoint = found.checkpoint || name == "config.json" || name == "params.json" ||
                       name == "adapter_config.json" || name.ends_with(".safetensors");
  }
  std::sort(found.gguf.begin(), found.gguf.end());
  return found;
}

// Files that begin like this.
struct Start {
  std::string_view bytes, what;
};
constexpr std::array kStarts = {
    Start{"version https://git-lfs",
          "a pointer of Git LFS, not the file itself; `git lfs pull` in its repository fetches that"},
    Start{"<!", "a web page, perhaps that of an error; the download went wrong"},
    Start{"<html", "a web page, perhaps that of an error; the download went wrong"},
    Start{"lmgg", "a file of GGML, older than GGUF; fetch or convert the model anew"},
    Start{"fmgg", "a file of GGML, older than GGUF; fetch or convert the model anew"},
    Start{"tjgg", "a file of GGML, older than GGUF; fetch or convert the model anew"},
    Start{"algg", "a LoRA adapter of GGML, which is not supported"},
};

}  // namespace

std::string about_folder(const std::string& path) {
  const FolderFiles found = look_into(path);
  if (!found.gguf.empty())
    return concat(
        "is a folder, expected a GGUF file: ", shell_word((fs::path(path) / found.gguf[0]).string()),
        found.gguf.size() > 1 ? concat(", or another of the ", found.gguf.size(), " in it") : "");
  if (found.checkpoint)
    return "is the folder of a checkpoint, expected a GGUF file; " + convert_command(path);
  return "is a folder, expected a GGUF file";
}

std::string about_file(std::span<const std::byte> bytes, const std::string& path) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const fs::path parent = fs::path(path).parent_path();
  const std::string folder = parent.empty() ? "." : parent.string();
  for (const Start& start : kStarts)
    if (text.starts_with(start.bytes)) return concat("is no GGUF file but ", start.what);
  if (text.size() > 9 && text[8] == '{' && path.ends_with(".safetensors"))
    return concat("is a safetensors file, expected a GGUF file; with what else is in its folder, ",
                  convert_command(folder));
  if (text.starts_with("PK\x03\x04") || text.starts_with("\x80\x02"))
    return concat(
        "is no GGUF file but an archive or a pickle, as PyTorch writes them; if it is a checkpoint, ",
        "`spectralkv convert ", shell_word(folder), "` says what to do");
  return concat("is no GGUF file: it starts with '", printable(text.substr(0, 4)), "', expected 'GGUF'");
}

}  // namespace spectralkv
