"""The command `bench`, and the synthetic models that it is fed with."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spectralkv import Llama, _core
from spectralkv.output import OutputOptions
from spectralkv.testing.synthetic import SHAPES, Shape, main, write_synthetic

SMALL = Shape(2, 256, 8, 2, 32, 512, 320, 512, 10000.0)
STAGES = ("matmul_s", "append_s", "attention_s", "elementwise_s")


def bench(*args: object, status: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spectralkv.cli", "bench", *map(str, args)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **env})
    assert result.returncode == status, result.stderr
    return result


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "small.gguf"
    write_synthetic(path, SMALL, "small", "q4_0", OutputOptions(quiet=True))
    return path


def test_prompts_with_their_answers_as_sql(model: Path) -> None:
    tests = ["-p", 0, "-n", 0, "-pg", "16,4", "-pg", "8,2", "-d", "0,20", "-r", 2, "-ub", 64, "-fa", 1, "-ctk", "f16"]
    result = bench("-m", model, *tests, "-o", "sql")
    assert "note: -fa has no effect here" in result.stderr
    database = sqlite3.connect(":memory:")
    database.executescript(result.stdout)
    rows = database.execute("SELECT test, n_prompt, n_gen, n_depth, avg_ts > 0 FROM spectralkv_bench").fetchall()
    assert rows == [
        ("pp16+tg4", 16, 4, 0, 1),
        ("pp8+tg2", 8, 2, 0, 1),
        ("pp16+tg4 @ d20", 16, 4, 20, 1),
        ("pp8+tg2 @ d20", 8, 2, 20, 1),
    ]
    assert "expected two numbers" in bench("-m", model, "-pg", "16", status=2).stderr


def test_every_test_depth_and_cache_type_has_a_row(model: Path, tmp_path: Path) -> None:
    tests = ["-p", "16,20", "-n", 4, "-d", "0,300", "-r", 2]
    types = ["-ctk", "f16", "-ctk", "eoptshrinkq:2", "-ctv", "q8_0"]
    rows = json.loads(bench("-m", model, *tests, *types, "-o", "json", TMPDIR=str(tmp_path)).stdout)
    names = ["pp16", "pp20", "tg4", "pp16 @ d300", "pp20 @ d300", "tg4 @ d300"]
    assert [(row["type_k"], row["type_v"], row["test"]) for row in rows] == [
        (k, "q8_0", name) for k in ("f16", "eoptshrinkq:2") for name in names
    ]
    for row in rows:
        assert len(row["samples_ts"]) == 2
        assert row["avg_ts"] == pytest.approx(np.mean(row["samples_ts"]))
        assert row["stddev_ts"] == pytest.approx(np.std(row["samples_ts"], ddof=1))
        assert row["n_prompt"] + row["n_gen"] == int(row["test"].split(" ")[0][2:])
        seconds = (row["n_prompt"] + row["n_gen"]) * np.mean([1 / t for t in row["samples_ts"]])
        assert 0.3 * seconds < sum(row[stage] for stage in STAGES) <= seconds
        assert row["bandwidth_gb_per_s"] > 0.1
        assert row["gb_per_s"] > 0
    assert not list(tmp_path.iterdir())  # the state file is gone


def test_lists_grow_and_have_ranges(model: Path, make_tiny: Callable[..., str]) -> None:
    """As llama-bench reads them."""
    other = make_tiny(context_length=256)
    numbers = ["-p", "4-8+2", "-p", "16", "-n", "0", "-d", "2-8*2", "-t", "1-2", "-r", 1]
    rows = json.loads(bench("-m", model, "-m", other, *numbers, "-ctk", "f16", "-o", "json").stdout)
    assert [(row["model_filename"], row["n_threads"], row["n_depth"], row["n_prompt"]) for row in rows] == [
        (str(path), t, d, p) for path in (model, other) for t in (1, 2) for d in (2, 4, 8) for p in (4, 6, 8, 16)
    ]
    for models in (
        ["-m", model, "-m", f"{other}-absent"],
        ["-m", f"{model},{other}-absent"],
        ["-m", f"{other}-absent"],
    ):
        failed = bench(*models, *numbers, "-o", "json", status=1)
        assert failed.stdout == "" and f"{other}-absent" in failed.stderr, "told before anything is measured"
    comma = model.parent / "a,b.gguf"
    comma.symlink_to(model)
    few = ["-p", 4, "-n", 0, "-r", 1, "-t", 1, "-ctk", "f16", "-o", "json"]
    for given, wanted in ((f"{model},{other}", [str(model), str(other)]), (comma, [str(comma)])):
        assert [row["model_filename"] for row in json.loads(bench("-m", given, *few).stdout)] == wanted
    for wrong in ("4-2", "1-2+0", "0-8*2", "2-8*1", "1-99999", "-5", "3-", "3-x"):
        assert "option '-p'" in bench("-m", model, f"-p={wrong}", status=2).stderr


def test_lists_of_batches_layers_and_types(model: Path) -> None:
    """Each with each; a comma in front of a type's name begins another type."""
    args = ["-p", 8, "-n", 0, "-r", 1, "-t", 1, "-b", "64,128-512*2", "-ub", "100,300"]
    types = ["-ctk", "f16,turboquant:4,q8_0", "-ctv", "f16,q8_0,eoptshrinkq:2,sink=8"]
    rows = json.loads(bench("-m", model, *args, *types, "-ngl", "0,0", "-o", "json").stdout)
    batches = [64, 64, 100, 128, 100, 256, 100, 300]
    assert [row["n_batch"] for row in rows] == batches * 6
    pairs = [(row["type_k"].partition(",")[0], row["type_v"].partition(",")[0]) for row in rows[:: len(batches)]]
    assert pairs == [("f16", "f16"), ("turboquant:4", "q8_0"), ("q8_0", "eoptshrinkq:2")] * 2
    table = bench("-m", model, *args, "-ctk", "f16").stdout
    assert "| K | V | batch | test |" in table.splitlines()[0]
    for wrong in (["-b", "0"], ["-b", "64,x"], ["-ub", "9-1"], ["-ngl", "0,some"]):
        assert f"option '{wrong[0]}'" in bench("-m", model, *wrong, status=2).stderr


