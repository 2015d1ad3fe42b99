"""Importance matrices: both formats of llama-imatrix, what they are worth, and files that are not as they should be."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter
from support.hf_checkpoint import write_hf

from spectralkv import _core
from spectralkv.convert import ConvertOptions, convert
from spectralkv.importance import read_importance
from spectralkv.mixtures import FLOATS, READ_ONLY
from spectralkv.quantize import QuantizeOptions, quantize
from spectralkv.quantize_command import main

QUANTISED = [kind for kind in _core.weight_types() if kind not in (*FLOATS, *READ_ONLY)]
NAMES = ("blk.0.attn_q.weight", "blk.0.ffn_down.weight")


def write_dat(path: Path, entries: dict[str, np.ndarray], calls: int = 4, tail: bytes = b"") -> None:
    out = struct.pack("<i", len(entries))
    for name, values in entries.items():
        raw = (values * np.float32(calls)).astype("<f4").tobytes()
        out += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", calls, values.size) + raw
    path.write_bytes(out + tail)


def write_imatrix(path: Path, tensors: dict[str, np.ndarray], kind: str = "imatrix") -> None:
    writer = GGUFWriter(path, "llama")
    writer.add_type(kind)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def values() -> dict[str, np.ndarray]:
    random = np.random.default_rng(5)
    return {name: np.exp(random.standard_normal(256 * (i + 1))).astype(np.float32) for i, name in enumerate(NAMES)}


def test_both_formats_say_the_same(tmp_path: Path, values: dict[str, np.ndarray]) -> None:
    write_dat(tmp_path / "a.dat", values, tail=struct.pack("<ii", 3, 4) + b"text")
    tensors = {name + ".in_sum2": x.reshape(1, -1) * 4 for name, x in values.items()}
    tensors |= {name + ".counts": np.array([[4]], np.float32) for name in values}
    write_imatrix(tmp_path / "a.gguf", tensors)
    for path in (tmp_path / "a.dat", tmp_path / "a.gguf"):
        read = read_importance(path).values
        assert list(read) == list(values)
        for name, x in values.items():
            assert np.array_equal(read[name], x)


def test_experts_have_rows_of_their_own(tmp_path: Path) -> None:
    sums = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    counts = np.array([[1], [0], [2]], np.float32)
    write_imatrix(tmp_path / "a.gguf", {"e.in_sum2": sums, "e.counts": counts})
    importance = read_importance(tmp_path / "a.gguf")
    assert importance.of("e", (3, 2, 4)).tolist() == [1, 2, 3, 4, 1, 1, 1, 1, 4.5, 5, 5.5, 6]
    assert importance.of("other", (3, 2, 4)) is None
    with pytest.raises(ValueError, match=r"tensor 'e' has 12 numbers, 4 are expected.*another model"):
        importance.of("e", (2, 4))


@pytest.mark.parametrize("kind", QUANTISED)
def test_it_lowers_the_error_that_it_weighs(kind: str) -> None:
    random = np.random.default_rng(7)
    x = random.standard_normal((64, 512)).astype(np.float32)
    importance = np.exp(1.5 * random.standard_normal(512)).astype(np.float32)
    raw = x.reshape(-1).view(np.uint8)

    def weighted_error(given: np.ndarray | None) -> float:
        encoded = _core.requantize(raw, "f32", kind, 512, importance=given)
        return float((importance * (x - _core.decode_rows(kind, encoded, x.size).reshape(x.shape)) ** 2).mean())

    plain, own = weighted_error(None), weighted_error(importance)
    assert own < plain * (0.95 if kind != "q8_0" else 1.0001)
    ones = _core.requantize(raw, "f32", kind, 512, importance=np.full(512, 3, np.float32))
    assert np.array_equal(ones, _core.requantize(raw, "f32", kind, 512))
    # Two matrices behind each other, each with numbers of its own.
    both = _core.requantize(raw, "f32", kind, 512, importance=np.concatenate([importance, importance[::-1]]))
    halves = np.split(raw, 2)
    expected = [
        _core.requantize(half, "f32", kind, 512, importance=np.ascontiguousarray(w))
        for half, w in zip(halves, (importance, importance[::-1]), strict=True)
    ]
    assert np.array_equal(both, np.concatenate(expected))
    zeros = _core.requantize(raw, "f32", kind, 512, importance=np.zeros(512, np.float32))
    assert np.isfinite(_core.decode_rows(kind, zeros, x.size)).all()


def test_what_requantize_refuses() -> None:
    raw = np.zeros(1024, np.float32).view(np.uint8)
    for importance, words in (
        (np.ones(100, np.float32), "100 numbers of importance"),
        (np.full(256, -1, np.float32), "column 0: the importance is -1"),
        (np.full(256, np.nan, np.float32), "the importance is"),
        (np.ones(3 * 256, np.float32), "768 numbers of importance for 4 rows"),
    ):
        with pytest.raises(ValueError, match=words):
            _core.requantize(raw, "f32", "q4_0", 256, "w", importance=importance)


def test_the_command_takes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_hf(tmp_path / "hf", n_layers=1, n_embd=256, n_heads=4, n_kv_heads=2, n_ff=512)
    [source] = convert(tmp_path / "hf", tmp_path / "f32.gguf", ConvertOptions(outtype="f32", quiet=True))
    importance = np.exp(np.random.default_rng(1).standard_normal(256)).astype(np.float32)
    write_dat(tmp_path / "a.dat", {"blk.0.attn_q.weight": importance})
    assert main([str(source), str(tmp_path / "q.gguf"), "IQ4_XS", "--imatrix", str(tmp_path / "a.dat")]) == 0
    assert "by importance: 1 matrices" in capsys.readouterr().err
    [plain] = quantize(source, tmp_path / "p.gguf", "IQ4_XS", QuantizeOptions(quiet=True))
    infos = [_core.gguf_info(str(path)) for path in (tmp_path / "q.gguf", plain)]
    assert infos[0]["metadata"]["quantize.imatrix.file"] == "a.dat"
    data = [np.memmap(path, np.uint8, "r") for path in (tmp_path / "q.gguf", plain)]
    for own, other in zip(infos[0]["tensors"], infos[1]["tensors"], strict=True):
        parts = [d[t["offset"] : t["offset"] + t["bytes"]] for d, t in zip(data, (own, other), strict=True)]
        assert np.array_equal(*parts) == (own["name"] != "blk.0.attn_q.weight")
    write_dat(tmp_path / "a.dat", {"blk.0.attn_q.weight": importance[:99]})
    assert main([str(source), str(tmp_path / "r.gguf"), "Q4_0", "--imatrix", str(tmp_path / "a.dat")]) == 1
    assert "made for another model" in capsys.readouterr().err


def test_every_truncation_and_odd_numbers(tmp_path: Path, values: dict[str, np.ndarray]) -> None:
    path = tmp_path / "a.dat"
    write_dat(path, {"w": np.ones(8, np.float32)})
    whole = path.read_bytes()
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        with pytest.raises(ValueError, match=r"a\.dat"):
            read_importance(path)
    for at, number in ((0, -1), (0, 0), (0, 2), (4, -5), (4, 1 << 30), (13, -1), (13, 1 << 30)):
        path.write_bytes(whole[:at] + struct.pack("<i", number) + whole[at + 4 :])
        with pytest.raises(ValueError, match=r"a\.dat"):
            read_importance(path)
    for bad in (np.nan, -1, np.inf):
        write_dat(path, {"w": np.full(8, bad, np.float32)})
        with pytest.raises(ValueError, match="tensor 'w': numbers of at least 0"):
            read_importance(path)
    other = tmp_path / "a.gguf"
    one = np.ones((1, 4), np.float32)
    for tensors, words in (
        ({}, "no tensors"),
        ({"w.in_sum2": one}, r"no 'w\.counts' beside it"),
        ({"w.in_sum2": one, "w.counts": one}, "has 4 numbers, expected 1"),
        ({"w.in_sum2": one.astype(np.float16), "w.counts": one[:, :1]}, "is f16, expected f32"),
    ):
        write_imatrix(other, tensors)
        with pytest.raises(ValueError, match=words):
            read_importance(other)
    write_imatrix(other, {"w": one}, kind="model")
    with pytest.raises(ValueError, match=r"'general\.type' is 'model'"):
        read_importance(other)
    with pytest.raises(FileNotFoundError):
        read_importance(tmp_path / "none")
