"""The tensors of a model: names in checkpoints and in GGUF, shapes, and what happens to their rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from spectralkv import _core
from spectralkv.convert.config import Shape
from spectralkv.convert.errors import ConvertError
from spectralkv.convert.safetensors import TensorEntry
from spectralkv.mapped import Bytes
from spectralkv.output import OutputTensor, printable

# GGUF name of a layer's part: (Hugging Face's, Mistral's, shape in letters, heads whose rows are permuted).
LAYER_PARTS = {
    "attn_norm": ("input_layernorm", "attention_norm", "e", ""),
    "attn_q": ("self_attn.q_proj", "attention.wq", "qe", "q"),
    "attn_k": ("self_attn.k_proj", "attention.wk", "ke", "k"),
    "attn_v": ("self_attn.v_proj", "attention.wv", "ke", ""),
    "attn_output": ("self_attn.o_proj", "attention.wo", "eq", ""),
    "ffn_norm": ("post_attention_layernorm", "ffn_norm", "e", ""),
    "ffn_gate": ("mlp.gate_proj", "feed_forward.w1", "fe", ""),
    "ffn_up": ("mlp.up_proj", "feed_forward.w3", "fe", ""),
    "ffn_down": ("mlp.down_proj", "feed_forward.w2", "ef", ""),
}
ENDS = {
    "token_embd": ("model.embed_tokens", "tok_embeddings", "ve", ""),
    "output_norm": ("model.norm", "norm", "e", ""),
    "output": ("lm_head", "output", "ve", ""),
}
REQUIRED_BIASES = {"llama": (), "qwen2": ("attn_q", "attn_k", "attn_v")}
COMPUTED = re.compile(r".*rotary_emb\.inv_freq")  # saved by old versions; follows from the configuration


@dataclass(frozen=True)
class Part:
    """A tensor to convert. heads: 0, or how many heads' rows go from halves to pairs."""

    name: str  # in GGUF
    entry: TensorEntry
    shape: tuple[int, ...]
    heads: int = 0


def find_parts(tensors: dict[str, TensorEntry], shape: Shape, consolidated: bool) -> list[Part]:
    """Every tensor of the model, in GGUF's usual order. ConvertError names a missing, unknown or misshapen one."""
    parts = list(_walk(tensors, shape, consolidated))
    used = {part.entry.name for part in parts}
    ignored = {ENDS["output"][consolidated] + ".weight"} if shape.tied else set()
    unknown = [name for name in tensors if name not in used | ignored and not COMPUTED.fullmatch(name)]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise ConvertError(
            f"{tensors[unknown[0]].file.path}: tensor '{unknown[0]}'{more} is not part of a {shape.arch} model of "
            f"{shape.n_layers} layers"
        )
    return parts


def _walk(tensors: dict[str, TensorEntry], shape: Shape, consolidated: bool) -> Iterator[Part]:
    sizes = {
        "e": shape.n_embd,
        "f": shape.n_ff,
        "v": shape.n_vocab,
        "q": shape.n_heads * shape.head_dim,
        "k": shape.n_kv_heads * shape.head_dim,
    }
    # Hugging Face keeps a head's halves apart for RoPE, and so does GGUF for qwen2. For llama GGUF has its pairs side
    # by side, as Mistral's own files have.
    heads = {"q": shape.n_heads, "k": shape.n_kv_heads} if shape.arch == "llama" and not consolidated else {}

    def part(gguf: str, source: str, letters: str, permuted: str) -> Iterator[Part]:
        for kind in ("weight", "bias"):
            name = f"{source}.{kind}"
            required = kind == "weight" or gguf.rpartition(".")[2] in REQUIRED_BIASES[shape.arch]
            if not required and name not in tensors:
                continue
            expected = tuple(sizes[letter] for letter in (letters if kind == "weight" else letters[0]))
            yield Part(f"{gguf}.{kind}", _take(tensors, name, expected, shape), expected, heads.get(permuted, 0))

    yield from part("token_embd", *_source(ENDS["token_embd"], consolidated))
    for layer in range(shape.n_layers):
        prefix = f"layers.{layer}." if consolidated else f"model.layers.{layer}."
        for gguf, row in LAYER_PARTS.items():
            source, letters, permuted = _source(row, consolidated)
            yield from part(f"blk.{layer}.{gguf}", prefix + source, letters, permuted)
    yield from part("output_norm", *_source(ENDS["output_norm"], consolidated))
    if not shape.tied:
        yield from part("output", *_source(ENDS["output"], consolidated))


def _source(row: tuple[str, str, str, str], consolidated: bool) -> tuple[str, str, str]:
    return row[int(consolidated)], row[2], row[3]


def _take(tensors: dict[str, TensorEntry], name: str, expected: tuple[int, ...], shape: Shape) -> TensorEntry:
    if name not in tensors:
        hint = "; tie_word_embeddings is not set" if name in ("lm_head.weight", "output.weight") else ""
        raise ConvertError(f"{shape.path.parent} has no tensor '{name}'{hint}")
    entry = tensors[name]
    if entry.shape != expected:
        raise ConvertError(
            f"{entry.file.path}: tensor '{name}' is {list(entry.shape)}, expected {list(expected)} by {shape.path.name}"
        )
    return entry


def type_for(part: Part, outtype: str) -> str:
    """The type that a part gets: vectors stay f32; rows that q8_0 cannot hold become f16."""
    if len(part.shape) == 1:
        return "f32"
    if part.shape[-1] % _core.weight_types()[outtype][1]:
        return "f16"
    return outtype


def output_tensor(part: Part, outtype: str, n_threads: int) -> OutputTensor:
    """How the part is written; nothing is read yet."""
    kind = type_for(part, outtype)
    entry = part.entry
    origin = (entry.file.descriptor, entry.begin) if kind == entry.type_name and not part.heads else None
    return OutputTensor(part.name, part.shape, kind, partial(_load, part, kind, n_threads), entry.release, origin)


def _load(part: Part, kind: str, n_threads: int) -> Bytes:
    source, cols, label = (
        part.entry.type_name,
        part.shape[-1],
        printable(f"{part.entry.name}' of '{part.entry.file.path}"),
    )
    data = part.entry.data()
    if kind == source:
        _core.check_finite(data, source, cols, label, n_threads)
    if part.heads:
        data = pair_rows(data, part.shape[0], part.heads)
    return data if kind == source else _core.requantize(data, source, kind, cols, label, n_threads)


def pair_rows(data: Bytes, n_rows: int, n_heads: int) -> Bytes:
    """Rows of each head from (first half, second half) to pairs, so that RoPE turns rows 2i and 2i + 1 together."""
    rows = data.reshape(n_heads, 2, n_rows // n_heads // 2, -1)
    return np.ascontiguousarray(rows.swapaxes(1, 2)).reshape(-1)
