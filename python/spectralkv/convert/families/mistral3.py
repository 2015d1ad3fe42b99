"""Ministral 3 and Devstral 2, their text models: YaRN, and queries that grow with their position."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from spectralkv.convert.config import Reader, Shape, read_hf_config
from spectralkv.convert.errors import ConvertError
from spectralkv.convert.families import mistral
from spectralkv.convert.forms import check_form

GROWTH, OWN_GROWTH = "llama_4_scaling_beta", "llama_4_scaling"  # of Hugging Face's files, and of Mistral's own


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


def _read_params(params: dict[str, Any], path: Path) -> Shape:
    """Of params.json. GGUF has one key for the context that yarn stretches and for that of the growth."""
    check_form(params, {OWN_GROWTH: {"beta": float, "original_max_position_embeddings": int}}, path)
    shape = mistral.read_params(params, path, known=(OWN_GROWTH,))
    growth = Reader(params[OWN_GROWTH], path)
    context = growth.size("original_max_position_embeddings")
    if shape.rope.scaling != "yarn" or shape.rope.original_context != context:
        raise ConvertError(f"{path}: '{OWN_GROWTH}' has a context of {context}, which is not that of 'yarn'")
    return replace(shape, own_keys=(("attention.temperature_scale", growth.factor("beta", 0)),))


FAMILY = replace(mistral.FAMILY, checkpoints=("Ministral3ForCausalLM",), arch="mistral3", read=_read_config)
WITH_IMAGES = replace(
    FAMILY,
    checkpoints=("Mistral3ForConditionalGeneration of ministral3",),
    read=partial(mistral.read_text_model, _read_config),
    multimodal=True,
)
OWN_FILES = replace(mistral.OWN_FILES, arch="mistral3", read=_read_params)
