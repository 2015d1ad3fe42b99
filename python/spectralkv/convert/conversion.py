"""The conversion: a plan from the checkpoint's small files and tables, then its tensors one by one."""

from __future__ import annotations

import math
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spectralkv.convert.checkpoint import open_checkpoint
from spectralkv.convert.config import Shape
from spectralkv.convert.errors import ConvertError
from spectralkv.convert.families import family_of
from spectralkv.convert.forms import read_json
from spectralkv.convert.model_card import read_metadata
from spectralkv.convert.refusals import check_folder, check_weights
from spectralkv.convert.tokenizer import read_tokenizer
from spectralkv.convert.vocabulary import Vocabulary
from spectralkv.convert.weights import Part, find_parts, output_tensor
from spectralkv.output import OutputOptions, OutputTensor, human_bytes, shard_names, write_gguf
from spectralkv.terminal import for_terminal

if TYPE_CHECKING:
    from gguf import GGUFWriter, Metadata

OUT_TYPES = ("auto", "f32", "f16", "bf16", "q8_0")
FILE_TYPES = {"f32": 0, "f16": 1, "q8_0": 7, "bf16": 32}  # general.file_type


@dataclass(frozen=True)
class ConvertOptions:
    """outtype: f32, f16, bf16, q8_0, or auto, the type of most weights. vocab_only: no tensors. model_name: becomes
    general.name. split_max_size: bytes of tensors in one file, 0: no limit. force: replace what is there. n_threads: 0
    for one a core. quiet: nothing on stderr."""

    outtype: str = "auto"
    vocab_only: bool = False
    model_name: str | None = None
    split_max_size: int = 0
    force: bool = False
    n_threads: int = 0
    quiet: bool = False


@dataclass(frozen=True)
class Plan:
    """What a conversion will write."""

    folder: Path
    outfile: Path
    arch: str
    outtype: str
    shape: Shape
    vocabulary: Vocabulary
    tensors: tuple[OutputTensor, ...]
    metadata: Metadata
    notes: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors)

    @property
    def sources(self) -> tuple[Path, ...]:
        """What must stay: the folder's files, but for GGUF files that lie there."""
        return tuple(path for path in self.folder.iterdir() if path.suffix != ".gguf")

    def text(self, split_max_size: int = 0) -> str:
        """Some lines for a reader."""
        shape, types = self.shape, Counter[str]()
        for tensor in self.tensors:
            types[tensor.type_name] += tensor.nbytes
        files = shard_names(self.outfile, self.tensors, split_max_size)
        more = f" ... {files[-1].name}" if len(files) > 1 else ""
        vocabulary = self.vocabulary
        return "\n".join(
            [
                f"from:      {self.folder}",
                f"to:        {files[0]}{more}",
                f"model:     {self.metadata.name}, {self.arch}, {shape.n_layers} layers, width {shape.n_embd}, "
                f"{shape.n_heads} heads, {shape.n_kv_heads} KV heads, head dim {shape.head_dim}",
                f"tokenizer: {vocabulary.model}, {vocabulary.pre}, {len(vocabulary.tokens)} tokens",
                f"tensors:   {len(self.tensors)}, {human_bytes(self.nbytes)}: "
                + ", ".join(f"{name} {human_bytes(n)}" for name, n in types.most_common()),
            ]
        )


def convert(folder: str | Path, outfile: str | Path | None = None, options: ConvertOptions | None = None) -> list[Path]:
    """Writes the GGUF file of a checkpoint's folder; returns the path, or those of its parts.

    outfile: a file, or a folder for a name after GGUF's convention; None: that name beside the checkpoint's files.
    ConvertError when the checkpoint is not understood or damaged, FileExistsError without options.force, OSError when
    the file cannot be written. What was there before stays until the new file is complete.
    """
    options = options or ConvertOptions()
    plan = plan_conversion(folder, outfile, options)
    if not options.quiet:
        print(for_terminal(plan.text(options.split_max_size)), file=sys.stderr)
        for note in plan.notes:
            print(for_terminal(f"note: {note}"), file=sys.stderr)
    output = OutputOptions(options.force, options.split_max_size, options.quiet, plan.sources)
    try:
        return write_gguf(
            plan.outfile, plan.arch, lambda writer: _fill(writer, plan), plan.tensors, output, "converting"
        )
    except ValueError as error:  # of the core: a weight that is not finite, or does not fit the type
        raise ConvertError(str(error)) from error


