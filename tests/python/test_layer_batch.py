"""The store behind SpectralCache: what it gives for the positions that it took, in any pieces, padded or not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tiny_model import write_tiny_model

from spectralkv import _core

HEADS, D = 2, 32
TYPES = ["f32", "f16", "q8_0,sink=4", "turboquant:3,sink=4,window=40", "eoptshrinkq:2", "eoptshrinkq:2,paper"]
Pair = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def workers() -> _core.Workers:
    return _core.Workers(2)


def make(workers: _core.Workers, type_k: str, n: int = 1, **changes: Any) -> _core.LayerBatch:
    options = {"layer": 0, "n_layers": 1, "n_sequences": n, "n_kv_heads": HEADS, "head_dim": D, "type_v": type_k}
    return _core.LayerBatch(workers, type_k=type_k, **(options | changes))


def rows(n: int, sequences: int = 1, seed: int = 0) -> Pair:
    """Keys and values [sequences, HEADS, n, D] with two strong directions, as codecs expect them."""
    rng = np.random.default_rng(seed)

    def one() -> np.ndarray:
        low = rng.standard_normal((sequences, HEADS, n, 2)) @ (3 * rng.standard_normal((2, D)))
        return (low + rng.standard_normal((sequences, HEADS, n, D))).astype(np.float32)

    return one(), one()


def cut(pair: Pair, begin: int, end: int) -> Pair:
    return pair[0][:, :, begin:end], pair[1][:, :, begin:end]


def equal(a: Pair, b: Pair) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("spec", TYPES)
def test_pieces_do_not_matter_and_new_positions_are_exact(workers: _core.Workers, spec: str) -> None:
    pair, n = rows(500), 500
    whole = make(workers, spec)
    given = whole.extend(*pair)
    stored = tuple(x if spec == "f32" else x.astype(np.float16).astype(np.float32) for x in pair)
    assert equal(given, stored)  # nothing was there before: all are new
    pieces = make(workers, spec)
    for begin in range(0, n, 37):
        end = min(begin + 37, n)
        before = pieces.read() if begin else cut(pair, 0, 0)
        given = pieces.extend(*cut(pair, begin, end))
        assert equal(cut(given, 0, begin), before)
        assert equal(cut(given, begin, end), cut(stored, begin, end))
    assert equal(pieces.read(), whole.read())
    assert pieces.n_positions == n


@pytest.mark.parametrize("spec", TYPES)
def test_what_stays_exact(workers: _core.Workers, spec: str) -> None:
    pair = rows(500)
    store = make(workers, spec)
    store.extend(*pair)
    block, sink, window = store.layout
    sealed = 0 if spec in ("f32", "f16") else (500 - window) // block * block
    read = store.read()
    for got, given in zip(read, pair, strict=True):
        exact = given if spec == "f32" else given.astype(np.float16).astype(np.float32)
        assert np.array_equal(got[:, :, :sink], exact[:, :, :sink])
        assert np.array_equal(got[:, :, sealed:], exact[:, :, sealed:])
        if sealed:
            difference = np.linalg.norm((got - given)[:, :, sink:sealed]) / np.linalg.norm(given[:, :, sink:sealed])
            assert 1e-4 < difference < 0.5  # a rate-0 reconstruction would be off by 1


def test_sealed_blocks_are_what_the_codec_makes_of_them(workers: _core.Workers) -> None:
    """q8_0 from its definition: a row's step is its largest value over 127, and a value is off by half a step."""
    pair = rows(256)
    store = make(workers, "q8_0")
    store.extend(*pair)
    for got, given in zip(store.read(), pair, strict=True):
        exact = given.astype(np.float16).astype(np.float32)
        step = np.abs(exact).max(axis=-1, keepdims=True) / 127
        # The step is stored in f16 (relative error 2^-11), which moves the 127th level by 127 / 2048 steps.
        assert (np.abs(got - exact) <= step * (0.5 + 127 / 2048 + 1e-3)).all()


