"""Llama."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spectralkv.convert.config import Shape, no_window, read_hf_config
from spectralkv.convert.family import HF_TENSORS, Family


def _read_config(config: dict[str, Any], path: Path) -> Shape:
    return read_hf_config(config, path, no_window)


# GGUF has the rows that RoPE turns together side by side, Hugging Face has a head's halves apart.
FAMILY = Family(("LlamaForCausalLM",), "llama", _read_config, HF_TENSORS, turned=("attn_q", "attn_k"))
