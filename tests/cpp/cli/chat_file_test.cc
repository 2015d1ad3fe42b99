// Saved chats: what is written is read again, and what anybody else may have written is refused by its fault.
#include "cli/chat_file.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/gguf_builder.h"

namespace spectralkv {
namespace {

TEST(ChatFile, GoesThereAndBack) {
  const test::TempFolder folder;
  const std::vector<ChatMessage> messages{
      {"system", "Be \"kind\".\n\t\\"}, {"user", "caf\xc3\xa9 \xf0\x9f\x98\x80 \x01"}, {"assistant", ""}};
  const std::string path = folder.write("chat.json", "");
  save_chat(path, messages);
  const auto read = load_chat(path);
  ASSERT_EQ(read.size(), messages.size());
  for (std::size_t i = 0; i < read.size(); ++i) {
    EXPECT_EQ(read[i].role, messages[i].role);
    EXPECT_EQ(read[i].content, messages[i].content);
  }
  save_chat(path, {});
  EXPECT_TRUE(load_chat(path).empty());
}

TEST(ChatFile, ReadsWhatOthersWrite) {
  const test::TempFolder folder;
  const auto read = load_chat(folder.write(
      "chat.json", " [ {\"content\":\"\\u00e9\\ud83d\\ude00\\ud83dx\\/\\b\" , \"role\" :\"user\"}\r\n]\n"));
  ASSERT_EQ(read.size(), 1u);
  EXPECT_EQ(read[0].content, "\xc3\xa9\xf0\x9f\x98\x80\xef\xbf\xbdx/\b");
}

TEST(ChatFile, RefusesWhatIsNone) {
  const test::TempFolder folder;
  for (const char* bad :
       {"", "[", "{}", "[{}]", "[{\"role\":\"user\"", "[{\"role\":\"user\",\"content\":1}]",
        "[{\"role\":\"judge\",\"content\":\"\"}]", "[{\"role\":\"user\"}]",
        "[{\"role\":\"user\",\"name\":\"x\"}]", "[] x", "[{\"role\":\"user\",\"content\":\"\\u12\"}]",
        "[{\"role\":\"user\",\"content\":\"\\q\"}]", "[{\"role\":\"user\",\"content\":\"x"}) {
    try {
      load_chat(folder.write("bad.json", bad));
      ADD_FAILURE() << bad;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("is no saved chat"), std::string::npos) << e.what();
    }
  }
  EXPECT_THROW(load_chat("/nowhere/chat.json"), Error);
}

}  // namespace
}  // namespace spectralkv