@pytest.mark.parametrize("spec", TYPES)
def test_a_padded_sequence_is_the_sequence_alone(workers: _core.Workers, spec: str) -> None:
    pads = [0, 30, 150]
    k, v = rows(420, 3)
    batch = make(workers, spec, 3, padding=pads)
    for begin in range(0, 420, 100):
        given = batch.extend(*cut((k, v), begin, min(begin + 100, 420)))
    read = batch.read()
    for s, pad in enumerate(pads):
        alone = make(workers, spec)
        for begin in range(0, 420, 100):
            if (end := min(begin + 100, 420)) > pad:
                piece = alone.extend(*(x[s : s + 1, :, max(begin, pad) : end] for x in (k, v)))
        for got, expected, last, last_alone in zip(read, alone.read(), given, piece, strict=True):
            assert np.array_equal(got[s : s + 1, :, pad:], expected)
            assert np.array_equal(last[s : s + 1, :, pad:], last_alone)
            assert not got[s, :, :pad].any() and not last[s, :, :pad].any()


def test_memory_order_of_the_rows_does_not_matter(workers: _core.Workers) -> None:
    k, v = rows(300, 2)
    plain, turned = make(workers, "eoptshrinkq:2", 2), make(workers, "eoptshrinkq:2", 2)
    plain.extend(k, v)
    turned.extend(np.ascontiguousarray(k.transpose(2, 0, 3, 1)).transpose(1, 3, 0, 2), np.asfortranarray(v))
    assert equal(plain.read(), turned.read())


def test_select_copies(workers: _core.Workers) -> None:
    first, more = rows(300, 3), rows(200, 3, seed=1)
    batch = make(workers, "eoptshrinkq:2", 3, padding=[0, 7, 0])
    batch.extend(*first)
    chosen = batch.select([2, 1, 1])
    assert chosen.n_sequences == 3
    for got, was in zip(chosen.read(), batch.read(), strict=True):
        assert np.array_equal(got, was[[2, 1, 1]])
    before = batch.read()
    chosen.extend(*more)
    assert equal(batch.read(), before)  # the original did not move
    batch.extend(*(x[[0, 1, 0]] for x in more))
    assert np.array_equal(chosen.read()[0][1], batch.read()[0][1])
    with pytest.raises(ValueError, match="sequence 3 is not within 0 to 2"):
        batch.select([3])
    with pytest.raises(ValueError, match="at least one sequence"):
        batch.select([])


def test_going_back(workers: _core.Workers) -> None:
    pair = rows(300)
    batch = make(workers, "eoptshrinkq:2,window=0")
    batch.extend(*pair)
    assert batch.nearest_below(300) == 300 and batch.nearest_below(260) == 260 and batch.nearest_below(255) == 128
    with pytest.raises(ValueError, match="cannot go back to 255 tokens.*nearest length below is 128"):
        batch.truncate(255)
    with pytest.raises(ValueError, match="not within 0 to 300"):
        batch.truncate(301)
    batch.truncate(260)
    batch.extend(*cut(pair, 260, 300))
    fresh = make(workers, "eoptshrinkq:2,window=0")
    fresh.extend(*pair)
    assert equal(batch.read(), fresh.read())
    batch.reset()
    assert batch.n_positions == 0
    batch.extend(*pair)
    assert equal(batch.read(), fresh.read())


def test_layer_ranges_and_bytes(workers: _core.Workers) -> None:
    spec = "eoptshrinkq:2;layers 1=f16"
    layers = [make(workers, spec, layer=i, n_layers=2) for i in range(2)]
    for layer in layers:
        layer.extend(*rows(1000))
    sealed, exact = (layer.reports()[0] for layer in layers)
    assert sealed["k"]["codec"].startswith("eoptshrinkq:2") and exact["k"]["codec"] == "f16"
    assert exact["k"]["honest_bits"] == pytest.approx(16, abs=0.1)
    assert 2 < sealed["k"]["paper_bits"] < sealed["k"]["honest_bits"] < 4
    assert sealed["n_tokens"] == 1000 and sealed["work_bytes"] == 0  # nothing but the compressed form stays
    # 6 blocks are sealed; K and V keep 4 sinks and at most 256 exact tokens, 2 bytes an entry.
    assert sealed["k"]["sealed_entries"] == (6 * 128 - 4) * HEADS * D
    assert sealed["k"]["exact_bytes"] == (4 + 256) * HEADS * D * 2


