"""What the converter knows of one family of checkpoints: a constant in families/NAME.py, and a row of its table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spectralkv.convert.config import Shape


@dataclass(frozen=True)
class TensorNames:
    """Names of tensors in a checkpoint, without ".weight" and ".bias"."""

    layer: str  # in front of a layer's parts, {} for its number
    parts: dict[str, tuple[str, str]]  # GGUF's name of a layer's part: the checkpoint's, and its shape in letters
    embedding: str
    norm: str  # behind the last layer
    head: str


# Of the code that began as Llama's. Letters are sizes: e width, q and k all heads of queries and keys, d one head,
# f feed-forward, x experts. A part with three letters has a tensor of each expert, {} for its number.
HF_TENSORS = TensorNames(
    layer="model.layers.{}.",
    parts={
        "attn_norm": ("input_layernorm", "e"),
        "attn_q": ("self_attn.q_proj", "qe"),
        "attn_k": ("self_attn.k_proj", "ke"),
        "attn_v": ("self_attn.v_proj", "ke"),
        "attn_output": ("self_attn.o_proj", "eq"),
        "ffn_norm": ("post_attention_layernorm", "e"),
        "ffn_gate": ("mlp.gate_proj", "fe"),
        "ffn_up": ("mlp.up_proj", "fe"),
        "ffn_down": ("mlp.down_proj", "ef"),
    },
    embedding="model.embed_tokens",
    norm="model.norm",
    head="lm_head",
)


def with_parts(names: TensorNames, parts: dict[str, tuple[str, str] | None]) -> TensorNames:
    """The same names with other or more parts of a layer; None takes one out."""
    kept = {name: part for name, part in (names.parts | parts).items() if part is not None}
    return replace(names, parts=kept)


@dataclass(frozen=True)
class Family:
    """checkpoints: first of config.json's architectures; of a multimodal model, whose text model alone is converted,
    with " of " and the text model's type behind it. turned: parts of a layer whose rows go from a head's halves to
    pairs, so that RoPE turns rows 2i and 2i + 1 together. required_biases: parts of a layer that must have one; others
    may."""

    checkpoints: tuple[str, ...]
    arch: str  # in GGUF
    read: Callable[[dict[str, Any], Path], Shape]  # of config.json; path: for messages
    tensors: TensorNames
    turned: tuple[str, ...] = ()
    required_biases: tuple[str, ...] = ()
    multimodal: bool = False
