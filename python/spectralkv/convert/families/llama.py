"""Llama."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spectralkv.convert.config import Reader, Shape, read_hf_config
from spectralkv.convert.family import HF_TENSORS, Family


def _window(read: Reader, n_layers: int) -> tuple[int, list[str] | None]:
    """None, whatever the file says."""
    return 0, None


def _read_config(config: dict[str, Any], path: Path) -> Shape:
    return read_hf_config(config, path, _window)


# GGUF has the rows that RoPE turns together side by side, Hugging Face has a head's halves apart.
FAMILY = Family(("LlamaForCausalLM",), "llama", _read_config, HF_TENSORS, turned=("attn_q", "attn_k"))
