// The command `inspect`: what a GGUF file holds, without loading the model.
#include <algorithm>

#include "base/error.h"
#include "base/threads.h"
#include "cli/commands.h"
#include "cli/inspect_facts.h"
#include "cli/inspect_memory.h"
#include "cli/json.h"
#include "cli/log.h"
#include "cli/model_options.h"
#include "cli/streams.h"
#include "engine/engine.h"
#include "engine/vocab.h"
#include "gguf/cursor.h"
#include "gguf/gguf.h"
#include "tensor/requantize.h"

namespace spectralkv {
namespace {

constexpr std::size_t kShownElements = 6, kShownBytes = 160;

double bits_per_weight(const FileFacts& facts) {
  return facts.parameters > 0
             ? 8.0 * static_cast<double>(facts.tensor_bytes) / static_cast<double>(facts.parameters)
             : 0;
}

std::string dims_text(const GgufTensor& tensor) {
  std::string text = "[";
  for (const auto n : tensor.dims) text += (text.size() > 1 ? ", " : "") + std::to_string(n);
  return text + "]";
}

// Scalars as JSON has them, for both outputs.
std::string element_text(bool value) {
  return value ? "true" : "false";
}
std::string element_text(std::int64_t value) {
  return std::to_string(value);
}
std::string element_text(std::uint64_t value) {
  return std::to_string(value);
}
std::string element_text(double value) {
  return json_number(value);
}
std::string element_text(const std::string& value) {
  return json_string(value);
}

// The start of a long string on one line, cut between characters.
std::string short_string(const std::string& value) {
  if (value.size() <= kShownBytes) return json_string(value);
  std::size_t cut = kShownBytes;
  while (cut > kShownBytes - 4 && (static_cast<unsigned char>(value[cut]) & 0xc0) == 0x80) --cut;
  return concat(json_string(value.substr(0, cut)), "... (", value.size(), " bytes)");
}

template <class T>
std::string array_elements(const std::vector<T>& values, std::size_t n, bool shorten) {
  std::string text;
  for (std::size_t i = 0; i < std::min(n, values.size()); ++i) {
    if (i > 0) text += ", ";
    if constexpr (std::is_same_v<T, std::string>)
      text += shorten ? short_string(values[i]) : element_text(values[i]);
    else
      text += element_text(values[i]);
  }
  return text;
}

struct ValueText {
  std::string operator()(const std::string& value) const { return short_string(value); }
  template <class T>
  std::string operator()(const std::vector<T>& values) const {
    const bool cut = values.size() > kShownElements;
    return "[" + array_elements(values, kShownElements, true) +
           (cut ? concat(", ... (", values.size(), ")") : "") + "]";
  }
  template <class T>
  std::string operator()(const T& value) const {
    return element_text(value);
  }
};

// Long arrays become {"count": n, "first": [...]}.
struct ValueJson {
  template <class T>
  std::string operator()(const std::vector<T>& values) const {
    constexpr std::size_t kWhole = 64;
    if (values.size() <= kWhole) return "[" + array_elements(values, kWhole, false) + "]";
    return concat("{\"count\": ", values.size(), ", \"first\": [",
                  array_elements(values, kShownElements, false), "]}");
  }
  template <class T>
  std::string operator()(const T& value) const {
    return element_text(value);
  }
};

// Texts of a table, with the space to the next one.
std::string column(const std::string& text, std::size_t width) {
  return left(text, width) + "  ";
}

std::string right_column(const std::string& text, std::size_t width) {
  return right(text, width) + "  ";
}

// ", 4 layers", or nothing for a number that is not known.
std::string known(std::int64_t n, const char* before, const char* behind) {
  return n > 0 ? concat(before, n, behind) : "";
}

std::string model_text(const FileFacts& facts) {
  const ModelConfig& c = facts.model;
  std::string out;
  for (const std::string& obstacle : facts.obstacles) out += "cannot run: " + obstacle + "\n";
  out += concat("model: ", c.arch.empty() ? "of no architecture" : printable(c.arch),
                known(c.n_layers, ", ", " layers"), known(c.n_heads, ", ", " heads"),
                known(c.n_kv_heads, ", ", " KV heads"), known(c.head_dim, ", head dim ", ""),
                known(c.n_embd, ", width ", ""), known(c.n_ff, ", feed-forward ", ""),
                known(c.n_vocab, ", vocabulary ", ""), known(c.context_length, ", context ", ""), "\n");
  if (c.sliding_window > 0) out += concat("sliding window: ", c.sliding_window, " tokens\n");
  if (!facts.has_cache(1)) return out;
  const std::int64_t per_token = facts.cache_bytes_per_token();
  out += concat("KV cache at f16: ", human_bytes(per_token), " per token");
  if (facts.has_cache(c.context_length))
    out += concat(", ", human_bytes(per_token * c.context_length), " for the whole context");
  return out + "\n";
}

std::string vocab_text(const VocabFacts& v) {
  if (v.model.empty() && v.tokens == 0) return "tokenizer: none\n";
  const auto id = [](std::int64_t token) { return token < 0 ? "none" : std::to_string(token); };
  return concat("tokenizer: ", v.model.empty() ? "of no kind" : printable(v.model),
                v.pre.empty() ? "" : concat(" (", printable(v.pre), ")"), ", ", v.tokens, " tokens, BOS ",
                id(v.bos), ", EOS ", id(v.eos), ", ", v.chat_template ? "a" : "no", " chat template\n");
}

constexpr std::string_view kDefaultType = "default";
constexpr std::int64_t kBatch = 512;  // tokens of a pass, as sessions have by default

std::string range_text(const TypeMemory& cache, std::int64_t more) {
  const std::string least = human_bytes(cache.least + more), most = human_bytes(cache.most + more);
  return least == most ? most : least + " to " + most;
}

// What a context takes in all is known of models that we can run; of others, where their keys say it, what
// its cache takes.
std::string memory_text(const FileFacts& facts) {
  if (!facts.has_cache(facts.n_ctx)) return "";
  std::int64_t more = 0;
  std::string out = concat("\nmemory at ", facts.n_ctx, " tokens");
  if (facts.complete) {
    const std::int64_t work = estimate_work(facts.model, std::min(kBatch, facts.n_ctx));
    out += concat(" (weights ", human_bytes(facts.tensor_bytes), ", work ", human_bytes(work), ")");
    more = facts.tensor_bytes + work;
  }
  constexpr std::size_t kType = 24;
  out += concat(":\n  ", column("cache type", kType),
                facts.complete ? column("cache", 28) + "in all" : "cache", "\n");
  for (const TypeMemory& cache : estimate_caches(facts.model.cache_shape(), facts.n_ctx))
    out += concat(
        "  ", column(cache.type == kDefaultType ? concat(cache.name, " (default)") : cache.type, kType),
        facts.complete ? column(range_text(cache, 0), 28) + range_text(cache, more) : range_text(cache, 0),
        "\n");
  return out;
}

std::string memory_json(const FileFacts& facts) {
  JsonWriter out("{}"), caches("{}");
  out.add("n_ctx", facts.n_ctx);
  out.add("weights", facts.tensor_bytes);
  if (facts.complete) out.add("work", estimate_work(facts.model, std::min(kBatch, facts.n_ctx)));
  for (const TypeMemory& cache : estimate_caches(facts.model.cache_shape(), facts.n_ctx)) {
    if (cache.type == kDefaultType) out.add("default", cache.name);
    caches.add_raw(cache.type, concat("[", cache.least, ", ", cache.most, "]"));
  }
  out.add_raw("cache", caches.lines());
  return out.lines();
}

std::string tensors_text(const Gguf& file) {
  std::size_t name_width = 0;
  for (const auto& tensor : file.tensors()) name_width = std::max(name_width, printable(tensor.name).size());
  std::string out = "\ntensors (row length first):\n";
  for (const auto& tensor : file.tensors())
    out += "  " + column(printable(tensor.name), name_width) + column(std::string(tensor.type_name()), 5) +
           column(dims_text(tensor), 16) + human_bytes(tensor.bytes) + "\n";
  return out;
}

std::string as_text(const Gguf& file, const FileFacts& facts, bool with_tensors) {
  std::string out =
      concat("file: ", file.path(), "\nformat: GGUF version ", file.version(), ", alignment ",
             file.alignment(), ", ", file.files().size(), file.files().size() == 1 ? " file, " : " files, ",
             human_bytes(file.file_bytes()), "\n");
  out += model_text(facts) + vocab_text(facts.vocab);
  out += concat("parameters: ", facts.parameters, " in ", file.tensors().size(), " tensors, ",
                fixed(bits_per_weight(facts), 2), " bits per weight\n");
  for (const auto& sum : facts.types)
    out += concat("  ", column(std::string(sum.type), 5),
                  right_column(concat(sum.tensors, sum.tensors == 1 ? " tensor " : " tensors"), 13),
                  right_column(concat(sum.values, " values"), 20), human_bytes(sum.bytes), "\n");
  out += memory_text(facts);
  out += concat("\nmetadata (", file.metadata().size(), " entries):\n");
  std::size_t key_width = 0;
  for (const auto& entry : file.metadata()) key_width = std::max(key_width, printable(entry.key).size());
  key_width = std::min<std::size_t>(key_width, 44);
  for (const auto& entry : file.metadata())
    out += "  " + column(printable(entry.key), key_width) + column(entry.type_name, 8) +
           std::visit(ValueText{}, entry.value) + "\n";
  if (with_tensors) out += tensors_text(file);
  // Last, where who waited for it looks.
  return facts.checked.empty() ? out : concat(out, "\ncheck: ", facts.checked, "\n");
}

// Without what is not known.
std::string model_json(const FileFacts& facts) {
  const ModelConfig& c = facts.model;
  JsonWriter out("{}");
  const auto size = [&](const char* name, std::int64_t n) {
    if (n > 0 || facts.complete) out.add(name, n);
  };
  if (!c.arch.empty()) out.add("architecture", c.arch);
  size("layers", c.n_layers);
  size("heads", c.n_heads);
  size("kv_heads", c.n_kv_heads);
  size("head_dim", c.head_dim);
  size("embedding_length", c.n_embd);
  size("feed_forward_length", c.n_ff);
  size("vocabulary", c.n_vocab);
  size("context_length", c.context_length);
  size("sliding_window", c.sliding_window);
  size("kv_cache_f16_bytes_per_token", facts.cache_bytes_per_token());
  return out.lines();
}

std::string vocab_json(const VocabFacts& v) {
  JsonWriter out("{}");
  out.add("model", v.model);
  out.add("pre", v.pre);
  out.add("tokens", v.tokens);
  out.add("bos", v.bos);
  out.add("eos", v.eos);
  out.add_raw("chat_template", element_text(v.chat_template));
  return out.lines();
}

std::string as_json(const Gguf& file, const FileFacts& facts, bool with_tensors) {
  JsonWriter out("{}"), types("{}"), metadata("{}"), tensors("[]"), reasons("[]");
  out.add("path", file.path());
  out.add("version", std::int64_t{file.version()});
  out.add("alignment", std::int64_t{file.alignment()});
  out.add("files", static_cast<std::int64_t>(file.files().size()));
  out.add("file_bytes", file.file_bytes());
  out.add("parameters", facts.parameters);
  out.add("tensor_bytes", facts.tensor_bytes);
  out.add("bits_per_weight", bits_per_weight(facts));
  for (const std::string& obstacle : facts.obstacles) reasons.push_raw(json_string(obstacle));
  out.add_raw("cannot_run", reasons.lines());
  out.add_raw("model", model_json(facts));
  out.add_raw("tokenizer", vocab_json(facts.vocab));
  if (facts.has_cache(facts.n_ctx)) out.add_raw("memory", memory_json(facts));
  if (!facts.checked.empty()) out.add("check", facts.checked);
  for (const auto& sum : facts.types) {
    JsonWriter entry("{}");
    entry.add("tensors", sum.tensors);
    entry.add("values", sum.values);
    entry.add("bytes", sum.bytes);
    types.add_raw(std::string(sum.type), entry.compact());
  }
  out.add_raw("types", types.lines());
  for (const auto& entry : file.metadata()) metadata.add_raw(entry.key, std::visit(ValueJson{}, entry.value));
  out.add_raw("metadata", metadata.lines());
  for (const auto& tensor : file.tensors()) {
    JsonWriter entry("{}");
    entry.add("name", tensor.name);
    entry.add("type", tensor.type_name());
    entry.add_raw("dims", dims_text(tensor));
    entry.add("bytes", tensor.bytes);
    tensors.push_raw(entry.compact());
  }
  if (with_tensors) out.add_raw("tensors", tensors.lines());
  return out.lines() + "\n";
}

// Reads every weight once, then loads the model as a session would. Returns one line that says what was found
// right; throws Error, with file and tensor, for what is wrong.
std::string check_file(const Gguf& file) {
  ThreadPool pool(0);
  for (const GgufTensor& tensor : file.tensors()) {
    check(tensor.foreign_type.empty(), "cli", "'", file.path(), "': tensor '", printable(tensor.name),
          "' has weight type ", tensor.foreign_type, ", which is not supported");
    const std::int64_t cols = tensor.dims[0];
    check_finite({tensor.type, tensor.data, tensor.n_values() / cols, cols,
                  concat(tensor.name, "' of '", file.files()[static_cast<std::size_t>(tensor.file)].path())},
                 pool);
  }
  if (file.tensors().empty()) {
    const Tokenizer tokenizer(read_vocab(file, false));
    return concat("no tensors; a tokenizer of ", tokenizer.n_vocab(), " tokens");
  }
  const Engine engine(file.path(), {});
  return concat(file.tensors().size(), " tensors, all values finite; loads as ", engine.description());
}

}  // namespace

int inspect_command(const std::vector<std::string>& args, const CliHooks& hooks) {
  bool json = false, with_tensors = false, check_all = false;
  std::int64_t n_ctx = 0;
  ModelOptions model;
  std::vector<Option> rows = source_rows(model, "the file, if not given alone; any part of a split one");
  append_rows(rows,
              {
                  {{"--tensors"}, "", "list the tensors", set_flag(with_tensors)},
                  {{"-c", "--ctx-size"},
                   "N",
                   "tokens that memory is estimated for; 0: the model's own context",
                   set_int(n_ctx, 0, std::int64_t{1} << 31)},
                  {{"--check"}, "", "read every weight, and load the model", set_flag(check_all)},
                  {{"--json"}, "", "print JSON; of long arrays the count and the start", set_flag(json)},
              });
  if (gave_help(
          hooks, "inspect", "FILE [OPTIONS]",
          "Shows what a GGUF file holds, metadata, sizes and tensors, and what running it takes, or why it "
          "cannot run.",
          rows, args))
    return 0;
  const std::vector<std::string> given = parse_args(rows, args, 1);
  if (!given.empty() && !model.path.empty())
    throw UsageError("two files were given: '" + model.path + "' and '" + given[0] + "'");
  if (!given.empty()) set_path(model.path)(given[0]);
  const Gguf file(model_path(model, hooks), Gguf::Types::any);
  FileFacts facts = gather_facts(file, n_ctx);
  if (check_all) facts.checked = check_file(file);
  write_out(json ? as_json(file, facts, with_tensors) : as_text(file, facts, with_tensors));
  return 0;
}

}  // namespace spectralkv
