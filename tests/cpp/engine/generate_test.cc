// Stop strings and characters over every way to cut a text into tokens.
#include "engine/generate.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace spectralkv {
namespace {

// What is shown of the pieces in all; each part must be whole characters and may not show what the filter
// takes back.
std::string shown(const std::vector<std::string>& stop, const std::vector<std::string>& pieces,
                  bool* stopped = nullptr) {
  TextFilter filter(stop);
  std::string out;
  for (const auto& piece : pieces) {
    const std::string text = filter.put(piece);
    if (!text.empty()) {
      EXPECT_NE(static_cast<unsigned char>(text[0]) & 0xc0, 0x80) << "a part starts inside a character";
    }
    out += text;
    if (filter.stopped()) break;
  }
  out += filter.finish();
  if (stopped != nullptr) *stopped = filter.stopped();
  return out;
}

// By the definition: the stop string that is complete first ends the text before it; of equals the longest.
std::string naive(const std::vector<std::string>& stop, const std::string& text) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::size_t longest = 0;
    for (const auto& s : stop)
      if (s.size() <= end && text.compare(end - s.size(), s.size(), s) == 0)
        longest = std::max(longest, s.size());
    if (longest > 0) return text.substr(0, end - longest);
  }
  return text;
}

// All 2^(n-1) ways to cut `text` into pieces.
void for_each_split(const std::string& text,
                    const std::function<void(const std::vector<std::string>&)>& visit) {
  const std::size_t n = text.size();
  for (std::uint32_t cuts = 0; cuts < (1u << (n - 1)); ++cuts) {
    std::vector<std::string> pieces(1);
    for (std::size_t i = 0; i < n; ++i) {
      pieces.back() += text[i];
      if (i + 1 < n && ((cuts >> i) & 1u) != 0) pieces.emplace_back();
    }
    visit(pieces);
  }
}

TEST(TextFilter, StopStringsOverAllSplits) {
  struct Case {
    std::vector<std::string> stop;
    std::string text;
  };
  const Case cases[] = {
      {{"STOP"}, "go STOP on"},
      {{"aab"}, "aaaabaab"},
      {{"abcd", "bc"}, "xabcdy"},
      {{"bc", "abc"}, "xabcy"},
      {{"\n\n"}, "a\nb\n\nc"},
      {{"aba"}, "abcababab"},
      {{"never", "nev"}, "neneneve"},
      {{"é!"}, "éè é! x"},
      {{"zz"}, "abcdz"},
      {{}, "nothing"},
  };
  for (const auto& [stop, text] : cases) {
    const std::string expected = naive(stop, text);
    for_each_split(text, [&, &stop_ = stop](const std::vector<std::string>& pieces) {
      bool stopped = false;
      ASSERT_EQ(shown(stop_, pieces, &stopped), expected);
      ASSERT_EQ(stopped, expected.size() < text.size());
    });
  }
}

TEST(TextFilter, HoldsBackOnlyWhatMustBe) {
  TextFilter filter({"</end>"});
  EXPECT_EQ(filter.put("abc<"), "abc");
  EXPECT_EQ(filter.put("/e"), "");
  EXPECT_EQ(filter.put("x<"), "</ex");
  EXPECT_EQ(filter.finish(), "<");
  TextFilter none({});
  EXPECT_EQ(none.put("<"), "<");
}

TEST(TextFilter, CharactersStayWhole) {
  const std::string text = "aé€😀z";
  for_each_split(text, [&](const std::vector<std::string>& pieces) { ASSERT_EQ(shown({}, pieces), text); });
  TextFilter filter({});
  EXPECT_EQ(filter.put("\xf0\x9f"), "");
  EXPECT_EQ(filter.put("\x98"), "");
  EXPECT_EQ(filter.put("\x80!"), "😀!");
  EXPECT_EQ(filter.put("\xe2\x82"), "");
  EXPECT_EQ(filter.finish(), "\xef\xbf\xbd");  // never completed
}

TEST(TextFilter, StopStringsThatAreNoUtf8MatchWhatIsShown) {
  EXPECT_EQ(shown({"\xff"}, {"ab\xff", "cd"}), "ab");
  // The end of the text turns a cut character into the stop string.
  bool stopped = false;
  EXPECT_EQ(shown({"\xef\xbf\xbd"}, {"ab\xe2\x82"}, &stopped), "ab");
  EXPECT_TRUE(stopped);
}

TEST(TextFilter, RefusesEmptyStopStrings) {
  EXPECT_THROW(TextFilter({"a", ""}), Error);
}

TEST(TextFilter, GivesNothingAfterTheStop) {
  TextFilter filter({"x"});
  EXPECT_EQ(filter.put("abxcd"), "ab");
  EXPECT_TRUE(filter.stopped());
  EXPECT_EQ(filter.put("more"), "");
  EXPECT_EQ(filter.finish(), "");
}

TEST(Generate, FinishReasonsHaveNames) {
  EXPECT_EQ(finish_reason_name(FinishReason::none), "");
  EXPECT_EQ(finish_reason_name(FinishReason::stop), "stop");
  EXPECT_EQ(finish_reason_name(FinishReason::length), "length");
  EXPECT_EQ(finish_reason_name(FinishReason::cancelled), "cancelled");
}

}  // namespace
}  // namespace spectralkv
