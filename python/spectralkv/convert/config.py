"""What shapes a model, and how it is read from Hugging Face's config.json."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectralkv.convert.errors import ConvertError
from spectralkv.convert.forms import check_form, shown
from spectralkv.convert.rope import Rope, read_rope

REFUSED = {  # keys that change the forward pass in a way that the runtime does not know
    "quantization_config": "quantised checkpoints",
    "num_local_experts": "mixture of experts",
    "text_config": "multimodal models",
    "vision_config": "multimodal models",
    "moe": "mixture of experts",
    "quantization": "quantised checkpoints",
    "vision_encoder": "multimodal models",
    "llama_4_scaling": "temperature by position",
    "use_mrope": "positions of several dimensions",
}
MOST_SIZE, MOST_LAYERS = (1 << 31) - 1, 4096  # GGUF's 32 bits; the runtime takes no more layers
CONFIG = {
    "hidden_act": str,
    "rms_norm_eps": float,
    "layer_types": [str],
    "tie_word_embeddings": bool,
    "rope_parameters": {},
    "rope_scaling": {},
    "rope_theta": float,
    "partial_rotary_factor": float,
}


@dataclass(frozen=True)
class Shape:
    """The model's sizes and constants. layer_slides: per layer whether the sliding window holds; None: in all."""

    path: Path  # where it was read, for messages
    n_layers: int
    n_embd: int
    n_ff: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    n_vocab: int
    context_length: int
    rms_eps: float
    rope: Rope
    sliding_window: int
    layer_slides: tuple[bool, ...] | None
    tied: bool
    notes: tuple[str, ...] = ()  # what was assumed
    n_experts: int = 0
    own_keys: tuple[tuple[str, int | float], ...] = ()  # GGUF's, without the architecture, that only some families have


class Reader:
    """Typed access to the keys of one file."""

    def __init__(self, values: dict[str, Any], path: Path) -> None:
        self.values, self.path = values, path

    def size(self, *keys: str, default: int | None = None, least: int = 1, most: int = MOST_SIZE) -> int:
        """A whole number: the first of the keys that is there and not null."""
        found = next((self.values[key] for key in keys if self.values.get(key) is not None), default)
        if found is None:
            raise ConvertError(f"{self.path}: '{keys[0]}' is missing")
        if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
            raise ConvertError(
                f"{self.path}: '{keys[0]}' must be a whole number from {least} to {most}, found {shown(found)}"
            )
        return found

    def head_dim(self, n_embd: int, n_heads: int) -> int:
        if self.values.get("head_dim") is None and n_embd % n_heads:
            raise ConvertError(
                f"{self.path}: width {n_embd} is no multiple of {n_heads} heads and 'head_dim' is missing"
            )
        head_dim = self.size("head_dim", default=n_embd // n_heads)
        if head_dim % 8 or head_dim > 1024:
            raise ConvertError(f"{self.path}: head dimension {head_dim}: the runtime takes multiples of 8 up to 1024")
        return head_dim

    def kv_heads(self, key: str, n_heads: int) -> int:
        n = self.size(key, default=n_heads)
        if n_heads % n:
            raise ConvertError(f"{self.path}: {n_heads} heads are no multiple of '{key}' = {n}")
        return n

    def epsilon(self, key: str, default: float) -> float:
        value = self.values.get(key)
        if value is not None and not 1e-30 < value < 1:
            raise ConvertError(f"{self.path}: '{key}' must lie between 0 and 1, found {shown(value)}")
        return default if value is None else float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.values.get(key)
        return default if value is None else bool(value)

    def factor(self, key: str, default: float) -> float:
        value = default if self.values.get(key) is None else self.values[key]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1e-6 < value < 1e6:
            raise ConvertError(f"{self.path}: '{key}' must be a number from 1e-6 to 1e6, found {shown(value)}")
        return float(value)

    def refuse(self, known: Container[str] = ()) -> None:
        """Keys of REFUSED that are set, but for those that the family knows."""
        for key, what in REFUSED.items():
            if self.values.get(key) and key not in known:
                raise ConvertError(f"{self.path}: '{key}' is set: {what} are not supported")


# Of the number of layers: tokens that a query sees, 0 for all; and what each layer is in the words of layer_types, None
# for all alike.
Window = Callable[[Reader, int], tuple[int, list[str] | None]]


def no_window(read: Reader, n_layers: int) -> tuple[int, list[str] | None]:
    """None, whatever the file says."""
    return 0, None


def read_hf_config(config: dict[str, Any], path: Path, window_of: Window, known: Container[str] = ()) -> Shape:
    """The keys that Llama's descendants share. ConvertError names an activation or a key that is not supported; known:
    those of REFUSED that are."""
    check_form(config, CONFIG, path)
    read = Reader(config, path)
    read.refuse(known)
    activation = config.get("hidden_act") or "silu"
    if activation not in ("silu", "swish"):
        raise ConvertError(f"{path}: hidden_act {activation!r} is not supported, expected silu")
    n_heads, n_embd, n_layers = (
        read.size("num_attention_heads"),
        read.size("hidden_size"),
        read.size("num_hidden_layers", most=MOST_LAYERS),
    )
    context = read.size("max_position_embeddings", default=2048)
    head_dim = read.head_dim(n_embd, n_heads)
    window, types = window_of(read, n_layers)
    return Shape(
        path=path,
        n_layers=n_layers,
        n_embd=n_embd,
        n_ff=read.size("intermediate_size"),
        n_heads=n_heads,
        n_kv_heads=read.kv_heads("num_key_value_heads", n_heads),
        head_dim=head_dim,
        n_vocab=read.size("vocab_size"),
        context_length=context,
        rms_eps=read.epsilon("rms_norm_eps", 1e-6),
        rope=read_rope(config, path, head_dim, context),
        sliding_window=window,
        layer_slides=_layer_types(types, n_layers, window, path),
        tied=read.flag("tie_word_embeddings", False),
    )


def _layer_types(types: list[str] | None, n_layers: int, window: int, path: Path) -> tuple[bool, ...] | None:
    if types is None or not window:
        return None
    known = ("full_attention", "sliding_attention")
    if len(types) != n_layers or any(one not in known for one in types):
        raise ConvertError(f"{path}: 'layer_types' must hold {' or '.join(known)} for each of {n_layers} layers")
    return None if all(one == known[1] for one in types) else tuple(one == known[1] for one in types)