def plan_conversion(folder: str | Path, outfile: str | Path | None, options: ConvertOptions) -> Plan:
    """Everything that `convert` would do, checked as far as it goes without reading the weights."""
    _need_gguf()
    source = Path(folder)
    check_folder(source, options.vocab_only)
    if options.outtype not in OUT_TYPES:
        raise ConvertError(f"outtype {options.outtype!r} is not known, there are {', '.join(OUT_TYPES)}")
    consolidated = _is_consolidated(source)
    path = source / ("params.json" if consolidated else "config.json")
    config = read_json(path)
    check_weights(config, source, path)
    family = family_of(config, path, consolidated)
    shape = family.read(config, path)
    vocabulary = read_tokenizer(source, consolidated).padded_to(shape.n_vocab)
    parts = [] if options.vocab_only else find_parts(open_checkpoint(source, consolidated), shape, family)
    outtype = _type_of_most(parts) if options.outtype == "auto" else options.outtype
    tensors = [output_tensor(part, outtype, options.n_threads) for part in parts]
    notes = [*shape.notes, *vocabulary.notes]
    if shape.sliding_window:
        notes.append("llama.cpp attends over the whole context with files of this kind; the window holds in spectralkv")
    odd = [tensor.name for tensor in tensors if len(tensor.shape) > 1 and tensor.type_name != outtype]
    if odd:
        notes.append(f"{len(odd)} tensors stay f16, their rows do not fit {outtype}: {odd[0]} ...")
    tensors += _rope_tensor(shape, options.vocab_only)
    count = sum(math.prod(tensor.shape) for tensor in tensors)
    metadata, more = read_metadata(source, options.model_name, count)
    notes += more
    target = _target(source, outfile, metadata, count, None if options.vocab_only else outtype)
    return Plan(source, target, family.arch, outtype, shape, vocabulary, tuple(tensors), metadata, tuple(notes))


def _need_gguf() -> None:
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise ConvertError(f"the package gguf is missing ({error}): pip install gguf") from error


def _is_consolidated(folder: Path) -> bool:
    """Mistral's own form, where Hugging Face's is not there as well."""
    hugging_face = (folder / "config.json").exists()
    mistral = (folder / "params.json").exists()
    if not hugging_face and not mistral:
        raise ConvertError(f"{folder} has neither config.json (Hugging Face) nor params.json (Mistral)")
    has_shards = any(folder.glob("model*.safetensors*"))
    return mistral and (not hugging_face or (not has_shards and any(folder.glob("consolidated*.safetensors"))))


def _type_of_most(parts: list[Part]) -> str:
    """The type that most bytes of the matrices have."""
    sizes = Counter[str]()
    for part in parts:
        if len(part.shape) > 1:
            for entry in part.entries:
                sizes[entry.type_name] += entry.end - entry.begin
    return sizes.most_common(1)[0][0] if sizes else "f16"


def _rope_tensor(shape: Shape, vocab_only: bool) -> list[OutputTensor]:
    """Llama 3's factors are a tensor, not a key."""
    factors = shape.rope.factors
    if factors is None or vocab_only:
        return []
    return [OutputTensor("rope_freqs.weight", factors.shape, "f32", lambda: factors.view("uint8"))]


def _target(source: Path, outfile: str | Path | None, metadata: Metadata, count: int, outtype: str | None) -> Path:
    from gguf import naming_convention, size_label

    if outfile is not None and not Path(outfile).is_dir():
        return Path(outfile)
    if metadata.size_label is None and count:
        metadata.size_label = size_label(count, 0, 0, 0)
    name = naming_convention(
        metadata.name,
        metadata.basename,
        metadata.finetune,
        metadata.version,
        metadata.size_label,
        outtype,
        "vocab" if outtype is None else None,
    )
    return Path(outfile or source) / f"{name}.gguf"


def _fill(writer: GGUFWriter, plan: Plan) -> None:
    shape, rope = plan.shape, plan.shape.rope
    plan.metadata.set_gguf_meta_model(writer)
    writer.add_type("model")
    if plan.tensors:
        writer.add_file_type(FILE_TYPES[plan.outtype])
    if plan.outtype == "q8_0":
        writer.add_quantization_version(2)
    writer.add_block_count(shape.n_layers)
    writer.add_context_length(shape.context_length)
    writer.add_embedding_length(shape.n_embd)
    writer.add_feed_forward_length(shape.n_ff)
    writer.add_head_count(shape.n_heads)
    writer.add_head_count_kv(shape.n_kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_layer_norm_rms_eps(shape.rms_eps)
    writer.add_vocab_size(shape.n_vocab)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(rope.theta)
    if rope.scaling != "none":
        writer.add_string(f"{plan.arch}.rope.scaling.type", rope.scaling)
        writer.add_rope_scaling_factor(rope.factor)
    if rope.scaling == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope.original_context)
        writer.add_float32(f"{plan.arch}.rope.scaling.yarn_beta_fast", rope.beta_fast)
        writer.add_float32(f"{plan.arch}.rope.scaling.yarn_beta_slow", rope.beta_slow)
        if rope.attn_factor != 1.0:
            writer.add_float32(f"{plan.arch}.rope.scaling.attn_factor", rope.attn_factor)
    if shape.sliding_window:
        writer.add_sliding_window(shape.sliding_window)
        if shape.layer_slides is not None:
            writer.add_array(f"{plan.arch}.attention.sliding_window_pattern", list(shape.layer_slides))
    for key, value in shape.own_keys:
        if isinstance(value, int):
            writer.add_uint32(f"{plan.arch}.{key}", value)
        else:
            writer.add_float32(f"{plan.arch}.{key}", value)
    plan.vocabulary.write(writer)
