"""Ministral 3 and Devstral 2, their text models: YaRN, and queries that grow with their position."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from spectralkv.convert.config import Reader, Shape, read_hf_config
from spectralkv.convert.errors import ConvertError
from spectralkv.convert.families import mistral

GROWTH = "llama_4_scaling_beta"


def _read_config(config: dict[str, Any], path: Path) -> Shape:
    given = config.get("head_dim")
    shape = read_hf_config(config | {"head_dim": 128 if given is None else given}, path, mistral.window)
    settings = config.get("rope_parameters") or {}
    if settings.get(GROWTH) is None:
        return shape
    growth = Reader(settings, path).factor(GROWTH, 0)
    if shape.rope.scaling != "yarn":
        raise ConvertError(f"{path}: '{GROWTH}' of RoPE goes with yarn, found {shape.rope.scaling}")
    return replace(shape, own_keys=(("attention.temperature_scale", growth),))


FAMILY = replace(mistral.FAMILY, checkpoints=("Ministral3ForCausalLM",), arch="mistral3", read=_read_config)
