"""What shapes a model, read from Hugging Face's config.json or Mistral's params.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectralkv.convert.errors import ConvertError
from spectralkv.convert.forms import check_form, shown
from spectralkv.convert.rope import Rope, read_rope

ARCHITECTURES = {  # Hugging Face's name: GGUF's
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "MinistralForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
}
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
    "architectures": [str],
    "model_type": str,
    "hidden_act": str,
    "rms_norm_eps": float,
    "layer_types": [str],
    "tie_word_embeddings": bool,
    "use_sliding_window": bool,
    "rope_parameters": {},
    "rope_scaling": {},
    "rope_theta": float,
    "partial_rotary_factor": float,
}
PARAMS = {
    "norm_eps": float,
    "rope_theta": float,
    "yarn": {"apply_scale": bool},
    "sliding_window": (int, [object]),
    "tied_embeddings": bool,
}


@dataclass(frozen=True)
class Shape:
    """The model's sizes and constants. layer_slides: per layer whether the sliding window holds; None: in all."""

    arch: str  # in GGUF
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


class _Reader:
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

    def flag(self, key: str, default: bool) -> bool:
        value = self.values.get(key)
        return default if value is None else bool(value)

    def refuse(self) -> None:
        for key, what in REFUSED.items():
            if self.values.get(key):
                raise ConvertError(f"{self.path}: '{key}' is set: {what} are not supported")


def read_hf_config(config: dict[str, Any], path: Path) -> Shape:
    """Of config.json. ConvertError names an architecture, an activation or a key that is not supported."""
    check_form(config, CONFIG, path)
    names = config.get("architectures") or [f"model_type {config.get('model_type')!r}"]
    if names[0] not in ARCHITECTURES:
        raise ConvertError(f"{path}: architecture {names[0]} is not supported; supported: {', '.join(ARCHITECTURES)}")
    read = _Reader(config, path)
    read.refuse()
    activation = config.get("hidden_act") or "silu"
    if activation not in ("silu", "swish"):
        raise ConvertError(f"{path}: hidden_act {activation!r} is not supported, expected silu")
    n_heads, n_embd, n_layers = (
        read.size("num_attention_heads"),
        read.size("hidden_size"),
        read.size("num_hidden_layers", most=MOST_LAYERS),
    )
    context = read.size("max_position_embeddings", default=2048)
    head_dim = _head_dim(read, n_embd, n_heads)
    window = read.size("sliding_window") if _has_window(config, names[0]) else 0
    types = config.get("layer_types")
    if window and types is None and "use_sliding_window" in config:  # Qwen2: the first layers see everything
        full = read.size("max_window_layers", default=28, least=0)
        types = ["full_attention" if layer < full else "sliding_attention" for layer in range(n_layers)]
    return Shape(
        arch=ARCHITECTURES[names[0]],
        path=path,
        n_layers=n_layers,
        n_embd=n_embd,
        n_ff=read.size("intermediate_size"),
        n_heads=n_heads,
        n_kv_heads=_kv_heads(read, "num_key_value_heads", n_heads),
        head_dim=head_dim,
        n_vocab=read.size("vocab_size"),
        context_length=context,
        rms_eps=_epsilon(read, "rms_norm_eps", 1e-6),
        rope=read_rope(config, path, head_dim, context),
        sliding_window=window,
        layer_slides=_layer_types(types, n_layers, window, path),
        tied=read.flag("tie_word_embeddings", False),
    )


