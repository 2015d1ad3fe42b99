// The pages of a device's sealed blocks, and rings of exact rows: on this machine's own memory.
#include "kv/pages.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "base/buffer.h"
#include "kv/ring.h"

namespace spectralkv {
namespace {

using Page = Buffer<std::uint8_t>;

// What a device does with a cursor: a block goes behind the last one, or into the next page.
struct Writer {
  Pages<Page> pages;
  PageCursor cursor{};
  std::vector<std::uint8_t*> places;
  int read = 0;

  void make_room(std::uint64_t most) {
    if (const auto moved = pages.make_room(most, [&] { return ++read, cursor; })) cursor = *moved;
  }
  void write(std::uint64_t bytes, std::uint8_t value) {
    if (cursor.used + bytes > cursor.size) cursor = {cursor.next, 0, cursor.next_size, nullptr, 0};
    ASSERT_NE(cursor.page, nullptr);
    ASSERT_LE(cursor.used + bytes, cursor.size);
    std::memset(cursor.page + cursor.used, value, bytes);
    places.push_back(cursor.page + cursor.used);
    cursor.used += bytes;
  }
};

std::size_t count(const Pages<Page>& pages) {
  return static_cast<std::size_t>(pages.end() - pages.begin());
}

TEST(Pages, EveryBlockFindsRoomAndNoneOverlaps) {
  std::mt19937 random(1);
  for (const std::uint64_t most : {std::uint64_t{3000}, std::uint64_t{400000}, std::uint64_t{3} << 20}) {
    Writer writer;
    std::vector<std::uint64_t> sizes;
    std::uint64_t written = 0;
    for (int i = 0; i < 250; ++i) {
      sizes.push_back(most - random() % (most / 2));
      writer.make_room(most);
      writer.write(sizes.back(), static_cast<std::uint8_t>(i));
      written += sizes.back();
      if (HasFatalFailure()) return;
    }
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      EXPECT_EQ(writer.places[i][0], static_cast<std::uint8_t>(i));
      EXPECT_EQ(writer.places[i][sizes[i] - 1], static_cast<std::uint8_t>(i));
    }
    // A page ends where the next block does not fit: less than `most` of its at least 2 * most bytes are
    // left.
    EXPECT_LE(count(writer.pages), 2 * written / std::max(Pages<Page>::kPageBytes, 2 * most) + 2);
  }
}

// As of f16: nothing is left at a page's end.
TEST(Pages, BlocksOfOneSizeFillThem) {
  constexpr std::uint64_t kBytes = (1 << 18) + 128;
  Writer writer;
  for (int i = 0; i < 20; ++i) {
    writer.make_room(kBytes);
    writer.write(kBytes, 1);
  }
  std::uint64_t bytes = 0;
  for (const auto& page : writer.pages) bytes += page->size();
  EXPECT_EQ(bytes, 20 * kBytes);
}

TEST(Pages, TheDeviceIsAskedOnlyWhereThePageMightBeFull) {
  Writer writer;
  for (int i = 0; i < 100; ++i) {  // 100 * 10000 bytes are less than a page
    writer.make_room(10000);
    writer.write(100, 1);
  }
  EXPECT_EQ(writer.read, 0);
  EXPECT_EQ(count(writer.pages), 1U);
  for (int i = 0; i < 100; ++i) {
    writer.make_room(10000);
    writer.write(100, 1);
  }
  EXPECT_EQ(writer.read, 1);
  EXPECT_EQ(count(writer.pages), 1U);  // 20000 bytes were used
}

TEST(Pages, WhatIsCutIsWrittenAnew) {
  Writer writer;
  for (int i = 0; i < 8; ++i) {
    writer.make_room(400000);
    writer.write(400000, static_cast<std::uint8_t>(i));
  }
  ASSERT_EQ(count(writer.pages), 3U);
  writer.cursor = writer.pages.keep_until(writer.places[3]);
  EXPECT_EQ(count(writer.pages), 2U);
  EXPECT_EQ(writer.cursor.page + writer.cursor.used, writer.places[3]);
  writer.make_room(400000);
  writer.write(400000, 9);
  EXPECT_EQ(writer.places.back(), writer.places[3]);
}

TEST(Pages, AForkWritesNothingIntoSharedPages) {
  Writer writer;
  writer.make_room(1000);
  writer.write(1000, 1);
  Writer fork;
  fork.pages = writer.pages;
  fork.cursor = fork.pages.place_behind(1000);
  fork.make_room(1000);
  fork.write(1000, 2);
  EXPECT_EQ(count(fork.pages), 2U);
  EXPECT_EQ(count(writer.pages), 1U);
  writer.make_room(1000);
  writer.write(1000, 3);
  EXPECT_EQ(writer.places[0][0], 1);
  EXPECT_EQ(writer.places[1], writer.places[0] + 1000);
  EXPECT_EQ(fork.places[0][0], 2);
  // Once the first has gone, its page is the fork's alone, and what it keeps of it may grow.
  writer = Writer();
  fork.cursor = fork.pages.keep_until((*fork.pages.begin())->data() + 1000);
  EXPECT_EQ(fork.cursor.used, 1000U);
}

TEST(Ring, HoldsTheTailAndAChunkInWholeBlocks) {
  const CacheFormat format({1, 1, 16}, "eoptshrinkq:2,sink=4,window=100", "eoptshrinkq:2,sink=4,window=100");
  const std::int64_t rows = ring_rows(format.layer(0), 4096, 256);
  EXPECT_EQ(rows % 128, 0);
  EXPECT_GE(rows, 128 + 100 + 256);
  EXPECT_LT(rows, 128 + 100 + 256 + 2 * 128);
}

TEST(Ring, RunsCoverEachTokenOnce) {
  for (std::int64_t begin = 0; begin < 40; ++begin)
    for (std::int64_t end = begin; end <= begin + 16; ++end) {
      std::int64_t next = begin;
      ring_runs(16, begin, end, [&](std::int64_t row, std::int64_t at, std::int64_t n) {
        EXPECT_EQ(at, next - begin);
        EXPECT_EQ(row, next % 16);
        EXPECT_LE(row + n, 16);
        EXPECT_GE(n, 1);
        next += n;
      });
      EXPECT_EQ(next, end);
    }
}

}  // namespace
}  // namespace spectralkv
