"""Adds a scratch architecture to a copy of the project, as CONTRIBUTING.md and docs/adding.md say, and tests the copy.

growth_architecture.py [--cuda] [FOLDER]: the copy and its build stay in FOLDER; without it they go. The scratch is
Llama with rows of q and k as Hugging Face has them, a bias behind attention and its own key for the epsilon of norms.
"""

from __future__ import annotations

from pathlib import Path

from growth import check, insert_behind

NAME = "scratchllama"

SOURCE = """// Llama with halves for RoPE, a bias behind attention and a key of its own.
#include "model/architectures.h"
#include "model/decoder.h"

namespace spectralkv::arch {
namespace {

ModelConfig read_config(const Gguf& file, const std::string& prefix) {
  ModelConfig config = read_sizes(file, prefix);
  config.rms_eps = read_epsilon(file, prefix + "norm_epsilon");
  config.rope = read_rope(file, prefix, config.head_dim);
  return config;
}

LayerWeights load_layer(WeightLoader& from, const std::string& prefix) {
  from.require(prefix + "attn_output.bias");
  LayerWeights layer;
  load_attention(from, prefix, RopeRows::halves, layer);
  load_gated_feed_forward(from, prefix, layer);
  return layer;
}

}  // namespace

extern const Architecture NAME = {"NAME", "scratch", read_config, load_decoder<load_layer>};

}  // namespace spectralkv::arch
"""


def add_architecture(tree: Path) -> None:
    """What somebody who adds it writes: its file, its row, and what its files have beside what all have."""
    (tree / "cpp/model/arch" / f"{NAME}.cc").write_text(SOURCE.replace("NAME", NAME))
    table = tree / "cpp/model/architectures.cc"
    insert_behind(table, r"^extern const Architecture ", f"extern const Architecture {NAME};")
    insert_behind(table, r"^    &arch::", f"    &arch::{NAME},")
    row = f'      {{"{NAME}", {{"attn_output"}}, {{{{"norm_epsilon", 1e-5f}}}}, {{}}}},'
    insert_behind(tree / "tests/support/tiny_model.h", r'^      \{"\w+", \{.*\}\},$', row)


if __name__ == "__main__":
    check(
        "an architecture",
        NAME,
        add_architecture,
        {"test_engine": f"*EveryArchitecture.*/{NAME}:*HostileModel.*/{NAME}:Architectures.*"},
    )
