// Folders and files that are no GGUF: the error says what they are, and what to type.
#include "gguf/not_gguf.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "gguf/gguf.h"
#include "support/gguf_builder.h"

namespace spectralkv {
namespace {

std::string error_of(const std::string& path, ErrorKind kind) {
  try {
    const Gguf file(path);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  return "no error";
}

void expect(const std::string& error, const std::string& part) {
  EXPECT_NE(error.find(part), std::string::npos) << error << "\nlacks: " << part;
}

TEST(NotGguf, Folders) {
  const test::TempFolder outer;
  const std::string folder = std::filesystem::path(outer.write("x", "")).parent_path() / "my model";
  std::filesystem::create_directory(folder);
  const auto put = [&](const char* name) { outer.write(std::string("my model/") + name, "{}"); };
  expect(error_of(folder, ErrorKind::os), "is a folder, expected a GGUF file");
  put("config.json");
  expect(error_of(folder, ErrorKind::os),
         "`spectralkv convert '" + folder + "' --outfile model.gguf` makes one of it");
  put("b.gguf");
  expect(error_of(folder, ErrorKind::os), "expected a GGUF file: '" + folder + "/b.gguf'");
  put("a.gguf");
  expect(error_of(folder, ErrorKind::os), "/a.gguf', or another of the 2 in it");
}

TEST(NotGguf, Files) {
  const test::TempFolder folder;
  const std::string table = R"({"a":{"dtype":"F32"}})";
  const std::string weights =
      folder.write("model.safetensors", test::raw(std::uint64_t{table.size()}) + table);
  expect(error_of(weights, ErrorKind::value),
         "`spectralkv convert " + std::filesystem::path(weights).parent_path().string());
  for (const auto& [bytes, part] : std::vector<std::pair<std::string, std::string>>{
           {"PK\x03\x04 an archive", "`spectralkv convert "},
           {"\x80\x02}q\x01", "a pickle"},
           {"<!DOCTYPE html>", "a web page"},
           {"version https://git-lfs.github.com/spec/v1\n", "Git LFS"},
           {"tjgg\x03", "older than GGUF"},
           {"hello", "starts with 'hell', expected 'GGUF'"}})
    expect(error_of(folder.write("some.gguf", bytes), ErrorKind::value), part);
}

}  // namespace
}  // namespace spectralkv
