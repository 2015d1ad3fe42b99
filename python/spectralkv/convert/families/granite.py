"""Granite 3, dense: Llama with four factors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from spectralkv.convert.config import Reader, Shape, no_window, read_hf_config
from spectralkv.convert.families import llama

# The checkpoint's key, GGUF's, and what it is where the checkpoint has none.
FACTORS = {
    "attention_multiplier": ("attention.scale", 1.0),
    "embedding_multiplier": ("embedding_scale", 1.0),
    "residual_multiplier": ("residual_scale", 1.0),
    "logits_scaling": ("logit_scale", 1.0),
}


def _read_config(config: dict[str, Any], path: Path) -> Shape:
    read = Reader(config, path)
    keys = tuple((gguf, read.factor(key, default)) for key, (gguf, default) in FACTORS.items())
    return replace(read_hf_config(config, path, no_window), own_keys=keys)


FAMILY = replace(llama.FAMILY, checkpoints=("GraniteForCausalLM",), arch="granite", read=_read_config)
