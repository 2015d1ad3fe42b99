// Files are whole, old or new, whoever writes them; what is no file is left as it is.
#include "base/atomic_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

#include "base/error.h"

namespace spectralkv {
namespace {

namespace fs = std::filesystem;

class AtomicFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "spectralkv-atomic-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string in(const std::string& name) const { return (folder_ / name).string(); }
  std::size_t n_files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_), {}));
  }

  fs::path folder_;
};

std::string text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void put(const std::string& path, const std::string& text, FileAccess access = FileAccess::usual) {
  AtomicFile file(path, "test", access);
  file.write(std::as_bytes(std::span(text)));
  file.commit();
}

// What is refused, and why.
std::string refusal(const std::string& path) {
  try {
    put(path, "new");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::os);
    return error.what();
  }
  return "";
}

mode_t mode_of(const std::string& path) {
  struct stat status {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0);
  return status.st_mode & 07777;
}

TEST_F(AtomicFileTest, OnlyCommitReplaces) {
  put(in("a"), "old");
  {
    AtomicFile file(in("a"), "test");
    const std::string half = "half";
    file.write(std::as_bytes(std::span(half)));
    EXPECT_EQ(text_of(in("a")), "old");
    EXPECT_EQ(n_files(), 2u);
  }
  EXPECT_EQ(text_of(in("a")), "old");
  EXPECT_EQ(n_files(), 1u);
  put(in("a"), "new");
  EXPECT_EQ(text_of(in("a")), "new");
  EXPECT_EQ(n_files(), 1u);
}

TEST_F(AtomicFileTest, KeepsTheModeOfWhatIsThere) {
  const mode_t mask = ::umask(022);
  put(in("usual"), "new");
  put(in("own"), "new", FileAccess::owner);
  ::umask(mask);
  EXPECT_EQ(mode_of(in("usual")), 0644u);
  EXPECT_EQ(mode_of(in("own")), 0600u);
  for (const mode_t mode : {0600u, 0640u, 0664u, 0666u})
    for (const FileAccess access : {FileAccess::usual, FileAccess::owner}) {
      ASSERT_EQ(::chmod(in("usual").c_str(), mode), 0);
      put(in("usual"), "newer", access);
      EXPECT_EQ(mode_of(in("usual")), mode);
    }
}

TEST_F(AtomicFileTest, RefusesWhatIsNoFile) {
  ASSERT_EQ(::mkfifo(in("pipe").c_str(), 0600), 0);
  fs::create_symlink("pipe", folder_ / "to-pipe");
  fs::create_directory(folder_ / "folder");
  fs::create_symlink("loop", folder_ / "loop");
  std::vector<std::string> names{"pipe", "to-pipe"};
  if (::mknod(in("device").c_str(), S_IFCHR | 0600, 0) == 0) names.emplace_back("device");  // as root
  const std::size_t n = n_files();
  for (const std::string& name : names) {
    EXPECT_NE(refusal(in(name)).find(concat("'", in(name), "': it is no regular file")), std::string::npos)
        << name;
    EXPECT_FALSE(fs::is_regular_file(in(name)));
  }
  EXPECT_NE(refusal(in("folder")).find("Is a directory"), std::string::npos);
  EXPECT_NE(refusal(in("folder") + "/").find("Is a directory"), std::string::npos);
  EXPECT_NE(refusal(in("loop")).find("symbolic links"), std::string::npos);
  EXPECT_NE(refusal(in("none") + "/file").find("No such file"), std::string::npos);
  EXPECT_NE(refusal("").find("No such file"), std::string::npos);
  EXPECT_EQ(n_files(), n);
}

TEST_F(AtomicFileTest, RefusesAFileThatMayNotBeWritten) {
  put(in("a"), "old");
  ASSERT_EQ(::chmod(in("a").c_str(), 0400), 0);
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everything";
  EXPECT_NE(refusal(in("a")).find("Permission denied"), std::string::npos);
  EXPECT_EQ(text_of(in("a")), "old");
}

TEST_F(AtomicFileTest, FollowsLinks) {
  fs::create_directory(folder_ / "there");
  put(in("there/file"), "old");
  ASSERT_EQ(::chmod(in("there/file").c_str(), 0600), 0);
  fs::create_symlink("there/file", folder_ / "link");
  fs::create_symlink(folder_ / "link", folder_ / "link-to-link");
  fs::create_symlink("there/new", folder_ / "dangling");
  put(in("link-to-link"), "new");
  put(in("dangling"), "first");
  EXPECT_EQ(text_of(in("there/file")), "new");
  EXPECT_EQ(mode_of(in("there/file")), 0600u);
  EXPECT_EQ(text_of(in("there/new")), "first");
  for (const char* name : {"link", "link-to-link", "dangling"})
    EXPECT_TRUE(fs::is_symlink(folder_ / name)) << name;
  EXPECT_EQ(n_files(), 4u);
}

TEST_F(AtomicFileTest, ManyWritersLeaveAWholeFile) {
  constexpr int kWriters = 8, kTurns = 50;
  constexpr std::size_t kSize = 30000;
  const auto write = [&](char letter) {
    for (int turn = 0; turn < kTurns; ++turn) {
      AtomicFile file(in("a"), "test");
      const std::string part(kSize / 2, letter);
      file.write(std::as_bytes(std::span(part)));
      file.write(std::as_bytes(std::span(part)));
      file.commit();
      const std::string found = text_of(in("a"));
      ASSERT_EQ(found.size(), kSize);
      ASSERT_EQ(found.find_first_not_of(found[0]), std::string::npos);
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kWriters; ++i) threads.emplace_back(write, static_cast<char>('a' + i));
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(n_files(), 1u);
}

TEST_F(AtomicFileTest, RemovesWhatKilledWritersLeft) {
  const AtomicFile alive(in("a"), "test");
  for (const char* name :
       {"a.tmp-0123456789abcdef", "a.tmp-1234", "a.tmp-0123456789abcdeg", "b.tmp-0123456789abcdef"})
    std::ofstream(in(name)) << "half";
  put(in("a"), "new");
  EXPECT_FALSE(fs::exists(in("a.tmp-0123456789abcdef")));
  EXPECT_EQ(n_files(), 5u);  // the new file, the one at work, one of another file, two that only look so
  remove_left_over(folder_.string(), "b");
  EXPECT_EQ(n_files(), 4u);
}

TEST_F(AtomicFileTest, LongNames) {
  const std::string name(255, 'n');
  put(in(name), "new");
  EXPECT_EQ(text_of(in(name)), "new");
  EXPECT_NE(refusal(in(name + "n")).find("too long"), std::string::npos);
}

}  // namespace
}  // namespace spectralkv
