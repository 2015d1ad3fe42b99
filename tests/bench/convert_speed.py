"""Converts a synthetic checkpoint of about 1.1 billion bf16 weights: peak memory, and speed beside a plain copy.

    python tests/bench/convert_speed.py FOLDER

FOLDER gets the checkpoint (2.2 GB, kept) and, for the moment, the results. Each figure is the best of three, with the
checkpoint in the system's cache; the copy is shutil.copyfile's, written to the disk as the conversion is.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.hf_checkpoint import HfModel, byte_level_tokenizer, hf_config, write_json

ONE_B = HfModel(
    n_layers=20, n_embd=2048, n_heads=32, n_kv_heads=8, head_dim=64, n_ff=6144, n_vocab=65536, dtype="BF16", tied=True
)
CODE = "import sys; from spectralkv.convert.command import main; sys.exit(main(sys.argv[1:]))"


def write_checkpoint(folder: Path, model: HfModel) -> None:
    """Random bf16 weights in shards of two layers, written one by one."""
    folder.mkdir(parents=True)
    e, f, d = model.n_embd, model.n_ff, model.d
    q, kv = model.n_heads * d, model.n_kv_heads * d
    layer = {"self_attn.q_proj": (q, e), "self_attn.k_proj": (kv, e), "self_attn.v_proj": (kv, e)}
    layer |= {"self_attn.o_proj": (e, q), "mlp.gate_proj": (f, e), "mlp.up_proj": (f, e), "mlp.down_proj": (e, f)}
    layer |= {"input_layernorm": (e,), "post_attention_layernorm": (e,)}
    shapes: list[dict[str, tuple[int, ...]]] = [{"model.embed_tokens.weight": (model.n_vocab, e)}]
    for i in range(model.n_layers):
        if i % 2 == 0:
            shapes.append({})
        shapes[-1] |= {f"model.layers.{i}.{name}.weight": shape for name, shape in layer.items()}
    shapes[-1]["model.norm.weight"] = (e,)
    noise = (np.random.default_rng(0).standard_normal(1 << 22) * 0.02).astype(np.float32).view(np.uint32) >> 16
    places = {}
    for part, tensors in enumerate(shapes, 1):
        name = f"model-{part:05d}-of-{len(shapes):05d}.safetensors"
        table, at = {}, 0
        for key, shape in tensors.items():
            size = int(np.prod(shape)) * 2
            table[key] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
            at += size
        header = str(table).replace("'", '"').replace("(", "[").replace(",)", "]").replace(")", "]").encode()
        with open(folder / name, "wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            for shape in tensors.values():
                file.write(np.resize(noise.astype(np.uint16), int(np.prod(shape))).tobytes())
        places |= dict.fromkeys(tensors, name)
    write_json(folder / "model.safetensors.index.json", {"weight_map": places})
    write_json(folder / "config.json", hf_config(model))
    write_json(folder / "tokenizer.json", byte_level_tokenizer(model.n_vocab))


def copy_seconds(folder: Path, out: Path) -> float:
    start = time.perf_counter()
    for path in folder.glob("*.safetensors"):
        shutil.copyfile(path, out / path.name)
        with open(out / path.name, "rb") as file:
            os.fsync(file.fileno())
    return time.perf_counter() - start


def convert_seconds(folder: Path, out: Path, outtype: str) -> float:
    start = time.perf_counter()
    command = [sys.executable, "-c", CODE, str(folder), "--outfile", str(out / "m.gguf"), "--outtype", outtype]
    subprocess.run([*command, "--force"], check=True, capture_output=True)
    return time.perf_counter() - start


def main(place: Path) -> None:
    folder, out = place / "one-b", place / "out"
    if not folder.exists():
        write_checkpoint(folder, ONE_B)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    times: dict[str, list[float]] = {}
    for _ in range(3):
        for name in ("copy", "bf16", "f16", "q8_0"):
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            seconds = copy_seconds(folder, out) if name == "copy" else convert_seconds(folder, out, name)
            times.setdefault(name, []).append(seconds)
    shutil.rmtree(out)
    for name, values in times.items():
        best = min(values)
        print(
            f"{name:5} {best:6.2f} s  {size / best / 1e9:.2f} GB/s read, "
            f"{min(times['copy']) / best:.0%} of a copy's speed"
        )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"peak memory of the conversions: {peak:.0f} MiB, {size / 2**20:.0f} MiB of weights")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FOLDER")
    main(Path(sys.argv[1]))
