"""SmolLM3: Llama without RoPE in every fourth layer, which GGUF has no key for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from spectralkv.convert.config import Reader, Shape, no_window, read_hf_config
from spectralkv.convert.errors import ConvertError
from spectralkv.convert.families import llama
from spectralkv.convert.forms import check_form

PERIOD = 4


def _read_config(config: dict[str, Any], path: Path) -> Shape:
    check_form(config, {"no_rope_layers": [int], "use_sliding_window": bool}, path)
    if config.get("use_sliding_window"):
        raise ConvertError(f"{path}: 'use_sliding_window' is set: a window of SmolLM3 is not supported")
    given = config.get("tie_word_embeddings")  # transformers leaves it out where it is true, which is the default
    shape = read_hf_config(config | {"tie_word_embeddings": True if given is None else given}, path, no_window)
    period = Reader(config, path).size("no_rope_layer_interval", default=PERIOD)
    turned = [int(layer % PERIOD != PERIOD - 1) for layer in range(shape.n_layers)]
    given = config.get("no_rope_layers")  # 1 for layers with RoPE, whatever its name says
    if given != turned and (given or period != PERIOD):
        raise ConvertError(f"{path}: 'no_rope_layers' takes RoPE from other layers than every {PERIOD}th")
    return shape


FAMILY = replace(llama.FAMILY, checkpoints=("SmolLM3ForCausalLM",), arch="smollm3", read=_read_config)
