"""Which type each tensor gets under a quantisation's name: the mixtures by role that llama.cpp's files have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from spectralkv import _core

# The mixtures that have a name of their own: (the type of most matrices, general.file_type). They stand for that type.
MIXTURES = {
    "Q2_K_S": ("q2_k", 21),
    "Q2_K": ("q2_k", 10),
    "Q3_K_S": ("q3_k", 11),
    "Q3_K_M": ("q3_k", 12),
    "Q3_K_L": ("q3_k", 13),
    "Q4_K_S": ("q4_k", 14),
    "Q4_K_M": ("q4_k", 15),
    "Q5_K_S": ("q5_k", 16),
    "Q5_K_M": ("q5_k", 17),
}
# Other names for them that llama-quantize knows.
ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}
READ_ONLY = _core.read_only_weight_types()


def _quantizations() -> dict[str, tuple[str, int]]:
    """Every type that we write under its own name, or the mixtures that stand for it; types of small blocks first."""
    types, choices = _core.weight_types(), _core.weight_type_choices()
    every: dict[str, tuple[str, int]] = {}
    for kind in sorted(set(types) - set(READ_ONLY), key=lambda kind: (types[kind][1], list(types).index(kind))):
        named = {name: mixture for name, mixture in MIXTURES.items() if mixture[0] == kind}
        every |= named or {kind.upper(): (kind, choices[kind][0])}
    return every


QUANTIZATIONS = _quantizations()
NUMBERS = {str(number): name for name, (_, number) in QUANTIZATIONS.items()}  # as llama-quantize takes them too
FLOATS = tuple(kind for kind, (_, block_values, _) in _core.weight_types().items() if block_values == 1)
ROLE = re.compile(r"blk\.(\d+)\.(\w+)(?:\.\d+)?\.weight")


def quantization_named(text: str) -> str:
    """The key of QUANTIZATIONS that `text` means; ValueError where there is none."""
    name = ALIASES.get(text.upper(), text.upper())
    if name.lower() in READ_ONLY:
        raise ValueError(
            f"{name} is a type that spectralkv reads and does not write; it writes {', '.join(QUANTIZATIONS)}"
        )
    if name not in QUANTIZATIONS:
        raise ValueError(f"unknown quantization {text!r}, there are {', '.join(QUANTIZATIONS)}")
    return name


@dataclass(frozen=True)
class Model:
    """What the mixtures ask of a model."""

    n_layers: int
    n_heads: int
    n_kv_heads: int
    tied: bool  # no output.weight: token_embd.weight is the head
    n_experts: int = 0

    @property
    def group(self) -> int:
        return self.n_heads // self.n_kv_heads


@dataclass(frozen=True)
class TypeRules:
    """What goes before a mixture.

    pure: every matrix gets the mixture's main type. output_type, embedding_type: of the head and of the token
    embedding, which is the head as well where a model has no other; None as the mixture has it. leave_output:
    output.weight keeps its type. importance: an importance matrix is at hand.
    """

    pure: bool = False
    output_type: str | None = None
    embedding_type: str | None = None
    leave_output: bool = False
    importance: bool = False


def chosen_type(
    quantization: str,
    name: str,
    shape: Sequence[int],
    current: str,
    model: Model,
    rules: TypeRules = TypeRules(),
) -> str:
    """The type of tensor `name`, shape with the row length last, that has type `current` in the source.

    Vectors and the routers of experts keep theirs; a type whose block does not divide the rows gives way to the next
    that fits.
    """
    if len(shape) < 2 or not name.endswith(".weight") or "ffn_gate_inp." in name:
        return current
    if rules.leave_output and name == "output.weight":
        return current
    kind = _given_type(name, model, rules)
    if kind is None:
        base = QUANTIZATIONS[quantization][0]
        kind = base if rules.pure else _by_role(quantization, name, shape, model, rules)
    return fitting(kind, shape[-1])


def _is_head(name: str, model: Model) -> bool:
    return name == "output.weight" or (model.tied and name == "token_embd.weight")


def _given_type(name: str, model: Model, rules: TypeRules) -> str | None:
    if name == "token_embd.weight" and rules.embedding_type is not None:
        return rules.embedding_type
    return rules.output_type if _is_head(name, model) else None


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


def _by_role(quantization: str, name: str, shape: Sequence[int], model: Model, rules: TypeRules) -> str:
    base = QUANTIZATIONS[quantization][0]
    if base in FLOATS:
        return base
    if _is_head(name, model):
        if base == "q8_0" or shape[-1] % _core.weight_types()[base][1]:
            return "q8_0"
        return "q6_k"
    match = ROLE.fullmatch(name)
    if match is None:
        return base
    layer, role = int(match[1]), match[2]
    if role == "attn_v":
        return _value_type(quantization, base, layer, model)
    if role == "attn_k" and model.n_experts == 8:
        return "q8_0"
    if role.startswith("ffn_down"):
        return _down_type(quantization, base, layer, model, rules)
    if role == "attn_output":
        if model.n_experts == 8:
            high = ("Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M", "IQ4_NL", "IQ4_XS")
            return "q5_k" if quantization in high else base
        return {"Q2_K": "q3_k", "Q3_K_M": "q4_k", "Q3_K_L": "q5_k"}.get(quantization, base)
    if role == "attn_qkv":
        return {"Q3_K_M": "q4_k", "Q3_K_L": "q4_k", "Q4_K_M": "q5_k", "Q5_K_M": "q6_k"}.get(quantization, base)
    return base


def _down_type(quantization: str, base: str, layer: int, model: Model, rules: TypeRules) -> str:
    n = model.n_layers
    first = layer < n // 8
    match quantization:
        case "Q2_K":
            return "q3_k"
        case "Q2_K_S":
            return "q4_k" if first else base
        case "Q3_K_M":
            return "q5_k" if layer < n // 16 else "q4_k"
        case "Q3_K_L":
            return "q5_k"
        case "Q4_K_S":
            return "q5_k" if first else base
        case "IQ4_NL" | "IQ4_XS":
            return "q5_k" if first and not rules.importance else base
        case "Q4_K_M" | "Q5_K_M":
            return "q6_k" if more_bits(layer, n) else base
        case "Q4_0" | "Q5_0":  # the first layers do badly without a minimum once some columns count more
            return base[:-1] + "1" if first and rules.importance else base
    return base


def _value_type(quantization: str, base: str, layer: int, model: Model) -> str:
    if model.n_experts == 8:
        return "q8_0"
    kind = base
    match quantization:
        case "Q2_K":
            kind = "q4_k" if model.group >= 4 else "q3_k"
        case "Q2_K_S":
            kind = "q4_k" if model.group >= 4 else base
        case "Q3_K_M":
            kind = "q5_k" if layer < 2 else "q4_k"
        case "Q3_K_L":
            kind = "q5_k"
        case "Q4_K_S":
            kind = "q5_k" if layer < 4 else base
        case "IQ4_NL" | "IQ4_XS":
            kind = "q5_k" if model.group >= 4 else base
        case "Q4_K_M" | "Q5_K_M":
            kind = "q6_k" if more_bits(layer, model.n_layers) else base
    # Models of 80 layers share one value head among eight heads: little to store, much to lose.
    if model.n_layers == 80 and model.group > 1 and kind in ("q3_k", "q4_k"):
        return "q5_k"
    return kind
