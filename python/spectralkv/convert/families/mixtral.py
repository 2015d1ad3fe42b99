"""Mixtral: Mistral whose feed-forwards are mixtures of experts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from spectralkv.convert.config import Reader, Shape, read_hf_config
from spectralkv.convert.families import mistral
from spectralkv.convert.family import HF_TENSORS, with_parts

MOST_EXPERTS = 512  # that the runtime takes
EXPERT = "block_sparse_moe.experts.{}."
TENSORS = with_parts(
    HF_TENSORS,
    {
        **dict.fromkeys(("ffn_gate", "ffn_up", "ffn_down")),
        "ffn_gate_inp": ("block_sparse_moe.gate", "xe"),
        "ffn_gate_exps": (EXPERT + "w1", "xfe"),
        "ffn_up_exps": (EXPERT + "w3", "xfe"),
        "ffn_down_exps": (EXPERT + "w2", "xef"),
    },
)


def _read_config(config: dict[str, Any], path: Path) -> Shape:
    read = Reader(config, path)
    n_experts = read.size("num_local_experts", default=8, most=MOST_EXPERTS)
    used = read.size("num_experts_per_tok", default=2, most=n_experts)
    shape = read_hf_config(config, path, mistral.window, known=("num_local_experts",))
    return replace(shape, n_experts=n_experts, own_keys=(("expert_count", n_experts), ("expert_used_count", used)))


FAMILY = replace(mistral.FAMILY, checkpoints=("MixtralForCausalLM",), read=_read_config, tensors=TENSORS)
