"""`inspect`: its estimates against what sessions take, and the check of a whole file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.hf_checkpoint import write_hf

from spectralkv import _core
from spectralkv.convert import ConvertOptions, convert

CODE = "import sys; from spectralkv.cli import main; sys.exit(main(sys.argv[1:]))"


def inspect(*args: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CODE, "inspect", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def memory_of(path: str, n_ctx: int) -> dict[str, Any]:
    result = inspect(path, "--json", "-c", str(n_ctx))
    assert result.returncode == 0, result.stderr
    memory: dict[str, Any] = json.loads(result.stdout)["memory"]
    assert memory["n_ctx"] == n_ctx
    return memory


@pytest.mark.parametrize("n_ctx", [64, 200, 1500])
@pytest.mark.parametrize("head_dim", [64, 80])
def test_the_cache_takes_what_was_estimated(make_tiny: Callable[..., str], head_dim: int, n_ctx: int) -> None:
    """With a full context, for every type: no block sealed, the first one, and many."""
    path = make_tiny(n_heads=4, n_kv_heads=2, n_embd=4 * head_dim, context_length=2048)
    memory = memory_of(path, n_ctx)
    assert memory["weights"] == sum(tensor["bytes"] for tensor in _core.gguf_info(path)["tensors"])
    engine = _core.Engine(path, n_threads=2)
    ids = [int(t) for t in np.random.default_rng(0).integers(3, 300, n_ctx)]
    assert len(memory["cache"]) >= 8
    assert memory["default"] == "eoptshrinkq:2"
    assert memory["cache"]["default"] == memory["cache"]["eoptshrinkq:2"]
    for kind, (least, most) in memory["cache"].items():
        session = _core.Session(engine, n_ctx=n_ctx, type_k=kind, type_v=kind)
        session.eval(ids)
        taken = session.cache_report()["bytes"]
        assert least <= taken <= most, kind
        if not kind.startswith(("eoptshrinkq", "default")):  # others have blocks of one size
            assert least == most, kind


PROBE = """
import json, sys
from spectralkv import _core
def anonymous():
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("RssAnon"))
before = anonymous()
engine = _core.Engine(sys.argv[1], n_threads=2)
session = _core.Session(engine, n_ctx=1024, n_batch=512, type_k=sys.argv[2], type_v=sys.argv[2])
ids = [i * 7919 % 40000 for i in range(1024)]
session.eval(ids[:512])
session.eval(ids[512:])
print(anonymous() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system has no /proc/self/status")
@pytest.mark.parametrize("kind", ["f32", "q8_0", "eoptshrinkq:2"])
def test_a_process_takes_what_was_estimated(kind: str, demo_model: str) -> None:
    """Weights, cache and work of the demo model, beside what the process has of its own. What the estimate leaves out
    are the vocabulary's maps and the work space of sealing: a few MiB, whatever the model."""
    memory = memory_of(demo_model, 1024)
    expected = memory["weights"] + memory["work"] + memory["cache"][kind][1]
    result = subprocess.run([sys.executable, "-c", PROBE, demo_model, kind], capture_output=True, text=True, check=True)
    taken = int(result.stdout)
    assert 0.9 * expected < taken < expected + (24 << 20)


def damage(path: Path, name: str, at: int, value: bytes) -> None:
    """Writes bytes into a tensor."""
    tensor = next(t for t in _core.gguf_info(str(path))["tensors"] if t["name"] == name)
    with open(path, "r+b") as file:
        file.seek(tensor["offset"] + at)
        file.write(value)


def test_check_of_a_good_file(make_tiny: Callable[..., str], tmp_path: Path) -> None:
    path = make_tiny(weight_type="q8_0")
    text = inspect(path, "--check")
    assert text.returncode == 0 and "tensors, all values finite; loads as llama" in text.stdout
    found = json.loads(inspect(path, "--check", "--json").stdout)["check"]
    assert f"{len(_core.gguf_info(path)['tensors'])} tensors, all values finite" in found
    assert "check" not in json.loads(inspect(path, "--json").stdout)
    folder = write_hf(tmp_path / "hf")
    [words] = convert(folder, tmp_path / "words.gguf", ConvertOptions(vocab_only=True, quiet=True))
    assert "no tensors; a tokenizer of 320 tokens" in inspect(words, "--check").stdout


def test_check_of_split_files(tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "hf")
    parts = convert(folder, tmp_path / "m.gguf", ConvertOptions(outtype="f32", split_max_size=200_000, quiet=True))
    assert len(parts) > 1
    assert inspect(parts[-1], "--check").returncode == 0
    last = _core.gguf_info(str(parts[0]))["tensors"][-1]
    with open(parts[-1], "r+b") as file:
        file.seek(last["offset"] + 8)
        file.write(b"\xff\xff\xff\x7f")
    result = inspect(parts[0], "--check")
    assert result.returncode == 1 and last["name"] in result.stderr and parts[-1].name in result.stderr


@pytest.mark.parametrize(
    ("kind", "at", "value"),
    [
        ("f32", 4 * 70, b"\x00\x00\x80\x7f"),
        ("f16", 2 * 70, b"\x00\x7e"),
        ("bf16", 2 * 70, b"\xc0\x7f"),
        ("q8_0", 34 * 3, b"\x00\x7c"),
    ],
)
def test_check_finds_one_damaged_value(kind: str, at: int, value: bytes, make_tiny: Callable[..., str]) -> None:
    """Infinity, NaN, and the scale of a block."""
    path = Path(make_tiny(weight_type=kind))
    damage(path, "blk.1.ffn_up.weight", at, value)
    result = inspect(path, "--check")
    assert result.returncode == 1
    assert "tensor 'blk.1.ffn_up.weight' of" in result.stderr and path.name in result.stderr
    assert "row 1" in result.stderr
    assert inspect(path).returncode == 0  # without the check no weight is read


def test_check_of_a_file_that_cannot_be_loaded(make_tiny: Callable[..., str]) -> None:
    path = Path(make_tiny())
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    result = inspect(path, "--check")
    assert result.returncode == 1 and path.name in result.stderr
    path.write_bytes(whole.replace(b"blk.1.ffn_up.weight", b"blk.1.ffn_ux.weight"))
    result = inspect(path, "--check")
    assert result.returncode == 1 and "blk.1.ffn_up.weight" in result.stderr
