// The command line as a whole: help, exit status, and the commands that need no model; the texts that they
// are made of.
#include "cli/cli.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/json.h"
#include "cli/log.h"
#include "cli/summary.h"
#include "support/gguf_builder.h"

namespace spectralkv {
namespace {

struct Result {
  int status = 0;
  std::string out, err;
};

Result run(const std::vector<std::string>& args, const CliHooks& hooks = {}) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Result result;
  result.status = cli_main(args, hooks);
  result.out = testing::internal::GetCapturedStdout();
  result.err = testing::internal::GetCapturedStderr();
  return result;
}

bool has(const std::string& text, const std::string& what) {
  return text.find(what) != std::string::npos;
}

TEST(Cli, HelpAndVersion) {
  CliHooks hooks;
  hooks.program = "prog";
  hooks.more_commands = {{"convert", "turn a checkpoint into GGUF"}};
  for (const char* word : {"help", "--help", "-h"}) {
    const Result result = run({word}, hooks);
    EXPECT_EQ(result.status, 0);
    EXPECT_TRUE(has(result.out, "prog COMMAND")) << result.out;
    EXPECT_TRUE(has(result.out, "turn a checkpoint into GGUF"));
    for (const auto& row : command_table()) EXPECT_TRUE(has(result.out, row.summary)) << row.name;
  }
  EXPECT_TRUE(has(run({"--version"}, hooks).out, "prog " SPECTRALKV_VERSION));
  for (const auto& row : command_table()) {
    const Result result = run({row.name, "--help"});
    EXPECT_EQ(result.status, 0);
    EXPECT_TRUE(has(result.out, std::string("usage: spectralkv ") + row.name)) << result.out;
    EXPECT_EQ(run({"help", row.name}).out, result.out);
  }
}

TEST(Cli, UsageNamesAModelWhereOneIsNeeded) {
  CliHooks hooks;
  hooks.default_model = [] { return std::string("x.gguf"); };
  for (const char* name : {"run", "bench"}) {
    EXPECT_TRUE(has(run({name, "--help"}).out, concat("spectralkv ", name, " -m MODEL ")));
    EXPECT_TRUE(has(run({name, "--help"}, hooks).out, concat("spectralkv ", name, " [-m MODEL] ")));
  }
  EXPECT_TRUE(has(run({"inspect", "--help"}, hooks).out, "spectralkv inspect [FILE] "));
}

TEST(Cli, WrongUsageIsStatus2) {
  EXPECT_EQ(run({}).status, 2);
  const Result unknown = run({"inspekt"});
  EXPECT_EQ(unknown.status, 2);
  EXPECT_EQ(unknown.err,
            "error: unknown command 'inspekt'; did you mean 'inspect'?\nsee: spectralkv --help\n");
  EXPECT_EQ(unknown.out, "");
  const Result option = run({"run", "--tmp", "0"});
  EXPECT_EQ(option.status, 2);
  EXPECT_EQ(option.err,
            "error: unknown option '--tmp'; did you mean '--temp'?\nsee: spectralkv run --help\n");
  for (const auto& row : command_table())
    EXPECT_EQ(run({row.name}).status, 2) << row.name << " without a model";
}

TEST(Cli, ErrorsAreStatus1) {
  for (const auto& args :
       std::vector<std::vector<std::string>>{{"inspect", "/nowhere.gguf"},
                                             {"tokenize", "-m", "/nowhere.gguf", "-p", "x"},
                                             {"run", "-m", "/nowhere.gguf"}}) {
    const Result result = run(args);
    EXPECT_EQ(result.status, 1);
    EXPECT_EQ(result.err.compare(0, 7, "error: "), 0) << result.err;
    EXPECT_TRUE(has(result.err, "/nowhere.gguf")) << result.err;
  }
  CliHooks hooks;
  hooks.default_model = []() -> std::string { throw std::bad_alloc(); };
  EXPECT_EQ(run({"run"}, hooks).err, "error: out of memory\n");
}

std::string small_file(const test::TempFolder& folder) {
  const std::vector<std::string> tokens{"<unk>",
                                        "<s>",
                                        "</s>",
                                        "\xe2\x96\x81",
                                        "a",
                                        "\xe2\x96\x81"
                                        "a"};
  test::GgufBuilder builder;
  builder.str("general.architecture", "unheard").str("long", std::string(300, 'x') + "\n");
  builder.numbers<std::uint32_t>("numbers", test::Kind::u32, std::vector<std::uint32_t>(100, 7));
  builder.str("tokenizer.ggml.model", "llama").strings("tokenizer.ggml.tokens", tokens);
  builder.numbers<float>("tokenizer.ggml.scores", test::Kind::f32, {0, 0, 0, -3, -2, -1});
  builder.numbers<std::int32_t>("tokenizer.ggml.token_type", test::Kind::i32, {2, 3, 3, 1, 1, 1});
  builder.u32("tokenizer.ggml.bos_token_id", 1).u32("tokenizer.ggml.eos_token_id", 2);
  builder.u32("tokenizer.ggml.unknown_token_id", 0);
  builder.f32_tensor("one", {4, 2}, std::vector<float>(8)).f32_tensor("two", {3}, std::vector<float>(3));
  return folder.write("small.gguf", builder.build());
}

TEST(Inspect, ShowsFilesThatCannotRun) {
  const test::TempFolder folder;
  const std::string path = small_file(folder);
  const Result text = run({"inspect", path, "--tensors"});
  EXPECT_EQ(text.status, 0) << text.err;
  EXPECT_TRUE(has(text.out, "not supported")) << text.out;
  EXPECT_TRUE(has(text.out, "unheard"));
  EXPECT_TRUE(has(text.out, "parameters: 11 in 2 tensors, 32.00 bits per weight"));
  EXPECT_TRUE(has(text.out, "[7, 7, 7, 7, 7, 7, ... (100)]"));
  EXPECT_TRUE(has(text.out, "... (301 bytes)"));
  EXPECT_TRUE(has(text.out, "[4, 2]"));
  EXPECT_FALSE(has(run({"inspect", path}).out, "[4, 2]"));
  const Result json = run({"inspect", "--json", "--tensors", "-m", path});
  EXPECT_EQ(json.status, 0) << json.err;
  EXPECT_TRUE(has(json.out, "\"parameters\": 11,")) << json.out;
  EXPECT_TRUE(has(json.out, "\"cannot_run\": [\n    \"[model]"));
  EXPECT_TRUE(has(json.out, "\"model\": {\n    \"architecture\": \"unheard\"\n  },"));
  EXPECT_TRUE(has(json.out, "\"numbers\": {\"count\": 100, \"first\": [7, 7, 7, 7, 7, 7]}"));
  EXPECT_TRUE(has(json.out, "{\"name\": \"one\", \"type\": \"f32\", \"dims\": [4, 2], \"bytes\": 32}"));
  EXPECT_EQ(run({"inspect", path, "another"}).status, 2);
  EXPECT_EQ(run({"inspect", path, "-m", path}).status, 2);
}

// A model of an architecture and with weight types that do not exist, whose keys say its shape all the same.
std::string unheard_model(const test::TempFolder& folder) {
  test::GgufBuilder builder;
  builder.str("general.architecture", "unheard").str("tokenizer.ggml.model", "beads");
  builder.strings("tokenizer.ggml.tokens", {"a", "b"}).str("tokenizer.chat_template", "{{ x }}");
  builder.boolean("tokenizer.ggml.add_bos_token", false);
  builder.u32("unheard.block_count", 4).u32("unheard.attention.head_count", 8);
  builder.u32("unheard.attention.head_count_kv", 2).u32("unheard.embedding_length", 512);
  builder.u32("unheard.context_length", 1000);
  builder.tensor({"odd.weight", {32, 2}, 4711, std::string(40, 'x'), {}, {}});
  builder.f32_tensor("token_embd.weight", {4, 2}, std::vector<float>(8));
  return folder.write("unheard.gguf", builder.build());
}

TEST(Inspect, ShowsWhatItCanOfAModelThatIsNotKnown) {
  const test::TempFolder folder;
  const std::string path = unheard_model(folder);
  const Result text = run({"inspect", path, "--tensors"});
  EXPECT_EQ(text.status, 0) << text.err;
  for (const char* part :
       {"cannot run: [model]", "architecture 'unheard'", "not supported: unknown_4711 (1 tensor)", "'beads'",
        "model: unheard, 4 layers, 8 heads, 2 KV heads, head dim 64, width 512, vocabulary 2, context 1000\n",
        "KV cache at f16: 2.00 KiB per token",
        "tokenizer: beads, 2 tokens, BOS none, EOS none, a chat template", "memory at 1000 tokens:\n",
        "eoptshrinkq:2", "odd.weight         unknown_4711  [32, 2]           64 bytes"})
    EXPECT_TRUE(has(text.out, part)) << part << "\n" << text.out;
  const Result json = run({"inspect", "--json", "-c", "64", path});
  EXPECT_TRUE(has(json.out, "\"n_ctx\": 64")) << json.out;
  EXPECT_TRUE(has(json.out, "\"kv_heads\": 2,"));
  EXPECT_FALSE(has(json.out, "\"work\""));
  const Result checked = run({"inspect", "--check", path});
  EXPECT_EQ(checked.status, 1);
  EXPECT_TRUE(has(checked.err, "tensor 'odd.weight' has weight type unknown_4711")) << checked.err;
}

// Numbers of which no product fits into 64 bits are shown, and nothing is made of them.
TEST(Inspect, AbsurdSizes) {
  const test::TempFolder folder;
  test::GgufBuilder builder;
  builder.str("general.architecture", "unheard").u32("unheard.block_count", 4096);
  builder.u32("unheard.attention.head_count", 1 << 24).u32("unheard.attention.key_length", 1024);
  builder.u32("unheard.context_length", 1u << 31);
  const Result text = run({"inspect", folder.write("absurd.gguf", builder.build())});
  EXPECT_EQ(text.status, 0) << text.err;
  EXPECT_TRUE(has(text.out, "4096 layers, 16777216 heads")) << text.out;
  EXPECT_TRUE(has(text.out, "KV cache at f16: 256.00 TiB per token\n")) << text.out;
  EXPECT_FALSE(has(text.out, "memory at"));
}

TEST(ModelOptions, TheHubIsForAHook) {
  const Result refused = run({"inspect", "-hf", "owner/name"});
  EXPECT_EQ(refused.status, 2);
  EXPECT_TRUE(has(refused.err, "`spectralkv pull -hf owner/name`")) << refused.err;
  const test::TempFolder folder;
  const std::string path = unheard_model(folder);
  CliHooks hooks;
  std::string asked;
  hooks.fetch_model = [&](const std::string& repo, const std::string& file) {
    asked = repo + "|" + file;
    return path;
  };
  EXPECT_EQ(run({"inspect", "-hf", "owner/name:Q8_0", "-hff", "a.gguf"}, hooks).status, 0);
  EXPECT_EQ(asked, "owner/name:Q8_0|a.gguf");
  EXPECT_EQ(run({"inspect", "-hf", "owner/name", "-m", path}, hooks).status, 2);
  EXPECT_EQ(run({"inspect", "-hff", "a.gguf"}, hooks).status, 2);
}

TEST(Tokenize, PrintsIdsAndPieces) {
  const test::TempFolder folder;
  const std::string path = small_file(folder);
  const Result lines = run({"tokenize", "-m", path, "-p", "a a"});
  EXPECT_EQ(lines.status, 0) << lines.err;
  EXPECT_EQ(lines.out, "     1 -> \"<s>\"\n     5 -> \" a\"\n     5 -> \" a\"\n");
  EXPECT_EQ(run({"tokenize", "-m", path, "-p", "a a", "--ids"}).out, "[1, 5, 5]\n");
  EXPECT_EQ(run({"tokenize", "-m", path, "-p", "a", "--ids", "--no-bos"}).out, "[5]\n");
  EXPECT_EQ(run({"tokenize", "-m", path, "-p", "", "--ids", "--no-bos"}).out, "[]\n");
  EXPECT_EQ(run({"tokenize", "-m", path, "-p", "a", "--json", "--no-bos"}).out,
            "[\n  {\"id\": 5, \"piece\": \" a\"}\n]\n");
  EXPECT_EQ(run({"tokenize", "-m", path, "-f", folder.write("text", "a\n"), "--ids"}).status, 0);
  EXPECT_EQ(run({"tokenize", "-m", path, "-p", "a", "-p", "b"}).status, 2);
}

TEST(Json, Strings) {
  EXPECT_EQ(json_string("a\"b\\c\n\t\x01"), R"("a\"b\\c\n\t\u0001")");
  EXPECT_EQ(json_string("é\xff"), "\"é\xef\xbf\xbd\"");
  EXPECT_EQ(json_number(0.1), "0.1");
  EXPECT_EQ(json_number(1e-5), "1e-05");
  EXPECT_EQ(json_number(1.0 / 3), "0.3333333333333333");
  EXPECT_EQ(json_number(std::numeric_limits<double>::infinity()), "null");
  JsonWriter inner("[]"), outer("{}");
  inner.push_raw("1");
  outer.add("a", "b");
  outer.add_raw("c", inner.lines());
  EXPECT_EQ(outer.lines(), "{\n  \"a\": \"b\",\n  \"c\": [\n    1\n  ]\n}");
  EXPECT_EQ(outer.compact(), "{\"a\": \"b\", \"c\": [\n  1\n]}");
  EXPECT_EQ(JsonWriter("[]").lines(), "[]");
}

TEST(Summary, Lines) {
  CacheReport report;
  report.n_layers = 30;
  report.n_tokens = 512;
  report.k = {"f16", 16, 16, 6 << 20, 100, 0};
  report.v = {"eoptshrinkq:2", 2.05, 2.31, 3 << 20, 100, 1 << 20};
  EXPECT_EQ(cache_line(report),
            "kv cache: 10.00 MiB for 512 tokens, 30 layers, K f16 16.00 bits per entry, "
            "V eoptshrinkq:2 2.31 bits per entry (2.05 as the paper counts)");
  report.v.sealed_entries = 0;
  report.v.exact_bits = 16;
  EXPECT_TRUE(has(cache_line(report), "V eoptshrinkq:2 16.00 bits per entry (all in the exact tail)"));
  EXPECT_EQ(timing_line("eval time", 1.5, 30),
            "       eval time = 1500.00 ms / 30 tokens (50.00 ms per token, 20.00 tokens per second)");
  EXPECT_TRUE(
      has(timing_line("eval time", 0, 0), "0.00 ms / 0 tokens (0.00 ms per token, 0.00 tokens per second)"));
  EXPECT_EQ(human_bytes(1023), "1023 bytes");
  EXPECT_EQ(human_bytes(1536), "1.50 KiB");
  EXPECT_EQ(human_bytes(std::int64_t{3} << 41), "6.00 TiB");
  EXPECT_GT(peak_memory(), 0);
}

}  // namespace
}  // namespace spectralkv
