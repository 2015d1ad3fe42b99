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
from spectralkv.importance import Importance, read_importance
from spectralkv.mapped import Bytes, MappedFile
from spectralkv.mixtures import FLOATS, QUANTIZATIONS, READ_ONLY, Model, TypeRules, chosen_type, quantization_named
from spectralkv.output import OutputOptions, OutputTensor, human_bytes, printable, write_gguf
from spectralkv.terminal import for_terminal

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFWriter
    from numpy.typing import NDArray

REWRITTEN = ("general.architecture", "general.file_type", "general.quantization_version", "general.alignment")
IMPORTANCE = "quantize.imatrix."  # llama.cpp's keys


@dataclass(frozen=True)
class QuantizeOptions:
    """overrides: regular expressions of tensor names, and the type of those that one of them finds; the first wins.

    pure: every matrix in the main type of the quantisation. output_type, embedding_type: of the head and of the token
    embedding. leave_output: output.weight keeps its type. importance: an importance matrix of llama-imatrix (.gguf or
    .dat): errors count as much as it says. allow_requantize: also take tensors that are quantised already. n_threads:
    0 for one a core. force: replace what is there. quiet: nothing on stderr.
    """

    overrides: Mapping[str, str] = field(default_factory=dict)
    pure: bool = False
    output_type: str | None = None
    embedding_type: str | None = None
    leave_output: bool = False
    importance: str | Path | None = None
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
    weighted: int | None  # matrices that the importance matrix has numbers for; None without one

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
        asked = "" if self.weighted is None else f"; by importance: {self.weighted} matrices"
        return (
            f"{human_bytes(self.old_bytes)} -> {human_bytes(self.new_bytes)}, {values / max(1, weights):.2f} bits a "
            f"weight: {parts}{asked}"
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
        print(for_terminal(plan.summary()), file=sys.stderr)
    output = OutputOptions(options.force, options.split_max_size, options.quiet, plan.sources)
    tensors = [tensor.output for tensor in plan.tensors]
    return write_gguf(Path(outfile), plan.architecture, plan.fill, tensors, output, "quantizing")


def plan_quantization(source: str | Path, quantization: str, options: QuantizeOptions) -> QuantizePlan:
    """Everything that `quantize` would do; no weights are read."""
    quantization = quantization_named(quantization)
    overrides = [(_pattern(text), _known_type(kind)) for text, kind in options.overrides.items()]
    importance = read_importance(options.importance) if options.importance is not None else None
    rules = TypeRules(
        options.pure,
        _known_type(options.output_type) if options.output_type is not None else None,
        _known_type(options.embedding_type) if options.embedding_type is not None else None,
        options.leave_output,
        importance is not None,
    )
    info = _core.gguf_info(str(source))
    model = _model_of(info, Path(source))
    files = [MappedFile(Path(path)) for path in info["files"]]
    tensors, weighted = [], 0
    for item in info["tensors"]:
        name, shape, current = item["name"], tuple(reversed(item["shape"])), item["type"]
        override = next((kind for pattern, kind in overrides if pattern.search(name)), None)
        kind = override or chosen_type(quantization, name, shape, current, model, rules)
        if kind != current and current not in FLOATS and not options.allow_requantize:
            raise ValueError(
                f"{source}: tensor '{name}' is quantised already ({current}); quantising it again loses more than from "
                "the original: --allow-requantize does it nevertheless"
            )
        begin, end = item["offset"], item["offset"] + item["bytes"]
        file = files[item["file"]]
        label = printable(f"{name}' of '{info['files'][item['file']]}")
        asked = (
            importance.of(name, shape) if importance is not None and kind != current and kind not in FLOATS else None
        )
        weighted += asked is not None
        load = partial(_load, file.view[begin:end], current, kind, shape[-1], label, options.n_threads, asked)
        origin = (file.file.fileno(), begin) if kind == current else None
        output = OutputTensor(_plain(name), shape, kind, load, partial(file.release, begin, end), origin)
        tensors.append(TensorPlan(name, shape, current, kind, item["bytes"], output))
    fill = partial(_fill, info, quantization, importance)
    return QuantizePlan(
        tuple(file.path for file in files),
        quantization,
        tuple(tensors),
        fill,
        _plain(info["metadata"]["general.architecture"]),
        weighted if importance is not None else None,
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
    if kind.lower() in READ_ONLY:
        raise ValueError(f"tensor type {kind!r} is one that spectralkv reads and does not write")
    return kind.lower()


def _model_of(info: dict[str, Any], source: Path) -> Model:
    metadata = info["metadata"]
    names = {tensor["name"] for tensor in info["tensors"]}
    if "token_embd.weight" not in names:
        raise ValueError(f"{source} has no tensor 'token_embd.weight': a model with weights is expected")
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str):
        raise ValueError(f"{source}: 'general.architecture' is {architecture!r}, expected a name")

    def size(key: str, default: int, least: int = 1) -> int:
        value = metadata.get(f"{architecture}.{key}", default)
        one = value[0] if isinstance(value, list) and value else value
        if isinstance(one, bool) or not isinstance(one, int) or one < least:
            raise ValueError(
                f"{source}: '{architecture}.{key}' is {one!r}, expected a whole number of at least {least}"
            )
        return one

    heads = size("attention.head_count", 1)
    return Model(
        size("block_count", 1),
        heads,
        size("attention.head_count_kv", heads),
        "output.weight" not in names,
        size("expert_count", 0, least=0),
    )


def _load(
    data: Bytes,
    current: str,
    kind: str,
    cols: int,
    label: str,
    n_threads: int,
    importance: NDArray[np.float32] | None,
) -> Bytes:
    return data if kind == current else _core.requantize(data, current, kind, cols, label, n_threads, importance)


def _fill(info: dict[str, Any], quantization: str, importance: Importance | None, writer: GGUFWriter) -> None:
    """The source's metadata as it is, but for what says how the tensors are stored."""
    from gguf import GGUFValueType

    names = {"u8": "UINT8", "i8": "INT8", "u16": "UINT16", "i16": "INT16", "u32": "UINT32", "i32": "INT32"}
    names |= {"f32": "FLOAT32", "bool": "BOOL", "str": "STRING", "u64": "UINT64", "i64": "INT64", "f64": "FLOAT64"}
    for key, value in info["metadata"].items():
        if key in REWRITTEN or key.startswith("split.") or (importance is not None and key.startswith(IMPORTANCE)):
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
    if importance is not None:
        writer.add_string(IMPORTANCE + "file", importance.path.name)
        writer.add_uint32(IMPORTANCE + "entries_count", len(importance.values))


def _plain(value: Any) -> Any:
    """Text as the bytes that the file holds, also where they are no UTF-8."""
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
