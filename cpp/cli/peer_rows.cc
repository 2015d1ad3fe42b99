// The names are llama.cpp's (tests/support/llama_cpp_flags.txt has its list); the reasons are ours.
#include "cli/peer_rows.h"

#include <algorithm>

#include "base/error.h"

namespace spectralkv {
namespace {

constexpr const char* kScheduling =
    "threads run where the system puts them (taskset, nice and numactl say where)";
constexpr const char* kMapping = "the file is always mapped, and weights are laid out anew in memory";
constexpr const char* kOneDevice = "a model is on one device as a whole: -ngl and --device choose it";
constexpr const char* kDraft = "there is no speculative decoding";
constexpr const char* kTextOnly = "models read and write text";
constexpr const char* kAdapters = "adapters and control vectors are not read";
constexpr const char* kThinking = "an answer is shown as it comes, thoughts and all";
constexpr const char* kLog = "the log is plain lines on standard error";
constexpr const char* kExtend = "positions are not grouped; --rope-scaling lengthens a context";
constexpr const char* kPull = "`spectralkv pull` fetches models";

// no_effect, with the list at hand.
struct Idle {
  std::vector<std::string>& ignored;
  Option operator()(std::vector<std::string> names, const char* value, const char* why) const {
    return no_effect(ignored, std::move(names), value, why);
  }
};

}  // namespace

Option no_effect(std::vector<std::string>& ignored, std::vector<std::string> names, std::string value,
                 std::string why) {
  const std::string name = names.front();
  const auto set = [&ignored, name](const std::string&) {
    if (std::find(ignored.begin(), ignored.end(), name) == ignored.end()) ignored.push_back(name);
  };
  return {std::move(names), std::move(value), "", set, Peer::no_effect, std::move(why)};
}

Option refused(std::vector<std::string> names, std::string why) {
  return {std::move(names), "", "", {}, Peer::refused, std::move(why)};
}

std::vector<Option> common_peer_rows(std::vector<std::string>& ignored) {
  const Idle idle{ignored};
  return {
      refused({"--version"}, "`spectralkv --version` shows it"),
      refused({"--license"}, "the file LICENSE has it"),
      refused({"-cl", "--cache-list"}, kPull),
      refused({"--completion-bash"}, "there is no script for the shell"),
      idle({"-tb", "--threads-batch"}, "N", "one number of threads, -t, reads prompts and generates"),
      idle({"-C", "--cpu-mask"}, "M", kScheduling),
      idle({"-Cr", "--cpu-range"}, "LO-HI", kScheduling),
      idle({"--cpu-strict"}, "N", kScheduling),
      idle({"--prio"}, "N", kScheduling),
      idle({"--poll"}, "N", kScheduling),
      idle({"-Cb", "--cpu-mask-batch"}, "M", kScheduling),
      idle({"-Crb", "--cpu-range-batch"}, "LO-HI", kScheduling),
      idle({"--cpu-strict-batch"}, "N", kScheduling),
      idle({"--prio-batch"}, "N", kScheduling),
      idle({"--poll-batch"}, "N", kScheduling),
      idle({"--numa"}, "TYPE", kScheduling),
      idle({"--swa-full"}, "", "a window of attention is a matter of the mask, not of the cache's size"),
      idle({"-fa", "--flash-attn"}, "[on|off|auto]", "attention reads the cache block by block, always"),
      idle({"--perf", "--no-perf"}, "", "timings are a part of the log"),
      refused({"-gan", "--grp-attn-n"}, kExtend),
      refused({"-gaw", "--grp-attn-w"}, kExtend),
      idle({"-kvo", "--kv-offload", "-nkvo", "--no-kv-offload"}, "", "the cache is where the model is"),
      idle({"--repack", "-nr", "--no-repack"}, "", "weights are laid out for the processor, always"),
      idle({"--no-host"}, "", "there is no such buffer"),
      idle({"-dt", "--defrag-thold"}, "N", "the cache has no holes"),
      idle({"-np", "--parallel"}, "N", "there is one sequence; `spectralkv serve` answers many at a time"),
      refused({"--rpc"}, "there is no backend over the network"),
      idle({"--mlock"}, "", kMapping),
      idle({"--mmap", "--no-mmap"}, "", kMapping),
      idle({"-dio", "--direct-io", "-ndio", "--no-direct-io"}, "", kMapping),
      idle({"-lm", "--load-mode"}, "MODE", kMapping),
      idle({"-lzm", "--lazy-mode"}, "MODE", kMapping),
      refused({"--list-devices"}, "the devices are cpu and, where there is a GPU, cuda"),
      refused({"-ot", "--override-tensor"}, kOneDevice),
      refused({"-cmoe", "--cpu-moe"}, kOneDevice),
      refused({"-ncmoe", "--n-cpu-moe"}, kOneDevice),
      refused({"-ncffn", "--n-cpu-ffn"}, kOneDevice),
      refused({"--moe-cache-mib"}, kOneDevice),
      refused({"-sm", "--split-mode"}, kOneDevice),
      refused({"-ts", "--tensor-split"}, kOneDevice),
      refused({"-mg", "--main-gpu"}, "CUDA_VISIBLE_DEVICES chooses the GPU"),
      idle({"-fit", "--fit"}, "[on|off]", "no option is changed to fit into memory"),
      idle({"-fitt", "--fit-target"}, "N,...", "no option is changed to fit into memory"),
      idle({"-fitc", "--fit-ctx"}, "N", "no option is changed to fit into memory"),
      refused({"--check-tensors"}, "`spectralkv inspect --check` does"),
      idle({"--op-offload", "--no-op-offload"}, "", "operations run where the model is"),
      refused({"--lora"}, kAdapters),
      refused({"--lora-scaled"}, kAdapters),
      refused({"--control-vector"}, kAdapters),
      refused({"--control-vector-scaled"}, kAdapters),
      refused({"--control-vector-layer-range"}, kAdapters),
      refused({"-mu", "--model-url"}, kPull),
      refused({"-dr", "--docker-repo"}, kPull),
      refused({"-hft", "--hf-token"}, "the environment's HF_TOKEN is read"),
      refused({"--offline"}, "nothing is fetched for -m; for -hf, set HF_HUB_OFFLINE=1"),
      refused({"--log-file"}, "the log goes to standard error: 2> FILE"),
      idle({"--log-jsonl", "--no-log-jsonl"}, "", kLog),
      idle({"--log-colors"}, "[on|off|auto]", kLog),
      idle({"--log-prefix", "--no-log-prefix"}, "", kLog),
      idle({"--log-timestamps", "--no-log-timestamps"}, "", kLog),
      idle({"--warmup", "--no-warmup"}, "",
           "the second step lays out the weights; none is run for that alone"),
  };
}

std::vector<Option> run_peer_rows(std::vector<std::string>& ignored) {
  const Idle idle{ignored};
  return {
      refused({"--adaptive-target"}, "there is no such sampler"),
      refused({"--adaptive-decay"}, "there is no such sampler"),
      idle({"-bs", "--backend-sampling"}, "", "tokens are drawn on the CPU; a GPU hands over the best alone"),
      idle({"-co", "--color"}, "[on|off|auto]", "prompt and answer are not coloured"),
      idle({"-ptc", "--print-token-count"}, "N", "the summary counts tokens"),
      idle({"--jinja", "--no-jinja"}, "",
           "templates are run by Jinja in the Python package; the binary knows those of three families"),
      idle({"--reasoning-format"}, "FORMAT", kThinking),
      idle({"-rea", "--reasoning"}, "[on|off|auto]", kThinking),
      refused({"--reasoning-budget"}, kThinking),
      refused({"--reasoning-budget-message"}, kThinking),
      refused({"--reasoning-effort"}, "no arguments are handed to the template"),
      refused({"--reasoning-preserve", "--no-reasoning-preserve"}, "no arguments are handed to the template"),
      refused({"--chat-template-kwargs"}, "no arguments are handed to the template"),
      idle({"--skip-chat-parsing", "--no-skip-chat-parsing"}, "", "answers are not parsed"),
      idle({"--simple-io"}, "", "input and output are plain lines"),
      idle({"-ctxcp", "--ctx-checkpoints", "--swa-checkpoints"}, "N", "there are no checkpoints in a chat"),
      idle({"-cram", "--cache-ram"}, "N", "a chat keeps its own cache, and no other"),
      idle({"--show-timings", "--no-show-timings"}, "", "timings are a part of the log"),
      refused({"--server-base"}, "`run` is no client of a server"),
      refused({"-o", "--output", "--output-file"}, "the text goes to standard output: > FILE"),
      refused({"--log-prompts-dir"}, "--verbose shows the prompt as the model reads it"),
      refused({"-mm", "--mmproj"}, kTextOnly),
      refused({"-mmu", "--mmproj-url"}, kTextOnly),
      refused({"--mmproj-auto"}, kTextOnly),
      idle({"--no-mmproj", "--no-mmproj-auto"}, "", kTextOnly),
      refused({"--mmproj-offload", "--no-mmproj-offload"}, kTextOnly),
      refused({"-mmdev", "--mmproj-device"}, kTextOnly),
      refused({"--image", "--audio", "--video"}, kTextOnly),
      refused({"--image-min-tokens"}, kTextOnly),
      refused({"--image-max-tokens"}, kTextOnly),
      refused({"-hfv", "-hfrv", "--hf-repo-v"}, kTextOnly),
      refused({"-hffv", "--hf-file-v"}, kTextOnly),
      refused({"--spec-draft-hf", "-hfd", "-hfrd", "--hf-repo-draft"}, kDraft),
      refused({"--spec-draft-type-k", "-ctkd", "--cache-type-k-draft"}, kDraft),
      refused({"--spec-draft-type-v", "-ctvd", "--cache-type-v-draft"}, kDraft),
      refused({"--spec-draft-threads", "-td", "--threads-draft"}, kDraft),
      refused({"--spec-draft-threads-batch", "-tbd", "--threads-batch-draft"}, kDraft),
      refused({"--spec-draft-cpu-mask", "-Cd", "--cpu-mask-draft"}, kDraft),
      refused({"--spec-draft-cpu-range", "-Crd", "--cpu-range-draft"}, kDraft),
      refused({"--spec-draft-cpu-strict", "--cpu-strict-draft"}, kDraft),
      refused({"--spec-draft-prio", "--prio-draft"}, kDraft),
      refused({"--spec-draft-poll", "--poll-draft"}, kDraft),
      refused({"--spec-draft-cpu-mask-batch", "-Cbd", "--cpu-mask-batch-draft"}, kDraft),
      refused({"--spec-draft-cpu-strict-batch", "--cpu-strict-batch-draft"}, kDraft),
      refused({"--spec-draft-prio-batch", "--prio-batch-draft"}, kDraft),
      refused({"--spec-draft-poll-batch", "--poll-batch-draft"}, kDraft),
      refused({"--spec-draft-override-tensor", "-otd", "--override-tensor-draft"}, kDraft),
      refused({"--spec-draft-cpu-moe", "-cmoed", "--cpu-moe-draft"}, kDraft),
      refused({"--spec-draft-n-cpu-moe", "--spec-draft-ncmoe", "-ncmoed", "--n-cpu-moe-draft"}, kDraft),
      refused({"--spec-draft-n-max"}, kDraft),
      refused({"--spec-draft-n-min"}, kDraft),
      refused({"--spec-draft-p-split", "--draft-p-split"}, kDraft),
      refused({"--spec-draft-p-min", "--draft-p-min"}, kDraft),
      refused({"--spec-draft-backend-sampling", "--no-spec-draft-backend-sampling"}, kDraft),
      refused({"--spec-draft-device", "-devd", "--device-draft"}, kDraft),
      refused({"--spec-draft-ngl", "-ngld", "--gpu-layers-draft", "--n-gpu-layers-draft"}, kDraft),
      refused({"--spec-draft-model", "-md", "--model-draft"}, kDraft),
      refused({"--spec-type"}, kDraft),
      refused({"--spec-ngram-mod-n-min"}, kDraft),
      refused({"--spec-ngram-mod-n-max"}, kDraft),
      refused({"--spec-ngram-mod-n-match"}, kDraft),
      refused({"--spec-ngram-simple-size-n"}, kDraft),
      refused({"--spec-ngram-simple-size-m"}, kDraft),
      refused({"--spec-ngram-simple-min-hits"}, kDraft),
      refused({"--spec-ngram-map-k-size-n"}, kDraft),
      refused({"--spec-ngram-map-k-size-m"}, kDraft),
      refused({"--spec-ngram-map-k-min-hits"}, kDraft),
      refused({"--spec-ngram-map-k4v-size-n"}, kDraft),
      refused({"--spec-ngram-map-k4v-size-m"}, kDraft),
      refused({"--spec-ngram-map-k4v-min-hits"}, kDraft),
      refused({"--draft", "--draft-n", "--draft-max"}, kDraft),
      refused({"--draft-min", "--draft-n-min"}, kDraft),
      refused({"--spec-default"}, kDraft),
      refused({"--gpt-oss-20b-default"}, kPull),
      refused({"--gpt-oss-120b-default"}, kPull),
      refused({"--vision-gemma-4b-default"}, kTextOnly),
      refused({"--vision-gemma-12b-default"}, kTextOnly),
  };
}

std::vector<Option> bench_peer_rows(std::vector<std::string>& ignored) {
  const Idle idle{ignored};
  return {
      idle({"--numa"}, "TYPE", kScheduling),
      idle({"--prio"}, "N", kScheduling),
      idle({"-C", "--cpu-mask"}, "M", kScheduling),
      idle({"--cpu-strict"}, "N", kScheduling),
      idle({"--poll"}, "N", kScheduling),
      refused({"--delay"}, "tests follow each other at once"),
      refused({"-oe", "--output-err"}, "standard error has the progress alone"),
      refused({"--list-devices"}, "the devices are cpu and, where there is a GPU, cuda"),
      idle({"-v", "--verbose"}, "", "there is nothing more to tell"),
      idle({"--progress"}, "", "a terminal shows it, always"),
      idle({"--no-warmup"}, "", "the first repetition is run and not counted, always"),
      idle({"--n-gen-warmup"}, "N", "the first repetition is run and not counted, always"),
      idle({"-fitt", "--fit-target"}, "N", "no option is changed to fit into memory"),
      idle({"-fitc", "--fit-ctx"}, "N", "no option is changed to fit into memory"),
      refused({"-rpc", "--rpc"}, "there is no backend over the network"),
      refused({"-hft", "--hf-token"}, "the environment's HF_TOKEN is read"),
      refused({"--offline"}, "nothing is fetched for -m; for -hf, set HF_HUB_OFFLINE=1"),
      refused({"-ncmoe", "--n-cpu-moe"}, kOneDevice),
      refused({"--moe-cache"}, kOneDevice),
      refused({"-sm", "--split-mode"}, kOneDevice),
      refused({"-mg", "--main-gpu"}, "CUDA_VISIBLE_DEVICES chooses the GPU"),
      idle({"-nkvo", "--no-kv-offload"}, "N", "the cache is where the model is"),
      idle({"-fa", "--flash-attn"}, "V", "attention reads the cache block by block, always"),
      idle({"-mmp", "--mmap"}, "N", kMapping),
      idle({"-dio", "--direct-io"}, "N", kMapping),
      idle({"-lm", "--load-mode"}, "MODE", kMapping),
      idle({"-lzm", "--lazy-mode"}, "MODE", kMapping),
      idle({"--repack"}, "V", "weights are laid out for the processor, always"),
      idle({"-nr", "--no-repack"}, "", "weights are laid out for the processor, always"),
      refused({"-embd", "--embeddings"}, "what is measured is the logits"),
      refused({"-ts", "--tensor-split"}, kOneDevice),
      refused({"-ot", "--override-tensor"}, kOneDevice),
      idle({"-nopo", "--no-op-offload"}, "N", "operations run where the model is"),
      idle({"--no-host"}, "N", "there is no such buffer"),
  };
}

std::string ignored_note(const std::vector<std::string>& ignored) {
  std::string names;
  for (std::size_t i = 0; i < ignored.size(); ++i)
    names += concat(i == 0 ? "" : i + 1 < ignored.size() ? ", " : " and ", ignored[i]);
  if (names.empty()) return "";
  return concat("note: ", names, ignored.size() == 1 ? " has" : " have",
                " no effect here (`spectralkv help llama.cpp` says why)");
}

}  // namespace spectralkv
