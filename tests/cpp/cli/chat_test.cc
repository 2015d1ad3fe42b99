// The builtin chat formats against texts written by hand from the models' own templates.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/error.h"
#include "cli/chat_template.h"
#include "cli/cli.h"

namespace spectralkv {
namespace {

const std::vector<ChatMessage> kOne{{"user", "Hi"}};
const std::vector<ChatMessage> kThree{{"user", "Hi"}, {"assistant", "Hello."}, {"user", " What? "}};
const std::vector<ChatMessage> kSystem{
    {"system", "Be kind."}, {"user", "Hi"}, {"assistant", "Hello."}, {"user", "What?"}};

std::string format(const std::string& source, const std::vector<ChatMessage>& messages,
                   bool open_answer = true) {
  return format_chat_builtin(source, messages, open_answer, "<s>", "</s>", "`this command`");
}

// A chatml template whose literals hold real line breaks, or Jinja's escapes.
std::string chatml_source(const std::string& line_break) {
  std::string source =
      "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
      "{{ '<|im_start|>system@You\\'re \"kind\".<|im_end|>@' }}{% endif %}"
      "{{ '<|im_start|>' + message['role'] + '@' + message['content'] + '<|im_end|>@' }}{% endfor %}";
  for (std::size_t at; (at = source.find('@')) != std::string::npos;) source.replace(at, 1, line_break);
  return source;
}

TEST(ChatFormats, Chatml) {
  for (const std::string line_break : {"\n", "\\n"}) {
    const std::string source = chatml_source(line_break);
    EXPECT_EQ(format(source, kOne),
              "<|im_start|>system\nYou're "
              "\"kind\".<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
    EXPECT_EQ(format(source, kSystem, false),
              "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
              "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nWhat?<|im_end|>\n");
  }
  EXPECT_EQ(format(builtin_template_source("chatml"), kThree),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\n "
            "What? <|im_end|>\n"
            "<|im_start|>assistant\n");
  // `'<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>'` is no default message.
  EXPECT_EQ(format("{{ '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}", kOne, false),
            "<|im_start|>user\nHi<|im_end|>\n");
  EXPECT_EQ(
      format("{{ bos_token }}{{ '<|im_start|>' + m.role + '\\n' + m.content | trim + '<|im_end|>\\n' }}",
             {{"user", " Hi "}}, false),
      "<s><|im_start|>user\nHi<|im_end|>\n");
}

// The template of Qwen2.5's instruct models, whole; tests/python/test_chat.py runs it on the same chats.
TEST(ChatFormats, Qwen25) {
  std::ostringstream source;
  source << std::ifstream(SPECTRALKV_TESTS_DIR "/support/qwen2_5_chat.jinja").rdbuf();
  ASSERT_NE(source.str(), "");
  const std::string system =
      "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n";
  EXPECT_EQ(format(source.str(), kOne), system + "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(format(source.str(), kThree, false),
            system +
                "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n"
                "<|im_start|>user\n What? <|im_end|>\n");
  EXPECT_EQ(format(source.str(), kSystem),
            "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nWhat?<|im_end|>\n"
            "<|im_start|>assistant\n");
  EXPECT_EQ(format(source.str(), {{"system", ""}, {"user", "Hi"}}, false),
            "<|im_start|>system\n<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n");
}

TEST(ChatFormats, Llama3) {
  const std::string source = builtin_template_source("llama3");
  EXPECT_EQ(format(source, kOne),
            "<s><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_"
            "header_id|>\n\n");
  EXPECT_EQ(format(source, kThree, false),
            "<s><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nWhat?<|eot_id|>");
  // Llama 3.1 always has a system turn with its dates.
  const std::string dated =
      "{{- bos_token }}{%- set date_string = \"26 Jul 2024\" %}{{- "
      "\"<|start_header_id|>system<|end_header_id|>\\n\\n\" }}"
      "{{- \"Cutting Knowledge Date: December 2023\\n\" }}{{- message['content'] | trim + '<|eot_id|>' }}";
  const std::string head =
      "<s><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: "
      "26 Jul 2024\n\n";
  EXPECT_EQ(format(dated, kOne, false),
            head + "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>");
  EXPECT_EQ(format(dated, {{"system", " Be kind. "}}, false), head + "Be kind.<|eot_id|>");
}

TEST(ChatFormats, MistralVariants) {
  // Version 1 of the tokenizer: spaces inside the marks, one behind the end of an answer.
  const std::string v1 =
      "{{ '[INST] ' + message['content'] + ' [/INST]' }}{{ message['content'] + eos_token + ' ' }}";
  EXPECT_EQ(format(v1, kThree), "<s>[INST] Hi [/INST]Hello.</s> [INST]  What?  [/INST]");
  // The later template of the same model: the system message goes into the first turn.
  const std::string v1_system =
      "{% if loop.first and system_message is defined %}{{- \" [INST] \" + system_message + \"\\n\\n\" + "
      "message[\"content\"] + "
      "\" [/INST]\" }}{% endif %}{{- \" \" + message[\"content\"] + eos_token}}";
  EXPECT_EQ(format(v1_system, kSystem), "<s> [INST] Be kind.\n\nHi [/INST] Hello.</s> [INST] What? [/INST]");
  // Version 3: no space before the closing mark, the system message in the last turn, answers trimmed.
  const std::string v3 =
      "{% if loop.last and system_message is defined %}{{- \"[INST] \" + message[\"content\"] + \"[/INST]\" "
      "}}{% endif %}"
      "{{- \" \" + message[\"content\"]|trim + eos_token}}";
  EXPECT_EQ(format(v3, kSystem), "<s>[INST] Hi[/INST] Hello.</s>[INST] Be kind.\n\nWhat?[/INST]");
  EXPECT_EQ(format(v3, {{"user", "a"}, {"assistant", " b "}, {"user", "c"}}),
            "<s>[INST] a[/INST] b</s>[INST] c[/INST]");
  // Version 3 on tekken: no spaces at all.
  const std::string tekken =
      "{% if loop.last and system_message is defined %}{{- \"[INST]\" + message[\"content\"] + \"[/INST]\" "
      "}}{% endif %}"
      "{{- message[\"content\"] + eos_token}}";
  EXPECT_EQ(format(tekken, kSystem), "<s>[INST]Hi[/INST]Hello.</s>[INST]Be kind.\n\nWhat?[/INST]");
  // Version 7: marks of its own for the system message.
  const std::string v7 =
      "{{ '[INST]' + message['content'] + '[/INST]' }}{{ '[SYSTEM_PROMPT]' + message['content'] + "
      "'[/SYSTEM_PROMPT]' }}";
  EXPECT_EQ(format(v7, kSystem),
            "<s>[SYSTEM_PROMPT]Be kind.[/SYSTEM_PROMPT][INST]Hi[/INST]Hello.</s>[INST]What?[/INST]");
  EXPECT_EQ(format(builtin_template_source("mistral"), kSystem),
            "<s>[INST] Hi[/INST] Hello.</s>[INST] Be kind.\n\nWhat?[/INST]");
  EXPECT_THROW(format(v7, {{"tool", "x"}}), Error);
}

TEST(ChatFormats, RefusesOthersByName) {
  const std::string source =
      "{% for message in messages %}{{ '<|user|>' + message['content'] }}\n{% endfor %} and so on and on";
  try {
    format(source, kOne);
    ADD_FAILURE();
  } catch (const Error& e) {
    const std::string what = e.what();
    EXPECT_NE(what.find("'" + source.substr(0, 60) + "...'"), std::string::npos) << what;
    EXPECT_NE(what.find("--no-conversation"), std::string::npos) << what;
    EXPECT_NE(what.find("the Python package runs any, by `this command`;"), std::string::npos) << what;
  }
  EXPECT_THROW(format("{{ '[INST] <<SYS>>' + x + '[/INST]' }}", kOne),
               Error);  // Llama 2's, which looks like Mistral's
  EXPECT_THROW(format("", kOne), Error);
}

TEST(ChatFormats, RefusesBeforeThereIsAMessage) {
  check_chat_builtin(chatml_source("\n"), "`this command`");
  try {
    check_chat_builtin("{{ x }}", "`this command`");
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("by `this command`;"), std::string::npos) << e.what();
  }
}

// Templates that share a mark with a builtin one and write other texts.
TEST(ChatFormats, RefusesLookalikesWithTheReason) {
  const auto refusal = [](const std::string& source) -> std::string {
    try {
      format(source, kOne);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  const auto has = [](const std::string& text, const std::string& what) {
    return text.find(what) != std::string::npos;
  };
  const std::string phi4 =
      "{% for message in messages %}{% if (message['role'] == 'system') %}{{'<|im_start|>system<|im_sep|>' + "
      "message['content'] + '<|im_end|>'}}{% endif %}{% endfor %}";
  EXPECT_TRUE(has(refusal(phi4), "chatml has no <|im_sep|>")) << refusal(phi4);
  EXPECT_TRUE(
      has(refusal("{{ '<|im_start|>' + m.role + ': ' + m.content + '<|im_end|>\\n' }}"), "line break"));
  EXPECT_TRUE(has(refusal("{{ '<|im_start|>' + m.role + '\\n' + m.content }}"), "<|im_end|>"));
  EXPECT_TRUE(
      has(refusal("{{ '<|start_header_id|>' + m.role + '<|end_header_id|>' + m.content + '<|eot_id|>' }}"),
          "two line breaks"));
  EXPECT_TRUE(has(refusal("{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content }}"),
                  "<|eot_id|>"));
  EXPECT_TRUE(has(refusal("{{ '[INST]' + m.content + '<|end|>' }}"), "<|end|>"));
  EXPECT_TRUE(has(refusal("{{ '<|im_start|>' + m.role + '\\n' + m.content.split('</think>')[-1] + "
                          "'<|im_end|>\\n' }}"),
                  "thoughts"));
  // What message it is stands in a variable: both marks are there, the role behind the first.
  EXPECT_EQ(refusal("<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"), "");
}

TEST(ChatTemplate, Texts) {
  using Texts = std::vector<std::string>;
  EXPECT_EQ(template_texts("a{{ 'b' + \"c\" }}d{# 'e' #}f"), (Texts{"a", "b", "c", "d", "f"}));
  EXPECT_EQ(template_texts(R"({{ 'it\'s\n' }}{% if x == '}}' %})"), (Texts{"it's\n", "}}"}));
  // Sources that end too early are read as far as they go.
  EXPECT_EQ(template_texts("{{ 'ab"), Texts{"ab"});
  EXPECT_EQ(template_texts("{{ 'ab\\"), Texts{"ab\\"});
  EXPECT_EQ(template_texts("x{#"), Texts{"x"});
  EXPECT_EQ(template_texts("{{"), Texts{});
  EXPECT_EQ(text_between({"x<a>1</a>", "<a>2</a>"}, "<a>", "</a>"), "1");
  EXPECT_EQ(text_between({"<a>", "2</a>"}, "<a>", "</a>"), "");
}

}  // namespace
}  // namespace spectralkv
