"""Which type each tensor gets under a quantisation's name: the mixtures by role that llama.cpp's files have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from spectralkv import _core

# The mixtures that have a name of their own: (the type of most matrices, general.file_type). They stand for that type.
MIXTURES = {
    "Q3_K_M": ("q3_k", 12),
    "Q4_K_S": ("q4_k", 14),
    "Q4_K_M": ("q4_k", 15),
    "Q5_K_M": ("q5_k", 17),
}


def _quantizations() -> dict[str, tuple[str, int]]:
    """Every weight type under its own name, or the mixtures that stand for it; types of small blocks first."""
    types, choices = _core.weight_types(), _core.weight_type_choices()
    every: dict[str, tuple[str, int]] = {}
    for kind in sorted(types, key=lambda kind: types[kind][1]):
        named = {name: mixture for name, mixture in MIXTURES.items() if mixture[0] == kind}
        every |= named or {kind.upper(): (kind, choices[kind][0])}
    return every


QUANTIZATIONS = _quantizations()
FLOATS = tuple(kind for kind, (_, block_values, _) in _core.weight_types().items() if block_values == 1)
ROLE = re.compile(r"blk\.(\d+)\.(\w+)\.weight")


@dataclass(frozen=True)
class Model:
    """What the mixtures ask of a model."""

    n_layers: int
    n_heads: int
    n_kv_heads: int
    tied: bool  # no output.weight: token_embd.weight is the head

    @property
    def group(self) -> int:
        return self.n_heads // self.n_kv_heads


def chosen_type(quantization: str, name: str, shape: Sequence[int], current: str, model: Model) -> str:
    """The type of tensor `name`, shape with the row length last, that has type `current` in the source.

    Vectors keep theirs; a type whose block does not divide the rows gives way to the next that fits.
    """
    if len(shape) < 2 or not name.endswith(".weight"):
        return current
    return fitting(_by_role(quantization, name, shape, model), shape[-1])


def fitting(kind: str, cols: int) -> str:
    """`kind`, or what takes its place in rows of `cols` values."""
    types, choices = _core.weight_types(), _core.weight_type_choices()
    while cols % types[kind][1]:
        kind = choices[kind][1]
    return kind


def more_bits(layer: int, n_layers: int) -> bool:
    """The first and the last eighth of the layers, and every third between."""
    eighth = n_layers // 8
    return layer < eighth or layer >= 7 * n_layers // 8 or (layer - eighth) % 3 == 2


def _by_role(quantization: str, name: str, shape: Sequence[int], model: Model) -> str:
    base = QUANTIZATIONS[quantization][0]
    if base in FLOATS:
        return base
    if name == "output.weight" or (model.tied and name == "token_embd.weight"):
        if base == "q8_0" or shape[-1] % _core.weight_types()[base][1]:
            return "q8_0"
        return "q6_k"
    match = ROLE.fullmatch(name)
    if match is None:
        return base
    layer, n, role = int(match[1]), model.n_layers, match[2]
    if role == "attn_v":
        return _value_type(quantization, base, layer, model)
    if role == "ffn_down":
        match quantization:
            case "Q2_K":
                return "q3_k"
            case "Q3_K_M":
                return "q5_k" if layer < n // 16 else "q4_k"
            case "Q4_K_S":
                return "q5_k" if layer < n // 8 else base
            case "Q4_K_M" | "Q5_K_M":
                return "q6_k" if more_bits(layer, n) else base
    if role == "attn_output":
        return {"Q2_K": "q3_k", "Q3_K_M": "q4_k"}.get(quantization, base)
    return base


def _value_type(quantization: str, base: str, layer: int, model: Model) -> str:
    kind = base
    match quantization:
        case "Q2_K":
            kind = "q4_k" if model.group >= 4 else "q3_k"
        case "Q3_K_M":
            kind = "q5_k" if layer < 2 else "q4_k"
        case "Q4_K_S":
            kind = "q5_k" if layer < 4 else base
        case "Q4_K_M" | "Q5_K_M":
            kind = "q6_k" if more_bits(layer, model.n_layers) else base
    # Models of 80 layers share one value head among eight heads: little to store, much to lose.
    if model.n_layers == 80 and model.group > 1 and kind in ("q3_k", "q4_k"):
        return "q5_k"
    return kind
