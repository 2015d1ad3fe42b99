"""Calibrations from Python and the command line: made once, kept, shipped, named, and of which states they are part."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter
from support.tiny_model import write_tiny_model

from spectralkv import Llama, _core
from spectralkv.calibrations import SHIPPED
from spectralkv.evaluate.cache_types import parse_cache_type

PROMPT = [1 + i % 30 for i in range(700)]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SPECTRALKV_CALIBRATIONS", str(tmp_path / "kept"))
    return str(write_tiny_model(tmp_path / "tiny.gguf", context_length=2048))


def logits(llama: Llama) -> np.ndarray:
    llama.reset()
    llama.eval(PROMPT)
    return llama._session.logits()


def command(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "spectralkv.cli", *args], capture_output=True, text=True, timeout=300)


def test_a_long_text_makes_it_once(model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    llama = Llama(model, n_ctx=1024, type_k="eoptshrinkq:2", type_v="eoptshrinkq:2")
    llama.eval(PROMPT[:200])
    assert "calibrat" not in capfd.readouterr().err
    first = logits(llama)
    assert capfd.readouterr().err.count("calibrat") >= 2
    kept = list((tmp_path / "kept").iterdir())
    assert len(kept) == 1
    again = Llama(model, n_ctx=1024, type_k="eoptshrinkq:2", type_v="eoptshrinkq:2")
    assert np.array_equal(logits(again), first)
    assert "calibrating" not in capfd.readouterr().err
    none = Llama(
        model, n_ctx=1024, type_k="eoptshrinkq:2", type_v="eoptshrinkq:2", kv_calibration="none", verbose=False
    )
    assert not np.array_equal(logits(none), first)
    named = Llama(model, n_ctx=1024, type_k="eoptshrinkq:2", type_v="eoptshrinkq:2", kv_calibration=kept[0])
    assert np.array_equal(logits(named), first)


def test_the_command_writes_what_runs_find(model: str, tmp_path: Path) -> None:
    made = command("calibrate", "-m", model)
    assert made.returncode == 0, made.stderr
    path = Path(made.stdout.strip())
    assert path.parent == tmp_path / "kept"
    reader = GGUFReader(path)
    assert {t.name for t in reader.tensors} == {"calibration.metric", "calibration.queries", "calibration.harm"}
    beside = tmp_path / "tiny.calibration.gguf"
    text = tmp_path / "text.txt"
    text.write_text("a b c d e f g " * 400)
    other = command("calibrate", "-m", model, "-f", str(text), "-o", str(beside))
    assert other.returncode == 0, other.stderr
    with_default = Llama(model, n_ctx=1024, kv_calibration=path, type_k="eoptshrinkq:2")
    found = Llama(model, n_ctx=1024, type_k="eoptshrinkq:2")  # the one beside the model comes first
    named = Llama(model, n_ctx=1024, kv_calibration=beside, type_k="eoptshrinkq:2")
    assert np.array_equal(logits(found), logits(named))
    assert not np.array_equal(logits(found), logits(with_default))


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["-f", "/nowhere.txt"], "nowhere.txt"),
        (["-o", "/nowhere/calibration.gguf"], "/nowhere/calibration.gguf"),
    ],
)
def test_the_command_says_what_is_wrong(model: str, args: list[str], reason: str) -> None:
    failed = command("calibrate", "-m", model, *args)
    assert failed.returncode == 1
    assert reason in failed.stderr


def test_a_short_text_is_refused(model: str, tmp_path: Path) -> None:
    text = tmp_path / "short.txt"
    text.write_text("a b c")
    failed = command("calibrate", "-m", model, "-f", str(text))
    assert failed.returncode == 1
    assert "at least 512" in failed.stderr
    assert not (tmp_path / "kept").exists() or not list((tmp_path / "kept").iterdir())


def test_a_named_file_must_be_one(model: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no calibration of spectralkv"):
        Llama(model, kv_calibration=model, type_k="eoptshrinkq:2", verbose=False)
    with pytest.raises(FileNotFoundError):
        Llama(model, kv_calibration=tmp_path / "missing.gguf", type_k="eoptshrinkq:2", verbose=False)


def test_states_belong_to_their_calibration(model: str, tmp_path: Path) -> None:
    llama = Llama(model, n_ctx=1024, type_k="eoptshrinkq:2", type_v="eoptshrinkq:2", verbose=False)
    llama.eval(PROMPT)
    state = tmp_path / "state"
    llama._session.save_state(state)
    none = Llama(
        model, n_ctx=1024, type_k="eoptshrinkq:2", type_v="eoptshrinkq:2", kv_calibration="none", verbose=False
    )
    with pytest.raises(ValueError, match="sealed with a calibration"):
        none._session.load_state(state)


def older(source: Path, target: Path) -> None:
    """As a version of before methods had numbers wrote it, with other harms."""
    reader = GGUFReader(source)
    writer = GGUFWriter(target, "spectralkv-calibration")
    for name in ("version", "layers", "kv_heads", "head_dim", "group"):
        writer.add_uint32(f"calibration.{name}", int(reader.fields[f"calibration.{name}"].contents()))
    writer.add_uint64("calibration.model", int(reader.fields["calibration.model"].contents()))
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data[::-1].copy() if tensor.name == "calibration.harm" else tensor.data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_one_of_an_older_version_is_made_anew(model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first = logits(Llama(model, n_ctx=1024, type_k="eoptshrinkq:2", type_v="eoptshrinkq:2"))
    [kept] = (tmp_path / "kept").iterdir()
    whole = kept.read_bytes()
    older(kept, tmp_path / "older.gguf")
    kept.write_bytes((tmp_path / "older.gguf").read_bytes())
    capfd.readouterr()
    again = Llama(model, n_ctx=1024, type_k="eoptshrinkq:2", type_v="eoptshrinkq:2")
    assert np.array_equal(logits(again), first)
    lines = [line for line in capfd.readouterr().err.splitlines() if "older version" in line]
    assert lines == [f"calibrating the cache for this model anew, once: '{kept}' was made by an older version"]
    assert kept.read_bytes() == whole
    named = Llama(model, n_ctx=1024, kv_calibration=tmp_path / "older.gguf", type_k="eoptshrinkq:2", verbose=False)
    assert not np.array_equal(logits(named), first)


def test_the_shipped_one_is_what_this_version_makes(demo_model: str, tmp_path: Path) -> None:
    """Raise kCalibrationMethod, and make it anew, when this fails (docs/method.md)."""
    made = command("calibrate", "-m", demo_model, "-o", str(tmp_path / "made.gguf"))
    assert made.returncode == 0, made.stderr
    [shipped] = Path(SHIPPED).glob("*.gguf")
    ours, theirs = GGUFReader(tmp_path / "made.gguf"), GGUFReader(shipped)
    for name in ours.fields:
        if name.startswith("calibration."):
            assert ours.fields[name].contents() == theirs.fields[name].contents(), name
    for one, other in zip(ours.tensors, theirs.tensors, strict=True):
        a, b = (np.asarray(tensor.data, np.float64) for tensor in (one, other))
        # Other instructions round sums otherwise; a text or a measure that is another moves them by more.
        assert np.linalg.norm(a - b) < 0.02 * np.linalg.norm(b), one.name


def test_the_demo_models_is_shipped(demo_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECTRALKV_CALIBRATIONS", str(tmp_path))
    lines: list[str] = []
    engine = _core.Engine(demo_model, kv_calibration="auto", calibrations=SHIPPED, notice=lines.append)
    session = _core.Session(engine, n_ctx=600, type_k="eoptshrinkq:2", type_v="eoptshrinkq:2")
    session.eval([1 + i for i in range(400)])
    assert lines == []
    assert not list(tmp_path.iterdir())


def test_server_and_evaluation_have_it_too(model: str, tmp_path: Path) -> None:
    from spectralkv.evaluate.options import load_engine
    from spectralkv.serve.service import Service, ServiceOptions

    Service(ServiceOptions(model=model, n_ctx=1024, type_k="eoptshrinkq:2", type_v="eoptshrinkq:2")).close()
    assert len(list((tmp_path / "kept").iterdir())) == 1
    options = argparse.Namespace(
        model=model,
        hf_repo=None,
        threads=1,
        n_gpu_layers=0,
        kv_calibration="auto",
        cache=[parse_cache_type("eoptshrinkq:2")],
    )
    session = _core.Session(load_engine(options), n_ctx=1024, type_k="eoptshrinkq:2", type_v="eoptshrinkq:2")
    session.eval(PROMPT)
    assert np.array_equal(
        session.logits(), logits(Llama(model, n_ctx=1024, type_k="eoptshrinkq:2", type_v="eoptshrinkq:2"))
    )