def test_json_is_whole_where_a_model_fails_late(model: Path, tmp_path: Path) -> None:
    """Its head can be read, so that the first is measured; that it names no architecture is told later."""
    other = tmp_path / "other.gguf"
    other.write_bytes(model.read_bytes().replace(b"general.architecture", b"general.architectura"))
    failed = bench("-m", model, "-m", other, "-p", 4, "-n", 0, "-r", 1, "-ctk", "f16", "-o", "json", status=1)
    assert [row["model_filename"] for row in json.loads(failed.stdout)] == [str(model)]


@pytest.mark.parametrize("form", ["md", "json"])
def test_the_default_is_named(model: Path, form: str) -> None:
    told = bench("-m", model, "-p", 8, "-n", 0, "-r", 1, "-ctk", "default", "-o", form).stdout
    assert told.count("eoptshrinkq:2") == 2 and "default" not in told


def test_formats_agree(model: Path) -> None:
    args = ["-m", model, "-p", 8, "-n", 2, "-r", 1, "-t", 1]
    table = bench(*args, "--profile").stdout.splitlines()
    assert table[0].startswith("| model | size | backend | threads | K | V | test | t/s |")
    assert len({line.count("|") for line in table}) == 1
    assert len(table) == 4
    lines = [json.loads(line) for line in bench(*args, "-o", "jsonl").stdout.splitlines()]
    columns = list(csv.DictReader(io.StringIO(bench(*args, "-o", "csv").stdout)))
    assert [line["test"] for line in lines] == [row["test"] for row in columns] == ["pp8", "tg2"]
    assert set(columns[0]) == set(lines[0]) - {"samples_ts"}
    assert columns[0]["n_threads"] == "1"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["-p", 0, "-n", 0], "nothing to measure"),
        (["-p", "8,,9"], "-p"),
        (["-p", "x"], "-p"),
        (["-o", "yaml"], "md, csv, json, jsonl or sql"),
        (["-ctk", "f16", "-ctk", "f32", "-ctv", "f16", "-ctv", "f16", "-ctv", "f16"], "-ctk is given 2 times"),
    ],
)
def test_wrong_usage_is_named(model: Path, args: list[object], said: str) -> None:
    assert said in bench("-m", model, *args, status=2).stderr


def test_a_wrong_cache_type_is_named(model: Path) -> None:
    assert "q9_9" in bench("-m", model, "-ctk", "q9_9", "-p", 8, "-n", 0, status=1).stderr


@pytest.mark.parametrize("kind", ["f32", "f16", "q8_0", "q4_1", "q4_k", "q6_k"])
def test_synthetic_models_run(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.gguf"
    written = write_synthetic(path, SMALL, "small", kind, OutputOptions(quiet=True))
    assert written < path.stat().st_size < written + 200_000
    llm = Llama(str(path), n_ctx=256, logits_all=True, verbose=False)
    llm.eval(list(range(200)))
    assert np.isfinite(llm.scores[199]).all()
    assert np.std(llm.scores[199]) > 0.01


def test_synthetic_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.gguf"
    args = [str(path), "--shape", "smollm2-135m", "--type", "Q4_0", "--layers", "1"]
    assert main(args) == 0
    assert "1 layers" in capsys.readouterr().out
    engine = _core.Engine(str(path), n_threads=1)
    assert "llama" in engine.description
    assert main(args) == 1
    assert "--force" in capsys.readouterr().err
    assert main([*args, "--force", "--type", "q9"]) == 1
    assert "unknown type 'q9'" in capsys.readouterr().err


def test_shapes_have_the_parameters_of_their_models() -> None:
    def count(name: str) -> int:
        return sum(int(np.prod(shape)) for shape in SHAPES[name].tensors().values())

    assert count("llama-3.1-8b") == 8_030_261_248
    assert count("llama-3.2-1b") == 1_235_814_400
    assert count("mistral-7b") == 7_248_023_552
    assert count("smollm2-135m") == 134_515_008
