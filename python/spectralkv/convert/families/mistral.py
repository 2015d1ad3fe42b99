"""Mistral: Llama with a sliding window; and Mistral's own files, with other names and RoPE's pairs side by side."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from spectralkv.convert.config import MOST_LAYERS, MOST_SIZE, Reader, Shape, read_hf_config
from spectralkv.convert.errors import ConvertError
from spectralkv.convert.families import llama
from spectralkv.convert.family import HF_TENSORS, TensorNames
from spectralkv.convert.forms import check_form, shown
from spectralkv.convert.rope import read_rope

PARAMS = {
    "norm_eps": float,
    "rope_theta": float,
    "yarn": {"apply_scale": bool},
    "sliding_window": (int, [object]),
    "tied_embeddings": bool,
}
TENSORS = TensorNames(
    layer="layers.{}.",
    parts={
        name: (own, HF_TENSORS.parts[name][1])
        for name, own in {
            "attn_norm": "attention_norm",
            "attn_q": "attention.wq",
            "attn_k": "attention.wk",
            "attn_v": "attention.wv",
            "attn_output": "attention.wo",
            "ffn_norm": "ffn_norm",
            "ffn_gate": "feed_forward.w1",
            "ffn_up": "feed_forward.w3",
            "ffn_down": "feed_forward.w2",
        }.items()
    },
    embedding="tok_embeddings",
    norm="norm",
    head="output",
)


def window(read: Reader, n_layers: int) -> tuple[int, list[str] | None]:
    if read.values.get("sliding_window") is None:
        return 0, None
    return read.size("sliding_window"), read.values.get("layer_types")


def _read_config(config: dict[str, Any], path: Path) -> Shape:
    return read_hf_config(config, path, window)


def read_params(params: dict[str, Any], path: Path, known: Container[str] = ()) -> Shape:
    """Of params.json; known: keys that are usually refused."""
    check_form(params, PARAMS, path)
    read = Reader(params, path)
    read.refuse(known)
    n_heads, n_embd, n_layers = read.size("n_heads"), read.size("dim"), read.size("n_layers", most=MOST_LAYERS)
    notes = []
    if params.get("max_position_embeddings") is None and params.get("max_seq_len") is None:
        notes.append(f"{path.name} names no context length: 32768 is written")
    context = read.size("max_position_embeddings", "max_seq_len", default=32768)
    head_dim = read.head_dim(n_embd, n_heads)
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
    window, slides = _windows(params.get("sliding_window") or params.get("_sliding_window"), n_layers, path)
    return Shape(
        path=path,
        n_layers=n_layers,
        n_embd=n_embd,
        n_ff=read.size("hidden_dim"),
        n_heads=n_heads,
        n_kv_heads=read.kv_heads("n_kv_heads", n_heads),
        head_dim=head_dim,
        n_vocab=read.size("vocab_size"),
        context_length=context,
        rms_eps=read.epsilon("norm_eps", 1e-5),
        rope=read_rope(rope_config, path, head_dim, context),
        sliding_window=window,
        layer_slides=slides,
        tied=read.flag("tied_embeddings", False),
        notes=tuple(notes),
    )


def _windows(given: object, n_layers: int, path: Path) -> tuple[int, tuple[bool, ...] | None]:
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


def read_text_model(read: Callable[[dict[str, Any], Path], Shape], config: dict[str, Any], path: Path) -> Shape:
    """What `read` makes of a multimodal model's text_config."""
    check_form(config, {"text_config": {}, "tie_word_embeddings": bool}, path)
    shape = read({"tie_word_embeddings": config.get("tie_word_embeddings")} | config["text_config"], path)
    return replace(shape, notes=(*shape.notes, "the text model is converted, what reads images is left out"))


FAMILY = replace(llama.FAMILY, checkpoints=("MistralForCausalLM", "MinistralForCausalLM"), read=_read_config)
WITH_IMAGES = replace(
    FAMILY,
    checkpoints=("Mistral3ForConditionalGeneration of mistral",),
    read=partial(read_text_model, _read_config),
    multimodal=True,
)
OWN_FILES = replace(FAMILY, checkpoints=(), read=read_params, tensors=TENSORS, turned=())
