"""Qwen2 and Qwen2.5: biases on q, k and v, rows in GGUF as in the checkpoint, a sliding window behind a switch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spectralkv.convert.config import Reader, Shape, read_hf_config
from spectralkv.convert.family import HF_TENSORS, Family
from spectralkv.convert.forms import check_form


def window(read: Reader, n_layers: int) -> tuple[int, list[str] | None]:
    """The first layers see everything, unless the file says it layer by layer."""
    if not read.values.get("use_sliding_window") or read.values.get("sliding_window") is None:
        return 0, None
    window, types = read.size("sliding_window"), read.values.get("layer_types")
    if types is None:
        full = read.size("max_window_layers", default=28, least=0)
        types = ["full_attention" if layer < full else "sliding_attention" for layer in range(n_layers)]
    return window, types


def _read_config(config: dict[str, Any], path: Path) -> Shape:
    check_form(config, {"use_sliding_window": bool}, path)
    return read_hf_config(config, path, window)


FAMILY = Family(
    ("Qwen2ForCausalLM",), "qwen2", _read_config, HF_TENSORS, required_biases=("attn_q", "attn_k", "attn_v")
)
