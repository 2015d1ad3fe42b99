"""Writes GGUF files with random weights in the shape of a known model, to measure speed and memory.

python -m spectralkv.testing.synthetic --shape llama-3.1-8b --type Q4_K --layers 8 out.gguf
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spectralkv import _core
from spectralkv.mapped import Bytes
from spectralkv.mixtures import fitting
from spectralkv.output import OutputError, OutputOptions, OutputTensor, human_bytes, write_gguf
from spectralkv.terminal import complain

if TYPE_CHECKING:
    from gguf import GGUFWriter

DISTINCT_ROWS = 257  # then they repeat; a prime, so that no two heads are equal
NORMAL = 1


@dataclass(frozen=True)
class Shape:
    """The sizes of a llama model."""

    n_layers: int
    n_embd: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    n_ff: int
    n_vocab: int
    context_length: int
    rope_theta: float
    tied: bool = False

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Shapes by GGUF's names, row length last."""
        q, kv, e = self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim, self.n_embd
        out: dict[str, tuple[int, ...]] = {"token_embd.weight": (self.n_vocab, e), "output_norm.weight": (e,)}
        if not self.tied:
            out["output.weight"] = (self.n_vocab, e)
        layer: dict[str, tuple[int, ...]] = {"attn_norm": (e,), "attn_q": (q, e), "attn_k": (kv, e), "attn_v": (kv, e)}
        layer |= {"attn_output": (e, q), "ffn_norm": (e,), "ffn_gate": (self.n_ff, e), "ffn_up": (self.n_ff, e)}
        layer |= {"ffn_down": (e, self.n_ff)}
        for i in range(self.n_layers):
            out |= {f"blk.{i}.{name}.weight": shape for name, shape in layer.items()}
        return out


SHAPES = {
    "llama-3.1-8b": Shape(32, 4096, 32, 8, 128, 14336, 128256, 131072, 500000.0),
    "llama-3.2-1b": Shape(16, 2048, 32, 8, 64, 8192, 128256, 131072, 500000.0, tied=True),
    "mistral-7b": Shape(32, 4096, 32, 8, 128, 14336, 32768, 32768, 1000000.0),
    "smollm2-135m": Shape(30, 576, 9, 3, 64, 1536, 49152, 8192, 100000.0, tied=True),
}


def random_rows(shape: tuple[int, ...], type_name: str, seed: int) -> Bytes:
    """uint8: Gaussian weights of variance 1 / row length in this type, or ones for a vector, which stays f32."""
    if len(shape) == 1:
        return np.ones(shape, np.float32).view(np.uint8)
    rows, cols = shape
    values = np.random.default_rng(seed).standard_normal((min(rows, DISTINCT_ROWS), cols), np.float32) / cols**0.5
    some = _core.requantize(values.view(np.uint8).ravel(), "f32", type_name, cols).reshape(len(values), -1)
    return np.tile(some, (-(-rows // len(some)), 1))[:rows].ravel()


def fill(writer: GGUFWriter, shape: Shape, name: str) -> None:
    """The metadata, with a byte-level vocabulary and one merge."""
    writer.add_name(f"synthetic {name}")
    writer.add_block_count(shape.n_layers)
    writer.add_context_length(shape.context_length)
    writer.add_embedding_length(shape.n_embd)
    writer.add_feed_forward_length(shape.n_ff)
    writer.add_head_count(shape.n_heads)
    writer.add_head_count_kv(shape.n_kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_vocab_size(shape.n_vocab)
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    tokens = [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))] + ["ab"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens + [f"<|filler {i}|>" for i in range(shape.n_vocab - len(tokens))])
    writer.add_token_types([NORMAL] * shape.n_vocab)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(shape.n_vocab - 2)
    writer.add_eos_token_id(shape.n_vocab - 1)


def write_synthetic(path: Path, shape: Shape, name: str, type_name: str, options: OutputOptions) -> int:
    """Writes the file; returns the bytes of its tensors. ValueError for a type that no weight may have."""
    if type_name not in _core.weight_types():
        raise ValueError(f"unknown type {type_name!r}; expected one of {', '.join(_core.weight_types())}")
    tensors = []
    for number, (tensor, dims) in enumerate(shape.tensors().items()):
        kind = fitting(type_name, dims[-1]) if len(dims) == 2 else "f32"
        tensors.append(OutputTensor(tensor, dims, kind, lambda d=dims, k=kind, s=number: random_rows(d, k, s)))  # type: ignore[misc]
    write_gguf(path, "llama", lambda writer: fill(writer, shape, name), tensors, options, path.name)
    return sum(tensor.nbytes for tensor in tensors)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m spectralkv.testing.synthetic", description="random weights")
    parser.add_argument("path", type=Path, help="the GGUF file to write")
    parser.add_argument("--shape", choices=SHAPES, default="llama-3.1-8b", help="default: %(default)s")
    parser.add_argument("--type", default="Q4_K", help="type of all matrices (default: %(default)s)")
    parser.add_argument("--layers", type=int, help="fewer (or more) layers than the shape has")
    parser.add_argument("--force", action="store_true", help="replace what is there")
    args = parser.parse_args(argv)
    shape = SHAPES[args.shape]
    if args.layers is not None:
        if args.layers < 1:
            parser.error(f"--layers: expected at least 1, got {args.layers}")
        shape = replace(shape, n_layers=args.layers)
    try:
        written = write_synthetic(args.path, shape, args.shape, args.type.lower(), OutputOptions(force=args.force))
    except (OutputError, FileExistsError, ValueError) as error:
        return complain(error)
    print(f"{args.path}: {shape.n_layers} layers, {human_bytes(written)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
