"""`spectralkv eval curve` on a tiny model: what it measures, keeps and draws."""

import json
import subprocess
import sys

import pytest
from support.tiny_model import write_tiny_model

pytest.importorskip("matplotlib")
from spectralkv.evaluate.cache_types import parse_cache_type
from spectralkv.evaluate.curve import at_bits, line_of

CACHES = ["--cache", "eoptshrinkq:2", "--cache", "eoptshrinkq:3", "--cache", "turboquant:2"]


def evaluate(*args, status=0):
    command = [sys.executable, "-m", "spectralkv.cli", "eval", "curve", *map(str, args)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == status, result.stderr
    return result


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The model's path and a text; calibrations are kept in the test's folder."""
    monkeypatch.setenv("SPECTRALKV_CALIBRATIONS", str(tmp_path / "kept"))
    model = write_tiny_model(tmp_path / "tiny.gguf", context_length=2048, n_embd=64, n_heads=2, n_kv_heads=1)
    (tmp_path / "text.txt").write_text("the hello on a line in the end of it all, hello there. " * 40)
    return model, tmp_path / "text.txt"


def test_a_curve_is_measured_once(files, tmp_path):
    model, text = files
    args = ["-m", model, "-f", text, "--context", 600, *CACHES, "--out", tmp_path]
    first = evaluate(*args)
    assert first.stderr.count("spectralkv perplexity") == 6, "the base, and ours with a calibration and without"
    folder = tmp_path / "curve"
    data = json.loads((folder / "curve.json").read_text())
    assert [(point["cache"], point["line"]) for point in data["points"]] == [
        ("eoptshrinkq:2", "eoptshrinkq"),
        ("eoptshrinkq:2", "eoptshrinkq, no calibration"),
        ("eoptshrinkq:3", "eoptshrinkq"),
        ("eoptshrinkq:3", "eoptshrinkq, no calibration"),
        ("turboquant:2", "turboquant"),
    ]
    svg = (folder / "curve.svg").read_text()
    for shown in ("tiny.gguf", "text.txt", "eoptshrinkq, no calibration", "turboquant", data["measured"]["dates"]):
        assert shown in svg
    again = evaluate(*args)
    assert again.stdout == first.stdout and "perplexity" not in again.stderr
    assert (folder / "curve.svg").read_text() == svg
    table = (folder / "curve.md").read_text()
    assert table.startswith(first.stdout.strip()) and data["command"] in table


def test_lines_and_what_lies_between_their_points():
    for spec, calibration, line in [
        ("eoptshrinkq:2", "auto", "eoptshrinkq"),
        ("eoptshrinkq:2,quantiser=scalar", "none", "eoptshrinkq,quantiser=scalar, no calibration"),
        ("q4_0,sink=4", "auto", "q4_0,sink=4"),
        ("turboquant:3/kivi:2", "none", "turboquant/kivi"),
    ]:
        assert line_of(parse_cache_type(spec), calibration) == line
    points = [{"bits": 2.0, "kl": 0.01}, {"bits": 4.0, "kl": 0.0001}]
    assert at_bits(points, 2) == pytest.approx(0.01) and at_bits(points, 3) == pytest.approx(0.001)
    assert at_bits(points, 1.9) is None and at_bits(points, 4.1) is None and at_bits([], 2) is None


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [([], 2, "-f"), (["-f", "no/such"], 1, "no/such"), (["--cache", "q9_9"], 1, "there is no 'q9_9'")],
)
def test_wrong_usage_is_named(files, tmp_path, args, status, said):
    model, text = files
    given = args if "-f" in args or not args else ["-f", text, *args]
    message = evaluate("-m", model, *given, "--out", tmp_path / "out", status=status).stderr
    assert said in message and "Traceback" not in message
    assert not (tmp_path / "out").exists()
