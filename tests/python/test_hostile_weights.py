"""Models of every weight type whose blocks hold any bytes, or end early: refused by name, or read without harm."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter
from support.tiny_model import TinyModel, tensors, write_metadata

from spectralkv import Llama, _core

MODEL = TinyModel(n_layers=1, n_embd=256, n_ff=256, n_vocab=270)
# Blocks of one byte, or of two: zeros, codes that are all ones, scales that are infinite or no numbers.
PATTERNS = [b"\x00", b"\xff", b"\x7f", b"\x00\x7c"]


def write_model(path: Path, kind: str, fill: bytes | None) -> Path:
    """MODEL with matrices of this type, their bytes random or `fill` again and again."""
    _, block_values, block_bytes = _core.weight_types()[kind]
    generator = np.random.default_rng(0)
    writer = GGUFWriter(path, "llama")
    write_metadata(writer, MODEL)
    for name, values in tensors(MODEL).items():
        if values.ndim < 2:
            writer.add_tensor(name, values)
            continue
        shape = (len(values), values.shape[1] // block_values * block_bytes)
        data = generator.integers(0, 256, shape, dtype=np.uint8) if fill is None else np.empty(shape, np.uint8)
        if fill is not None:
            data[:] = np.resize(np.frombuffer(fill, np.uint8), shape[1])
        writer.add_tensor(name, data, raw_dtype=GGMLQuantizationType[kind.upper()])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def refusal(path: Path) -> str:
    """Loads the file and reads some tokens; what refuses the file, or keys and values that no cache can hold, or ""."""
    try:
        Llama(path, n_ctx=32, n_threads=1, verbose=False).eval([1, 2, 3, 4, 5])
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", _core.weight_types())
def test_any_bytes(kind: str, tmp_path: Path) -> None:
    for fill in (None, *PATTERNS):
        said = refusal(write_model(tmp_path / "spoiled.gguf", kind, fill))
        assert said == "" or (said.startswith("[kv] layer 0") and fill != b"\x00"), (fill, said)


@pytest.mark.parametrize("kind", _core.weight_types())
def test_cut_and_changed_files(kind: str, tmp_path: Path) -> None:
    """Of each cut the error; changed bytes of the table of tensors, where their types and sizes are, as well."""
    whole = write_model(tmp_path / "whole.gguf", kind, b"\x00").read_bytes()
    data = _core.gguf_info(str(tmp_path / "whole.gguf"))["tensors"][0]["offset"]
    path, rng = tmp_path / "spoiled.gguf", random.Random(0)
    _, _, block_bytes = _core.weight_types()[kind]
    for end in (data, data + 1, data + block_bytes, (data + len(whole)) // 2, len(whole) - block_bytes - 32):
        path.write_bytes(whole[:end])
        assert "spoiled.gguf" in refusal(path), end
    table = whole.index(b"token_embd.weight")
    for _ in range(30):
        changed = bytearray(whole)
        at = rng.randrange(table, data)
        changed[at] = rng.choice([0, 1, 255, rng.randrange(256), changed[at] ^ 1 << rng.randrange(8)])
        path.write_bytes(changed)
        said = refusal(path)
        assert said == "" or "spoiled.gguf" in said or said.startswith("[kv] layer 0"), said
