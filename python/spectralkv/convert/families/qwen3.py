"""Qwen3, dense: norms of each head of q and k, no biases, and the window and the rows of Qwen2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spectralkv.convert.config import Shape, read_hf_config
from spectralkv.convert.families import qwen2
from spectralkv.convert.family import HF_TENSORS, Family, with_parts
from spectralkv.convert.forms import check_form

TENSORS = with_parts(HF_TENSORS, {"attn_q_norm": ("self_attn.q_norm", "d"), "attn_k_norm": ("self_attn.k_norm", "d")})


def _read_config(config: dict[str, Any], path: Path) -> Shape:
    check_form(config, {"use_sliding_window": bool}, path)
    given = config.get("head_dim")
    return read_hf_config(config | {"head_dim": 128 if given is None else given}, path, qwen2.window)


FAMILY = Family(("Qwen3ForCausalLM",), "qwen3", _read_config, TENSORS)