def read_mistral_params(params: dict[str, Any], path: Path) -> Shape:
    """Of Mistral's own params.json."""
    check_form(params, PARAMS, path)
    read = _Reader(params, path)
    read.refuse()
    n_heads, n_embd, n_layers = read.size("n_heads"), read.size("dim"), read.size("n_layers", most=MOST_LAYERS)
    notes = []
    if params.get("max_position_embeddings") is None and params.get("max_seq_len") is None:
        notes.append(f"{path.name} names no context length: 32768 is written")
    context = read.size("max_position_embeddings", "max_seq_len", default=32768)
    head_dim = _head_dim(read, n_embd, n_heads)
    rope_config: dict[str, Any] = {"rope_theta": params.get("rope_theta") or 10000.0}
    if yarn := params.get("yarn"):
        rope_config["rope_scaling"] = {
            "rope_type": "yarn",
            "factor": yarn.get("factor"),
            "original_max_position_embeddings": yarn.get("original_max_position_embeddings"),
            "beta_fast": yarn.get("beta"),
            "beta_slow": yarn.get("alpha"),
            "attention_factor": 1.0 if yarn.get("apply_scale") is False else None,
        }
    window, slides = _mistral_window(params.get("sliding_window") or params.get("_sliding_window"), n_layers, path)
    return Shape(
        arch="llama",
        path=path,
        n_layers=n_layers,
        n_embd=n_embd,
        n_ff=read.size("hidden_dim"),
        n_heads=n_heads,
        n_kv_heads=_kv_heads(read, "n_kv_heads", n_heads),
        head_dim=head_dim,
        n_vocab=read.size("vocab_size"),
        context_length=context,
        rms_eps=_epsilon(read, "norm_eps", 1e-5),
        rope=read_rope(rope_config, path, head_dim, context),
        sliding_window=window,
        layer_slides=slides,
        tied=read.flag("tied_embeddings", False),
        notes=tuple(notes),
    )


def _has_window(config: dict[str, Any], architecture: str) -> bool:
    """Llama has none, whatever its file says; Qwen2's holds only where a switch says so."""
    if architecture == "LlamaForCausalLM" or config.get("sliding_window") is None:
        return False
    return architecture != "Qwen2ForCausalLM" or bool(config.get("use_sliding_window"))


def _head_dim(read: _Reader, n_embd: int, n_heads: int) -> int:
    if read.values.get("head_dim") is None and n_embd % n_heads:
        raise ConvertError(f"{read.path}: width {n_embd} is no multiple of {n_heads} heads and 'head_dim' is missing")
    head_dim = read.size("head_dim", default=n_embd // n_heads)
    if head_dim % 8 or head_dim > 1024:
        raise ConvertError(f"{read.path}: head dimension {head_dim}: the runtime takes multiples of 8 up to 1024")
    return head_dim


def _kv_heads(read: _Reader, key: str, n_heads: int) -> int:
    n = read.size(key, default=n_heads)
    if n_heads % n:
        raise ConvertError(f"{read.path}: {n_heads} heads are no multiple of '{key}' = {n}")
    return n


def _epsilon(read: _Reader, key: str, default: float) -> float:
    value = read.values.get(key)
    if value is not None and not 1e-30 < value < 1:
        raise ConvertError(f"{read.path}: '{key}' must lie between 0 and 1, found {shown(value)}")
    return default if value is None else float(value)


def _layer_types(types: list[str] | None, n_layers: int, window: int, path: Path) -> tuple[bool, ...] | None:
    if types is None or not window:
        return None
    known = ("full_attention", "sliding_attention")
    if len(types) != n_layers or any(one not in known for one in types):
        raise ConvertError(f"{path}: 'layer_types' must hold {' or '.join(known)} for each of {n_layers} layers")
    return None if all(one == known[1] for one in types) else tuple(one == known[1] for one in types)


def _mistral_window(given: object, n_layers: int, path: Path) -> tuple[int, tuple[bool, ...] | None]:
    """A number, or a list that is repeated over the layers, null for full attention."""
    if given is None:
        return 0, None
    windows: list[object] = given if isinstance(given, list) else [given]
    sizes = {one for one in windows if type(one) is int and 0 < one <= MOST_SIZE}
    odd = [one for one in windows if one is not None and not (type(one) is int and one in sizes)]
    if not windows or n_layers % len(windows) or odd:
        raise ConvertError(f"{path}: 'sliding_window' {shown(given)} does not fit {n_layers} layers")
    if len(sizes) > 1:
        raise ConvertError(f"{path}: sliding windows of {sorted(sizes)} tokens; one size is supported")
    if not sizes:
        return 0, None
    slides = tuple(one is not None for one in windows) * (n_layers // len(windows))
    return sizes.pop(), None if all(slides) else slides
