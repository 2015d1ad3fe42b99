// The command `inspect`: what a GGUF file holds, without loading the model.
#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/threads.h"
#include "cli/commands.h"
#include "cli/inspect_memory.h"
#include "cli/json.h"
#include "cli/log.h"
#include "cli/streams.h"
#include "engine/engine.h"
#include "engine/vocab.h"
#include "gguf/gguf.h"
#include "model/config.h"
#include "tensor/requantize.h"

namespace spectralkv {
namespace {

constexpr std::size_t kShownElements = 6, kShownBytes = 160;

struct TypeSum {
  DType type = DType::f32;
  std::int64_t tensors = 0, values = 0, bytes = 0;
};

struct Facts {
  std::vector<TypeSum> types;  // falling bytes
  std::int64_t parameters = 0, tensor_bytes = 0;
  std::optional<ModelConfig> config;
  std::string not_supported;  // why there is no config
  std::int64_t n_ctx = 0;     // tokens that the estimates are for
  std::string checked;        // what the check of the file found right; empty: not asked for

  // Keys and values of one token in f16.
  std::int64_t cache_bytes_per_token() const {
    return 2 * 2 * config->n_layers * config->n_kv_heads * config->head_dim;
  }
};

Facts gather(const Gguf& file, std::int64_t n_ctx) {
  Facts facts;
  for (const auto& tensor : file.tensors()) {
    auto sum = std::find_if(facts.types.begin(), facts.types.end(),
                            [&](const TypeSum& s) { return s.type == tensor.type; });
    if (sum == facts.types.end()) sum = facts.types.insert(sum, TypeSum{tensor.type});
    sum->tensors += 1;
    sum->values += tensor.n_values();
    sum->bytes += tensor.bytes;
    facts.parameters += tensor.n_values();
    facts.tensor_bytes += tensor.bytes;
  }
  std::stable_sort(facts.types.begin(), facts.types.end(),
                   [](const TypeSum& a, const TypeSum& b) { return a.bytes > b.bytes; });
  try {
    facts.config = read_config(file);
    facts.n_ctx = n_ctx > 0 ? n_ctx : facts.config->context_length;
  } catch (const Error& e) {
    facts.not_supported = e.what();
  }
  return facts;
}

double bits_per_weight(const Facts& facts) {
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

std::string model_text(const Facts& facts) {
  if (!facts.config) return "model: not supported: " + facts.not_supported + "\n";
  const ModelConfig& c = *facts.config;
  std::string out =
      concat("model: ", c.arch, ", ", c.n_layers, " layers, ", c.n_heads, " heads, ", c.n_kv_heads,
             " KV heads, head dim ", c.head_dim, ", width ", c.n_embd, ", feed-forward ", c.n_ff,
             ", vocabulary ", c.n_vocab, ", context ", c.context_length, "\n");
  if (c.sliding_window > 0) out += concat("sliding window: ", c.sliding_window, " tokens\n");
  const std::int64_t per_token = facts.cache_bytes_per_token();
  return out + concat("KV cache at f16: ", human_bytes(per_token), " per token, ",
                      human_bytes(per_token * c.context_length), " for the whole context\n");
}

constexpr std::int64_t kBatch = 512;  // tokens of a pass, as sessions have by default

std::string range_text(const TypeMemory& cache, std::int64_t more) {
  const std::string least = human_bytes(cache.least + more), most = human_bytes(cache.most + more);
  return least == most ? most : least + " to " + most;
}

std::string memory_text(const Facts& facts) {
  const std::int64_t work = estimate_work(*facts.config, std::min(kBatch, facts.n_ctx));
  std::string out =
      concat("\nmemory at ", facts.n_ctx, " tokens (weights ", human_bytes(facts.tensor_bytes), ", work ",
             human_bytes(work), "):\n  ", column("cache type", 14), column("cache", 28), "in all\n");
  for (const TypeMemory& cache : estimate_caches(*facts.config, facts.n_ctx))
    out += concat("  ", column(cache.type, 14), column(range_text(cache, 0), 28),
                  range_text(cache, facts.tensor_bytes + work), "\n");
  return out;
}

std::string memory_json(const Facts& facts) {
  JsonWriter out("{}"), caches("{}");
  out.add("n_ctx", facts.n_ctx);
  out.add("weights", facts.tensor_bytes);
  out.add("work", estimate_work(*facts.config, std::min(kBatch, facts.n_ctx)));
  for (const TypeMemory& cache : estimate_caches(*facts.config, facts.n_ctx))
    caches.add_raw(cache.type, concat("[", cache.least, ", ", cache.most, "]"));
  out.add_raw("cache", caches.lines());
  return out.lines();
}

std::string as_text(const Gguf& file, const Facts& facts, bool with_tensors) {
  std::string out =
      concat("file: ", file.path(), "\nformat: GGUF version ", file.version(), ", alignment ",
             file.alignment(), ", ", file.files().size(), file.files().size() == 1 ? " file, " : " files, ",
             human_bytes(file.file_bytes()), "\n");
  out += model_text(facts);
  out += concat("parameters: ", facts.parameters, " in ", file.tensors().size(), " tensors, ",
                fixed(bits_per_weight(facts), 2), " bits per weight\n");
  for (const auto& sum : facts.types)
    out += concat("  ", column(std::string(dtype_info(sum.type).name), 5),
                  right_column(concat(sum.tensors, sum.tensors == 1 ? " tensor " : " tensors"), 13),
                  right_column(concat(sum.values, " values"), 20), human_bytes(sum.bytes), "\n");
  if (facts.config) out += memory_text(facts);
  if (!facts.checked.empty()) out += "\ncheck: " + facts.checked + "\n";
  out += concat("\nmetadata (", file.metadata().size(), " entries):\n");
  std::size_t key_width = 0;
  for (const auto& entry : file.metadata()) key_width = std::max(key_width, entry.key.size());
  key_width = std::min<std::size_t>(key_width, 44);
  for (const auto& entry : file.metadata())
    out += "  " + column(entry.key, key_width) + column(entry.type_name, 8) +
           std::visit(ValueText{}, entry.value) + "\n";
  if (!with_tensors) return out;
  std::size_t name_width = 0;
  for (const auto& tensor : file.tensors()) name_width = std::max(name_width, tensor.name.size());
  out += "\ntensors (row length first):\n";
  for (const auto& tensor : file.tensors())
    out += "  " + column(tensor.name, name_width) + column(std::string(dtype_info(tensor.type).name), 5) +
           column(dims_text(tensor), 16) + human_bytes(tensor.bytes) + "\n";
  return out;
}

std::string config_json(const Facts& facts) {
  const ModelConfig& c = *facts.config;
  JsonWriter out("{}");
  out.add("architecture", c.arch);
  out.add("layers", c.n_layers);
  out.add("heads", c.n_heads);
  out.add("kv_heads", c.n_kv_heads);
  out.add("head_dim", c.head_dim);
  out.add("embedding_length", c.n_embd);
  out.add("feed_forward_length", c.n_ff);
  out.add("vocabulary", c.n_vocab);
  out.add("context_length", c.context_length);
  out.add("sliding_window", c.sliding_window);
  out.add("kv_cache_f16_bytes_per_token", facts.cache_bytes_per_token());
  return out.lines();
}

std::string as_json(const Gguf& file, const Facts& facts, bool with_tensors) {
  JsonWriter out("{}"), types("{}"), metadata("{}"), tensors("[]");
  out.add("path", file.path());
  out.add("version", std::int64_t{file.version()});
  out.add("alignment", std::int64_t{file.alignment()});
  out.add("files", static_cast<std::int64_t>(file.files().size()));
  out.add("file_bytes", file.file_bytes());
  out.add("parameters", facts.parameters);
  out.add("tensor_bytes", facts.tensor_bytes);
  out.add("bits_per_weight", bits_per_weight(facts));
  out.add_raw("model", facts.config ? config_json(facts) : "null");
  if (facts.config) out.add_raw("memory", memory_json(facts));
  if (!facts.checked.empty()) out.add("check", facts.checked);
  if (!facts.config) out.add("not_supported", facts.not_supported);
  for (const auto& sum : facts.types) {
    JsonWriter entry("{}");
    entry.add("tensors", sum.tensors);
    entry.add("values", sum.values);
    entry.add("bytes", sum.bytes);
    types.add_raw(dtype_info(sum.type).name, entry.compact());
  }
  out.add_raw("types", types.lines());
  for (const auto& entry : file.metadata()) metadata.add_raw(entry.key, std::visit(ValueJson{}, entry.value));
  out.add_raw("metadata", metadata.lines());
  for (const auto& tensor : file.tensors()) {
    JsonWriter entry("{}");
    entry.add("name", tensor.name);
    entry.add("type", dtype_info(tensor.type).name);
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
  std::string path;
  const std::vector<Option> rows = {
      {{"-m", "--model"}, "PATH", "the file, if not given alone; any part of a split one", set_path(path)},
      {{"--tensors"}, "", "list the tensors", set_flag(with_tensors)},
      {{"-c", "--ctx-size"},
       "N",
       "tokens that memory is estimated for; 0: the model's own context",
       set_int(n_ctx, 0, std::int64_t{1} << 31)},
      {{"--check"}, "", "read every weight, and load the model", set_flag(check_all)},
      {{"--json"}, "", "print JSON; of long arrays the count and the start", set_flag(json)},
  };
  if (gave_help(hooks, "inspect", "FILE [OPTIONS]",
                "Shows what a GGUF file holds, metadata, sizes and tensors, and what running it takes.", rows,
                args))
    return 0;
  const std::vector<std::string> given = parse_args(rows, args, 1);
  if (!given.empty() && !path.empty())
    throw UsageError("two files were given: '" + path + "' and '" + given[0] + "'");
  if (!given.empty()) set_path(path)(given[0]);
  if (path.empty() && hooks.default_model) path = hooks.default_model();
  if (path.empty()) throw UsageError("no file was given");
  const Gguf file(path);
  Facts facts = gather(file, n_ctx);
  if (check_all) facts.checked = check_file(file);
  write_out(json ? as_json(file, facts, with_tensors) : as_text(file, facts, with_tensors));
  return 0;
}

}  // namespace spectralkv
