// The parser of option tables: values, complaints, help; and the options of `run`.
#include "cli/args.h"

#include <gtest/gtest.h>

#include <cmath>

#include "cli/run_options.h"
#include "cli/sampling_rows.h"

namespace spectralkv {
namespace {

struct Target {
  std::string text;
  std::int64_t n = 0;
  double x = 0;
  bool flag = false, off = true;
  std::vector<std::string> list;

  std::vector<Option> rows() {
    return {
        {{"-p", "--prompt"}, "TEXT", "a text", set_text(text)},
        {{"-n", "--number"}, "N", "a number", set_int(n, -1, 100)},
        {{"--temp"}, "T", "a real number", set_number(x, 0, 2)},
        {{"-v", "--verbose"}, "", "a flag", set_flag(flag)},
        {{"--no-off"}, "", "another", set_flag(off, false)},
        {{"-r"}, "TEXT", "a list", append_text(list)},
    };
  }
};

std::string complaint(const std::vector<std::string>& args) {
  Target target;
  try {
    parse_args(target.rows(), args, 1);
  } catch (const UsageError& e) {
    return e.what();
  }
  return "";
}

TEST(Args, ValuesInEveryForm) {
  Target t;
  const auto rest = parse_args(
      t.rows(), {"-p", "-x", "--number=-1", "a b", "--temp", "1.5", "-v", "--no-off", "-r=1=2", "-r", ""}, 1);
  EXPECT_EQ(t.text, "-x");
  EXPECT_EQ(t.n, -1);
  EXPECT_EQ(t.x, 1.5);
  EXPECT_TRUE(t.flag);
  EXPECT_FALSE(t.off);
  EXPECT_EQ(t.list, (std::vector<std::string>{"1=2", ""}));
  EXPECT_EQ(rest, std::vector<std::string>{"a b"});
  // The last one counts; "--" ends the options; a lone "-" is no option.
  EXPECT_EQ(parse_args(t.rows(), {"-n", "1", "-n", "+2", "--", "-v"}, 1), std::vector<std::string>{"-v"});
  EXPECT_EQ(t.n, 2);
  EXPECT_EQ(parse_args(t.rows(), {"-"}, 1), std::vector<std::string>{"-"});
}

TEST(Args, Complaints) {
  EXPECT_EQ(complaint({"--promt", "x"}), "unknown option '--promt'; did you mean '--prompt'?");
  EXPECT_EQ(complaint({"--tmep=1"}), "unknown option '--tmep'; did you mean '--temp'?");
  EXPECT_EQ(complaint({"--entirely-else"}), "unknown option '--entirely-else'");
  EXPECT_EQ(complaint({"-n"}), "option '-n' needs a value: -n N");
  EXPECT_EQ(complaint({"-n", "-v"}), "option '-n' needs a value: -n N (or -n=-v)");
  EXPECT_EQ(complaint({"-v=1"}), "option '-v' takes no value");
  EXPECT_EQ(complaint({"a", "b"}), "unexpected argument 'b'");
  for (const char* bad : {"", " 1", "1 ", "1.5", "x", "0x1", "101", "-2", "99999999999999999999", "+-1"})
    EXPECT_EQ(complaint({"-n", bad}),
              std::string("option '-n': expected a whole number from -1 to 100, not '") + bad + "'");
  for (const char* bad : {"", "nan", "inf", "2.1", "-0.1", "1,5", "1e999"})
    EXPECT_EQ(complaint({"--temp", bad}),
              std::string("option '--temp': expected a number from 0 to 2, not '") + bad + "'");
}

TEST(Args, WhatIsTakenWithoutEffectAndWhatIsRefused) {
  RunOptions options;
  parse_run({"--mlock", "-fa", "-tb", "4", "-fa", "off", "--mlock", "-p", "x"}, options);
  EXPECT_EQ(options.model.ignored, (std::vector<std::string>{"--mlock", "-fa", "-tb"}));
  EXPECT_EQ(options.prompt, "x");
  EXPECT_THROW(parse_run({"--lora", "x"}, options), UsageError);
  EXPECT_THROW(parse_run({"--lora=x"}, options), UsageError);
}

TEST(Args, ShortWordsAreNearToNone) {
  EXPECT_EQ(complaint({"-q"}), "unknown option '-q'");
}

TEST(Args, NearestWord) {
  const std::vector<std::string> known{"run", "inspect", "tokenize"};
  EXPECT_EQ(nearest_word("rum", known), "run");
  EXPECT_EQ(nearest_word("tokenise", known), "tokenize");
  EXPECT_EQ(nearest_word("xyz", known), "");
}

TEST(Args, HelpNamesEveryOption) {
  RunOptions options;
  const auto rows = run_rows(options);
  const std::string help = options_help(rows);
  for (const auto& row : rows) {
    if (row.peer == Peer::refused) continue;
    EXPECT_NE(row.help.empty(), row.peer != Peer::no_effect);
    for (const auto& name : row.names) EXPECT_NE(help.find(name), std::string::npos) << name;
  }
  for (std::size_t begin = 0; begin < help.size();) {
    const std::size_t end = help.find('\n', begin);
    EXPECT_LE(end - begin, 100u) << help.substr(begin, end - begin);
    begin = end + 1;
  }
  EXPECT_TRUE(asks_for_help(rows, {"-n", "1", "--help"}));
  EXPECT_TRUE(asks_for_help(rows, {"-v", "-h"}));
  EXPECT_FALSE(asks_for_help(rows, {"--", "-h"}));
  EXPECT_FALSE(asks_for_help(rows, {"-p", "-h"}));
  EXPECT_FALSE(asks_for_help(rows, {"--prompt", "--help", "-v"}));
}

TEST(Args, EveryNameIsGivenOnce) {
  RunOptions options;
  std::vector<std::string> names;
  for (const auto& row : run_rows(options)) names.insert(names.end(), row.names.begin(), row.names.end());
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

TEST(RunOptions, EscapesAreRead) {
  RunOptions typed;
  parse_run({"-p", R"(a\nb\t\\n\"\'\x41\xZZ\q\)", "-r", R"(\n\n)", "--in-suffix", R"(\t)"}, typed);
  EXPECT_EQ(typed.prompt, "a\nb\t\\n\"'A\\xZZ\\q\\");
  EXPECT_EQ(typed.stop, std::vector<std::string>{"\n\n"});
  EXPECT_EQ(typed.in_suffix, "\t");
  RunOptions raw;
  parse_run({"--no-escape", "-p", R"(a\nb)"}, raw);
  EXPECT_EQ(raw.prompt, R"(a\nb)");
}

TEST(RunOptions, KeysAloneSetBothTypes) {
  const auto types = [](const std::vector<std::string>& args) {
    RunOptions options;
    parse_run(args, options);
    return std::pair(options.model.session.type_k, options.model.session.type_v);
  };
  using Pair = std::pair<std::string, std::string>;
  EXPECT_EQ(types({}), Pair("default", "default"));
  EXPECT_EQ(types({"-ctk", "f16"}), Pair("f16", "f16"));
  EXPECT_EQ(types({"-ctv", "q8_0"}), Pair("default", "q8_0"));
  EXPECT_EQ(types({"-ctv", "default", "-ctk", "f16"}), Pair("f16", "default"));
  EXPECT_EQ(types({"-ctk", "f16", "-ctv", "default"}), Pair("f16", "default"));
}

TEST(RunOptions, ABatchIsTheSmallerOfBoth) {
  const auto batch = [](const std::vector<std::string>& args) {
    RunOptions options;
    parse_run(args, options);
    return options.model.session.n_batch;
  };
  EXPECT_EQ(batch({}), 512);
  EXPECT_EQ(batch({"-b", "2048"}), 2048);
  EXPECT_EQ(batch({"-b", "2048", "-ub", "256"}), 256);
  EXPECT_EQ(batch({"-ub", "1024"}), 1024);
}

TEST(RunOptions, SamplersByNameAndLetter) {
  RunOptions options;
  parse_run({"--samplers", "top-k;temp", "--dry-sequence-breaker", "\\n", "--dry-sequence-breaker", "x"},
            options);
  EXPECT_EQ(options.sampling.samplers, (std::vector{SamplerStep::top_k, SamplerStep::temperature}));
  EXPECT_EQ(options.sampling.dry_sequence_breakers, (std::vector<std::string>{"\n", "x"}));
  parse_run({"--sampling-seq", "mt", "--dry-sequence-breaker", "none"}, options);
  EXPECT_EQ(options.sampling.samplers, (std::vector{SamplerStep::min_p, SamplerStep::temperature}));
  EXPECT_TRUE(options.sampling.dry_sequence_breakers.empty());
  // One place says which values make sense, the same as for Python.
  parse_run({"--temp", "-1", "--top-p", "2", "--min-p", "-1"}, options);
  EXPECT_THROW(parse_run({"--top-p", "-1"}, options), UsageError);
  EXPECT_THROW(parse_run({"--samplers", "top_q"}, options), UsageError);
}

TEST(RunOptions, ComplaintsNameWhatFits) {
  const auto complaint_of = [](const std::vector<std::string>& args) -> std::string {
    try {
      RunOptions options;
      parse_run(args, options);
    } catch (const UsageError& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(
      complaint_of({"-s", "99999999999999999999"}),
      "option '-s': expected a whole number from -1 to 9223372036854775807, not '99999999999999999999'");
  EXPECT_EQ(complaint_of({"-s", "-2"}), "option '-s': expected a whole number of at least -1, not '-2'");
  EXPECT_EQ(complaint_of({"-m", ""}), "option '-m': the path is empty");
  EXPECT_EQ(
      complaint_of({"--chat-template", "chatlm"}),
      "option '--chat-template': 'chatlm' is none of chatml, llama3, mistral, and no Jinja source either");
  EXPECT_EQ(complaint_of({"--chat-template", "{{ 1 }}"}), "");
  EXPECT_EQ(complaint_of({"--chat-template", "llama3"}), "");
}

TEST(RunOptions, LogitBias) {
  EXPECT_EQ(parse_logit_bias("15+1.5"), (std::pair<Token, float>(15, 1.5f)));
  EXPECT_EQ(parse_logit_bias("15-100"), (std::pair<Token, float>(15, -100.0f)));
  EXPECT_EQ(parse_logit_bias("15-inf").second, -INFINITY);
  for (const char* bad : {"15", "+1", "a+1", "15+", "15+x", "15+inf", "15-nan", "-1+2", "3000000000+1"})
    EXPECT_THROW(parse_logit_bias(bad), UsageError) << bad;
}

TEST(RunOptions, ParsesTheUsualLine) {
  RunOptions o;
  parse_run({"-m",     "x.gguf", "-p", "hi", "-n",     "-1", "-c",   "0",    "-s",      "7",
             "--temp", "0",      "-r", "A",  "--stop", "B",  "-ctk", "q8_0", "-no-cnv", "--no-display-prompt",
             "-ngl",   "-1"},
            o);
  EXPECT_EQ(o.model.path, "x.gguf");
  EXPECT_EQ(o.prompt, "hi");
  EXPECT_EQ(o.n_predict, -1);
  EXPECT_TRUE(o.model.context_given);
  EXPECT_EQ(o.sampling.seed, 7u);
  EXPECT_EQ(o.sampling.temperature, 0);
  EXPECT_EQ(o.stop, (std::vector<std::string>{"A", "B"}));
  EXPECT_EQ(o.model.session.type_k, "q8_0");
  EXPECT_EQ(o.model.session.type_v, "q8_0");
  EXPECT_EQ(o.chat, ChatMode::off);
  EXPECT_FALSE(o.display_prompt);
  EXPECT_EQ(o.model.engine.n_gpu_layers, -1);
}

TEST(RunOptions, AnyNegativeNumberIsAllLayers) {
  RunOptions o;
  parse_run({"-m", "x.gguf", "-p", "hi", "-ngl", "-5"}, o);
  EXPECT_EQ(o.model.engine.n_gpu_layers, -5);
}

TEST(RunOptions, RefusesWhatDoesNotGoTogether) {
  const std::vector<std::vector<std::string>> wrong = {{"-p", "a", "-p", "b"},
                                                       {"-p", "a", "-f", "b"},
                                                       {"-no-cnv", "-sys", "x"},
                                                       {"-no-cnv", "--chat-template", "chatml"},
                                                       {"-r", ""}};
  for (const auto& args : wrong) {
    RunOptions o;
    EXPECT_THROW(parse_run(args, o), UsageError) << args[0];
  }
}

TEST(RunOptions, SettlesTheContext) {
  ModelConfig config;
  config.context_length = 8192;
  ModelOptions o;
  EXPECT_EQ(settled_session(o, config).n_ctx, kDefaultContext);
  config.context_length = 1000;
  EXPECT_EQ(settled_session(o, config).n_ctx, 1000);
  o.context_given = true;
  o.session.n_ctx = 0;
  EXPECT_EQ(settled_session(o, config).n_ctx, 1000);
  o.session.n_ctx = 77;
  EXPECT_EQ(settled_session(o, config).n_ctx, 77);
}

TEST(Args, ListsAndChoices) {
  using Parts = std::vector<std::string>;
  EXPECT_EQ(split_list("5,,70"), (Parts{"5", "", "70"}));
  EXPECT_EQ(split_list("5"), Parts{"5"});
  EXPECT_EQ(split_list("5,"), (Parts{"5", ""}));
  EXPECT_EQ(split_list(""), Parts{""});
  int chosen = 0;
  const auto set = set_choice<int>(chosen, {{"one", 1}, {"two", 2}, {"three", 3}});
  set("two");
  EXPECT_EQ(chosen, 2);
  try {
    set("four");
    FAIL() << "took four";
  } catch (const UsageError& e) {
    EXPECT_STREQ(e.what(), "expected one, two or three, not 'four'");
  }
}

}  // namespace
}  // namespace spectralkv
