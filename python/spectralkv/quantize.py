"""Writes a GGUF file anew with its weights in another type."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectralkv import _core
from spectralkv.mapped import Bytes, MappedFile
from spectralkv.mixtures import FLOATS, QUANTIZATIONS, Model, chosen_type
from spectralkv.output import OutputOptions, OutputTensor, human_bytes, printable, write_gguf

if TYPE_CHECKING:
    from gguf import GGUFWriter

REWRITTEN = ("general.architecture", "general.file_type", "general.quantization_version", "general.alignment")


@dataclass(frozen=True)
class QuantizeOptions:
    """overrides: regular expressions of tensor names, and the type of those that one of them finds; the first wins.

    allow_requantize: also take tensors that are quantised already. n_threads: 0 for all processors. force: replace what
    is there. quiet: nothing on stderr.
    """

    overrides: Mapping[str, str] = field(default_factory=dict)
    allow_requantize: bool = False
    n_threads: int = 0
    split_max_size: int = 0
    force: bool = False
    quiet: bool = False


@dataclass(frozen=True)
class TensorPlan:
    """One tensor: shape with the row length last, bytes and type before and after."""

    name: str
    shape: tuple[int, ...]
    old_type: str
    new_type: str
    old_bytes: int
    output: OutputTensor


@dataclass(frozen=True)
class QuantizePlan:
    """What a quantisation will write."""

    sources: tuple[Path, ...]  # the file, or its parts
    quantization: str
    tensors: tuple[TensorPlan, ...]
    fill: Callable[[GGUFWriter], None]
    architecture: str

    @property
    def old_bytes(self) -> int:
        return sum(tensor.old_bytes for tensor in self.tensors)

    @property
    def new_bytes(self) -> int:
        return sum(tensor.output.nbytes for tensor in self.tensors)

    def summary(self) -> str:
        """One line: sizes before and after, and by type."""
        types = Counter[str]()
        for tensor in self.tensors:
            types[tensor.new_type] += tensor.output.nbytes
        values = sum(tensor.output.nbytes for tensor in self.tensors) * 8
        weights = sum(_count(tensor.shape) for tensor in self.tensors)
        parts = ", ".join(f"{name} {human_bytes(n)}" for name, n in types.most_common())
        return (
            f"{human_bytes(self.old_bytes)} -> {human_bytes(self.new_bytes)}, {values / max(1, weights):.2f} bits a "
            f"weight: {parts}"
        )

    def table(self) -> str:
        """A line for each tensor."""
        width = max((len(tensor.name) for tensor in self.tensors), default=0)
        return "\n".join(
            f"{t.name:{width}}  {'x'.join(map(str, t.shape)):>14}  {t.old_type:>5} -> {t.new_type:5}  "
            f"{human_bytes(t.old_bytes):>10} -> {human_bytes(t.output.nbytes)}"
            for t in self.tensors
        )


def quantize(
    source: str | Path, outfile: str | Path, quantization: str, options: QuantizeOptions | None = None
) -> list[Path]:
    """Writes `source` with its weights as `quantization` ("Q4_K_M"); returns the path, or those of its parts.

    The types by tensor are llama.cpp's mixtures; vectors keep their type. ValueError for an unknown name, a source that
    is quantised already (without allow_requantize), and weights that are not finite; FileExistsError without force.
    """
    options = options or QuantizeOptions()
    plan = plan_quantization(source, quantization, options)
    if not options.quiet:
        print(plan.summary(), file=sys.stderr)
    output = OutputOptions(options.force, options.split_max_size, options.quiet, plan.sources)
    tensors = [tensor.output for tensor in plan.tensors]
    return write_gguf(Path(outfile), plan.architecture, plan.fill, tensors, output, "quantizing")


def plan_quantization(source: str | Path, quantization: str, options: QuantizeOptions) -> QuantizePlan:
    """Everything that `quantize` would do; no weights are read."""
    quantization = quantization.upper()
    if quantization not in QUANTIZATIONS:
        raise ValueError(f"unknown quantization {quantization!r}, there are {', '.join(QUANTIZATIONS)}")
    overrides = [(_pattern(text), _known_type(kind)) for text, kind in options.overrides.items()]
    info = _core.gguf_info(str(source))
    model = _model_of(info, Path(source))
    files = [MappedFile(Path(path)) for path in info["files"]]
    tensors = []
    for item in info["tensors"]:
        name, shape, current = item["name"], tuple(reversed(item["shape"])), item["type"]
        override = next((kind for pattern, kind in overrides if pattern.search(name)), None)
        kind = override or chosen_type(quantization, name, shape, current, model)
        if kind != current and current not in FLOATS and not options.allow_requantize:
            raise ValueError(
                f"{source}: tensor '{name}' is quantised already ({current}); quantising it again loses more than from "
                "the original: --allow-requantize does it nevertheless"
            )
        begin, end = item["offset"], item["offset"] + item["bytes"]
        file = files[item["file"]]
        label = printable(f"{name}' of '{info['files'][item['file']]}")
        load = partial(_load, file.view[begin:end], current, kind, shape[-1], label, options.n_threads)
        origin = (file.file.fileno(), begin) if kind == current else None
        output = OutputTensor(_plain(name), shape, kind, load, partial(file.release, begin, end), origin)
        tensors.append(TensorPlan(name, shape, current, kind, item["bytes"], output))
    fill = partial(_fill, info, quantization)
    return QuantizePlan(
        tuple(file.path for file in files),
        quantization,
        tuple(tensors),
        fill,
        _plain(info["metadata"]["general.architecture"]),
    )


def _count(shape: tuple[int, ...]) -> int:
    n = 1
    for size in shape:
        n *= size
    return n


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from error


def _known_type(kind: str) -> str:
    if kind.lower() not in _core.weight_types():
        raise ValueError(f"unknown tensor type {kind!r}, there are {', '.join(_core.weight_types())}")
    return kind.lower()


def _model_of(info: dict[str, Any], source: Path) -> Model:
    metadata = info["metadata"]
    names = {tensor["name"] for tensor in info["tensors"]}
    if "token_embd.weight" not in names:
        raise ValueError(f"{source} has no tensor 'token_embd.weight': a model with weights is expected")
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str):
        raise ValueError(f"{source}: 'general.architecture' is {architecture!r}, expected a name")

    def size(key: str, default: int) -> int:
        value = metadata.get(f"{architecture}.{key}", default)
        one = value[0] if isinstance(value, list) and value else value
        if isinstance(one, bool) or not isinstance(one, int) or one < 1:
            raise ValueError(f"{source}: '{architecture}.{key}' is {one!r}, expected a whole number of at least 1")
        return one

    heads = size("attention.head_count", 1)
    return Model(size("block_count", 1), heads, size("attention.head_count_kv", heads), "output.weight" not in names)


def _load(data: Bytes, current: str, kind: str, cols: int, label: str, n_threads: int) -> Bytes:
    return data if kind == current else _core.requantize(data, current, kind, cols, label, n_threads)


def _fill(info: dict[str, Any], quantization: str, writer: GGUFWriter) -> None:
    """The source's metadata as it is, but for what says how the tensors are stored."""
    from gguf import GGUFValueType

    names = {"u8": "UINT8", "i8": "INT8", "u16": "UINT16", "i16": "INT16", "u32": "UINT32", "i32": "INT32"}
    names |= {"f32": "FLOAT32", "bool": "BOOL", "str": "STRING", "u64": "UINT64", "i64": "INT64", "f64": "FLOAT64"}
    for key, value in info["metadata"].items():
        if key in REWRITTEN or key.startswith("split."):
            continue
        kind = info["metadata_types"][key]
        if kind.startswith("arr["):
            element = GGUFValueType[names[kind[4:-1]]]
            if value:  # the writer has no empty arrays, and they say nothing
                writer.add_key_value(_plain(key), [_plain(one) for one in value], GGUFValueType.ARRAY, element)
        else:
            writer.add_key_value(_plain(key), _plain(value), GGUFValueType[names[kind]])
    base, file_type = QUANTIZATIONS[quantization]
    writer.add_file_type(file_type)
    if base not in FLOATS:
        writer.add_quantization_version(2)


def _plain(value: Any) -> Any:
    """Text as the bytes that the file holds, also where they are no UTF-8."""
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