def test_refusals_change_nothing(workers: _core.Workers) -> None:
    k, v = rows(200)
    batch = make(workers, "eoptshrinkq:2", layer=3, n_layers=5)
    batch.extend(k, v)
    before = batch.read()
    bad = rows(300, seed=2)
    bad[1][0, 1, 290, 5] = np.nan
    with pytest.raises(ValueError, match="layer 3, KV head 1: the value of token 490 holds .*not finite"):
        batch.extend(*bad)
    bad[1][0, 1, 290, 5] = 1e6
    with pytest.raises(ValueError, match="beyond f16; the cache type f32 can hold it"):
        batch.extend(*bad)
    with pytest.raises(ValueError, match=r"keys are \[1, 1, 200, 32\], expected \[1, 2, n, 32\]"):
        batch.extend(k[:, :1], v)
    with pytest.raises(ValueError, match="keys of 100 positions, values of 200"):
        batch.extend(k[:, :, :100], v)
    assert equal(batch.read(), before)
    for changes, message in [
        ({"type_k": "eoptshrink:2"}, "there is no 'eoptshrink'"),
        ({"type_k": "turboquant:2", "head_dim": 20}, "multiple"),
        ({"type_k": "f16;layers 5=f32"}, "not within 0 to 4"),
        ({"type_k": "f16", "layer": 5}, "layer 5 is not within 0 to 4"),
        ({"type_k": "f16", "padding": [1, 2]}, "padding is given for 2 sequences, the batch has 1"),
        ({"type_k": "f16", "padding": [-1]}, "padding of -1"),
    ]:
        with pytest.raises(ValueError, match=message):
            make(workers, **({"layer": 0, "n_layers": 5} | changes))


def test_a_calibration_makes_heads_differ(workers: _core.Workers, tmp_path: Path) -> None:
    """What it holds is tests/cpp/kv/calibrated_cache_test.cc's; here: that it arrives, and what is refused."""
    model, text, path = tmp_path / "tiny.gguf", tmp_path / "text.txt", tmp_path / "calibration.gguf"
    write_tiny_model(model, context_length=1024, n_layers=2, n_embd=64, n_heads=2, n_kv_heads=HEADS, head_dim=D)
    text.write_text("the hello on a line in the end of it all " * 40)
    command = [sys.executable, "-m", "spectralkv.cli", "calibrate", "-m", model, "-f", text, "-o", path]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    spec = "eoptshrinkq:2"
    format_ = _core.CalibratedFormat(path, type_k=spec, type_v=spec)
    assert format_.shape == (2, HEADS, D)
    pair = rows(500)
    batch = make(workers, spec, layer=1, n_layers=2, calibrated=format_)
    plain = make(workers, spec, layer=1, n_layers=2)
    for one in (batch, plain):
        one.extend(*pair)
    chosen = batch.select([0])
    assert equal(chosen.read(), batch.read()) and not equal(batch.read(), plain.read())
    for got, given in zip(batch.read(), pair, strict=True):
        assert np.linalg.norm(got - given) < 0.5 * np.linalg.norm(given)
    with pytest.raises(ValueError, match="layer 1: the calibration is of another model: it has 2 layers"):
        make(workers, spec, layer=1, n_layers=3, calibrated=format_)
    with pytest.raises(ValueError, match="no calibration of spectralkv"):
        _core.CalibratedFormat(model)
    with pytest.raises(FileNotFoundError):
        _core.CalibratedFormat(tmp_path / "missing")
    with pytest.raises(ValueError, match="there is no 'nothing'"):
        _core.CalibratedFormat(path, type_k="nothing")
