// Standard output that notices a closed pipe, standard input line by line, and whole files as text.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace spectralkv {

// Thrown when the reader of stdout has gone; the program ends quietly.
struct BrokenPipe {};

// Writes to stdout and flushes. Throws BrokenPipe, or an os Error that says why it failed.
void write_out(std::string_view text);

// Lines from standard input. Bytes that were read ahead stay in it.
class LineReader {
 public:
  // The next line without its end; nothing at the end of the input or when Ctrl-C was pressed.
  std::optional<std::string> next();
  // Whether more of the input is there, or comes within so many milliseconds.
  bool waiting(int ms) const;

 private:
  std::string buffer_;
  bool ended_ = false;
};

// The bytes of a whole file, or standard input for "-". Throws file_not_found, os, or interrupted.
std::string read_whole_file(const std::string& path);
// The same as a text (cli/text_encoding.h): a value error for other encodings, a warning on stderr for bytes
// that are no UTF-8.
std::string read_text_file(const std::string& path);

bool stdin_is_terminal();

}  // namespace spectralkv
