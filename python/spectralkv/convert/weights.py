"""The tensors of a model: found in a checkpoint by its family's names, and what happens to their rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from spectralkv import _core
from spectralkv.convert.config import Shape
from spectralkv.convert.errors import ConvertError
from spectralkv.convert.family import Family
from spectralkv.convert.safetensors import TensorEntry
from spectralkv.mapped import Bytes
from spectralkv.output import OutputTensor, printable

IMAGES = re.compile(r"(model\.)?(vision_tower|multi_modal_projector)\..*")
COMPUTED = re.compile(r".*rotary_emb\.inv_freq")  # saved by old versions; follows from the configuration

WRAPPERS = {  # what names begin with that were saved from around a model
    "base_model.model.": "the model was saved inside of peft's; merge it (merge_and_unload()), and save the result",
    "_orig_mod.": "the model was saved inside of torch.compile's; save model._orig_mod",
    "module.": "the model was saved inside of DistributedDataParallel; save model.module",
}


@dataclass(frozen=True)
class Part:
    """A tensor to convert. heads: 0, or how many heads' rows go from halves to pairs."""

    name: str  # in GGUF
    entries: tuple[TensorEntry, ...]  # several are matrices of one tensor, one behind the other
    shape: tuple[int, ...]
    heads: int = 0

    @property
    def entry(self) -> TensorEntry:
        return self.entries[0]

    def release(self) -> None:
        for entry in self.entries:
            entry.release()


def find_parts(tensors: dict[str, TensorEntry], shape: Shape, family: Family) -> list[Part]:
    """Every tensor of the model, in GGUF's usual order. ConvertError names a missing, unknown or misshapen one."""
    _check_names(tensors)
    if family.multimodal:
        tensors = _of_the_text(tensors)
    parts = list(_walk(tensors, shape, family))
    used = {entry.name for part in parts for entry in part.entries}
    ignored = {f"{family.tensors.head}.weight"} if shape.tied else set()
    unknown = [
        entry
        for name, entry in tensors.items()
        if entry.name not in used and name not in ignored and not COMPUTED.fullmatch(name)
    ]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise ConvertError(
            f"{unknown[0].file.path}: tensor '{unknown[0].name}'{more} is not part of a {family.arch} model of "
            f"{shape.n_layers} layers"
        )
    return parts


def _check_names(tensors: dict[str, TensorEntry]) -> None:
    """ConvertError with the cause where a wrapper's names are in front of the model's own."""
    for prefix, cause in WRAPPERS.items():
        if name := next((name for name in tensors if name.startswith(prefix)), None):
            raise ConvertError(
                f"{tensors[name].file.path}: tensor '{name}' has a name that begins with {prefix}: {cause}"
            )


def _of_the_text(tensors: dict[str, TensorEntry]) -> dict[str, TensorEntry]:
    """The tensors of a multimodal model's text model, by the names that they have where it stands alone."""
    text: dict[str, TensorEntry] = {}
    for name, entry in tensors.items():
        if IMAGES.fullmatch(name):
            continue
        other = text.setdefault(name.replace("language_model.", "", 1), entry)
        if other is not entry:
            raise ConvertError(f"{entry.file.path}: '{other.name}' and '{name}' would be one tensor of the text model")
    return text


def _walk(tensors: dict[str, TensorEntry], shape: Shape, family: Family) -> Iterator[Part]:
    sizes = {
        "e": shape.n_embd,
        "f": shape.n_ff,
        "v": shape.n_vocab,
        "q": shape.n_heads * shape.head_dim,
        "k": shape.n_kv_heads * shape.head_dim,
        "d": shape.head_dim,
        "x": shape.n_experts,
    }
    heads = {"q": shape.n_heads, "k": shape.n_kv_heads}
    names = family.tensors

    def matrix(gguf: str, source: str, letters: str, turned: int = 0, bias_required: bool = False) -> Iterator[Part]:
        for kind in ("weight", "bias"):
            name = f"{source}.{kind}"
            if kind == "bias" and not bias_required and name not in tensors:
                continue
            expected = tuple(sizes[letter] for letter in (letters if kind == "weight" else letters[0]))
            if name not in tensors:
                hint = "; tie_word_embeddings is not set" if source == names.head else ""
                raise ConvertError(f"{shape.path.parent} has no tensor '{name}'{hint}")
            yield Part(f"{gguf}.{kind}", (_checked(tensors[name], expected, shape),), expected, turned)

    def experts(gguf: str, source: str, letters: str) -> Iterator[Part]:
        each = [next(matrix(gguf, source.format(e), letters)) for e in range(shape.n_experts)]
        yield Part(each[0].name, tuple(part.entry for part in each), (shape.n_experts, *each[0].shape))

    yield from matrix("token_embd", names.embedding, "ve")
    for layer in range(shape.n_layers):
        for part, (source, letters) in names.parts.items():
            if len(letters) == 3:
                yield from experts(f"blk.{layer}.{part}", names.layer.format(layer) + source, letters[1:])
                continue
            yield from matrix(
                f"blk.{layer}.{part}",
                names.layer.format(layer) + source,
                letters,
                heads[letters[0]] if part in family.turned else 0,
                part in family.required_biases,
            )
    yield from matrix("output_norm", names.norm, "e")
    if not shape.tied:
        yield from matrix("output", names.head, "ve")


def _checked(entry: TensorEntry, expected: tuple[int, ...], shape: Shape) -> TensorEntry:
    if entry.shape != expected:
        raise ConvertError(
            f"{entry.file.path}: tensor '{entry.name}' is {list(entry.shape)}, expected {list(expected)} by "
            f"{shape.path.name}"
        )
    return entry


def type_for(part: Part, outtype: str) -> str:
    """The type that a part gets: vectors, and routers, stay f32; rows that q8_0 cannot hold become f16."""
    if len(part.shape) == 1 or part.name.endswith(".ffn_gate_inp.weight"):
        return "f32"
    if part.shape[-1] % _core.weight_types()[outtype][1]:
        return "f16"
    return outtype


def output_tensor(part: Part, outtype: str, n_threads: int) -> OutputTensor:
    """How the part is written; nothing is read yet."""
    kind = type_for(part, outtype)
    entry = part.entry
    as_it_is = kind == entry.type_name and not part.heads and len(part.entries) == 1
    origin = (entry.file.descriptor, entry.begin) if as_it_is else None
    return OutputTensor(part.name, part.shape, kind, partial(_load, part, kind, n_threads), part.release, origin)


def _load(part: Part, kind: str, n_threads: int) -> Bytes:
    matrices = [_load_entry(part, entry, kind, n_threads) for entry in part.entries]
    return matrices[0] if len(matrices) == 1 else np.concatenate(matrices)


def _load_entry(part: Part, entry: TensorEntry, kind: str, n_threads: int) -> Bytes:
    source, cols, label = entry.type_name, part.shape[-1], printable(f"{entry.name}' of '{entry.file.path}")
    data = entry.data()
    if kind == source:
        _core.check_finite(data, source, cols, label, n_threads)
    if part.heads:
        data = pair_rows(data, part.shape[0], part.heads)
    return data if kind == source else _core.requantize(data, source, kind, cols, label, n_threads)


def pair_rows(data: Bytes, n_rows: int, n_heads: int) -> Bytes:
    """Rows of each head from (first half, second half) to pairs, so that RoPE turns rows 2i and 2i + 1 together."""
    rows = data.reshape(n_heads, 2, n_rows // n_heads // 2, -1)
    return np.ascontiguousarray(rows.swapaxes(1, 2)).reshape(-1)
