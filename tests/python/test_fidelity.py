"""`spectralkv fidelity`: table, JSON, images and errors on a tiny model; known figures on the demo model."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

SPEC = ["-ctk", "turboquant:2,block=32,sink=4", "-ctv", "turboquant:2,block=32,sink=4"]
SPECTRUM = {"rank", "edge", "delocalisation", "delocalisation_raw"}
ERROR = {
    "factor_width",
    "residual_bits",
    "second_rows",
    "metric_gain",
    "relative_mse",
    "ip_error",
    "ip_bias",
    "attention_error",
    "bits_paper",
    "bits_honest",
}


def fidelity(*args, status=0):
    """The finished process; `python -m` so that the module under test is the installed one."""
    command = [sys.executable, "-m", "spectralkv.cli", "fidelity", *map(str, args)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == status, result.stderr
    return result


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokens") / "ids.npy"
    np.save(path, np.random.default_rng(1).integers(3, 300, 200, dtype=np.int32))
    return path


@pytest.fixture
def source(tiny_model, tokens):
    return ["-m", tiny_model, "--tokens", tokens, "--queries", "16", *SPEC]


def test_table(source):
    result = fidelity(*source)
    lines = result.stdout.splitlines()
    assert lines[0].split()[:8] == ["layer", "side", "rank", "width", "bits", "rows", "gain", "edge"]
    assert [line.split()[:2] for line in lines[1:7]] == [[n, s] for n in ("0", "1", "mean") for s in ("K", "V")]
    assert len({len(line) for line in lines[:7]}) == 1, "the columns stand under each other"
    assert lines[7].startswith("max|r|/|r| of a random row: 0.5887")  # d = 16
    assert "200 of 200 tokens" in result.stderr
    assert "\r" not in result.stderr, "progress belongs on a terminal"
    heads = fidelity(*source, "--heads", "--layers", "1").stdout.splitlines()
    assert [line.split()[:2] for line in heads[1:5]] == [["1", s] for s in ("K0", "K1", "V0", "V1")]


def test_the_default_is_named(make_tiny, tmp_path):
    np.save(tmp_path / "ids.npy", np.random.default_rng(1).integers(3, 300, 300, dtype=np.int32))
    source = ["-m", make_tiny(context_length=512), "--tokens", tmp_path / "ids.npy", "--kv-calibration", "none"]
    result = fidelity(*source, "--queries", "16", "--layers", "1", "--json", "-")
    assert "tokens, K eoptshrinkq:2, V eoptshrinkq:2" in result.stderr
    report = json.loads(result.stdout)
    assert report["type_k"] == report["type_v"] == "eoptshrinkq:2"


def test_json(source, tmp_path):
    report = json.loads(fidelity(*source, "--json", "-").stdout)
    assert (report["n_tokens"], report["n_queries"], report["n_kv_heads"], report["head_dim"]) == (200, 16, 2, 16)
    assert report["type_k"] == "turboquant:2,sink=4,block=32"
    assert report["delocalisation_random"] == pytest.approx(math.sqrt(2 * math.log(16) / 16))
    assert report["codecs"] == []
    assert [layer["layer"] for layer in report["layers"]] == [0, 1]
    for layer in report["layers"]:
        assert (layer["n_blocks"], layer["block"], layer["sink"], layer["window"]) == (5, 32, 4, 0)
        for side in ("k", "v"):
            part = layer[side]
            assert part.keys() == {"codec", "heads", *SPECTRUM, *ERROR}
            assert (part["ip_error"] is None) == (side == "v")
            for head in part["heads"]:
                assert head.keys() == {"head", "ranks", "spectrum", *SPECTRUM, *ERROR}
                assert len(head["ranks"]) == 5
                values = head["spectrum"]["singular_values"]
                assert values == sorted(values, reverse=True) and len(values) == 16
                assert head["bits_paper"] == 2
                assert 2 + 16 / 16 < head["bits_honest"] < 2 + 16 / 16 + 0.2  # row norms, and the table of a block
                assert 0.05 < head["relative_mse"] < 0.2
            for key in SPECTRUM | ERROR - {"ip_error", "ip_bias", "metric_gain"}:
                assert part[key] == pytest.approx(np.mean([head[key] for head in part["heads"]])), key
    path = tmp_path / "report.json"
    result = fidelity(*source, "--json", path)
    assert result.stdout.startswith("layer")
    assert json.loads(path.read_text()) == report


def test_all_codecs(source):
    report = json.loads(fidelity(*source, "--all-codecs", "--json", "-").stdout)
    codecs = {codec["spec"]: codec for codec in report["codecs"]}
    assert {"f16", "q8_0", "q4_0", "turboquant:1", "turboquant:4", "eoptshrinkq:2"} <= codecs.keys()
    assert codecs["turboquant:2"]["k"] == report["mean"]["k"]
    assert len(codecs["f16"]["layers"]) == 2
    assert codecs["f16"]["v"]["relative_mse"] < 1e-6 < codecs["q8_0"]["v"]["relative_mse"]
    text = fidelity(*source, "--all-codecs").stdout
    assert "\nturboquant:3 " in text


def test_text_in_place_of_tokens(tiny_model, tmp_path):
    text = tmp_path / "text"
    text.write_text("hello the inner letter " * 40)
    args = ["-m", tiny_model, "-f", text, "-c", "100", "--queries", "16", *SPEC, "--json", "-"]
    assert json.loads(fidelity(*args).stdout)["n_tokens"] == 100


def test_plots(source, tmp_path):
    image = pytest.importorskip("matplotlib.image", reason="no matplotlib (pip install '.[plot]')")
    folder = tmp_path / "some" / "folder"
    result = fidelity(*source, "--plot", folder)
    assert {path.name for path in folder.iterdir()} == {"spectrum.png", "rank.png", "errors.png"}
    for path in folder.iterdir():
        assert f"wrote {path}" in result.stderr
        pixels = image.imread(path)
        assert min(pixels.shape[:2]) > 300
        assert len(np.unique(pixels[..., :3].reshape(-1, 3), axis=0)) > 50, "an image of one colour shows nothing"


def test_no_matplotlib(source, tmp_path):
    script = f"""
        import importlib.util, sys
        found = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *rest: None if name == "matplotlib" else found(name, *rest)
        from spectralkv.cli import main
        sys.exit(main({["fidelity", *map(str, source), "--plot", str(tmp_path / "x")]!r}))
    """
    script = "\n".join(line.strip() for line in script.splitlines())
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert "pip install 'matplotlib>=" in result.stderr
    assert not (tmp_path / "x").exists()


def test_errors(source, tiny_model, tokens, tmp_path):
    def refusal(*args, status=1):
        return fidelity(*args, status=status).stderr

    assert "give one of -f and --tokens" in refusal("-m", tiny_model, status=2)
    assert "--layers" in refusal(*source, "--layers", "1-", status=2)
    assert "layer 7 is not within 0 to 1" in refusal(*source, "--layers", "0,7")
    assert "there is no 'q9'" in refusal(*source, "-ctk", "q9")
    assert "they must agree" in refusal(*source, "-ctk", "turboquant:2,block=64", "-ctv", "default")
    assert "it takes at least 384" in refusal("-m", tiny_model, "--tokens", tokens)
    assert "(-c), the text has 200" in refusal(*source, "-c", "201")
    (tmp_path / "file").touch()
    assert "--plot: cannot make the folder" in refusal(*source, "--plot", tmp_path / "file")
    assert "cannot write" in refusal(*source, "--json", tmp_path / "no" / "report.json")


def test_known_figures(demo_model, shared_reference):
    """Relative errors of 2 bits on 4096 tokens of prose, over six layers: keys .117 and .042, values .114 and .069 at
    blocks of 1024 tokens."""
    layers = ["--layers", "0,6,12,18,24,29", "-c", "4096", "--json", "-"]
    alike = ["--kv-calibration", "none"]  # a metric makes logits better, not rows
    for codec, keys, values in (
        ("turboquant:2", 0.117, 0.114),
        ("eoptshrinkq:2,factor_bits=4,window=0,quantiser=scalar", 0.042, 0.069),
    ):
        spec = f"{codec},block=1024,sink=4"
        ids = shared_reference / "smollm2_prose.npz"
        report = json.loads(
            fidelity("-m", demo_model, "--tokens", ids, "-ctk", spec, "-ctv", spec, *layers, *alike).stdout
        )
        assert report["mean"]["k"]["relative_mse"] == pytest.approx(keys, rel=0.15)
        assert report["mean"]["v"]["relative_mse"] == pytest.approx(values, rel=0.15)
        ranks = [head["rank"] for layer in report["layers"] for s in ("k", "v") for head in layer[s]["heads"]]
        assert min(ranks) >= 1 and max(ranks) <= 7
        width = report["mean"]["k"]["factor_width"]
        assert width == (0 if codec.startswith("turboquant") else 4)
    report = json.loads(fidelity("-m", demo_model, "--tokens", ids, *layers[:2], "-c", "1024", *layers[4:]).stdout)
    for side in ("k", "v"):  # widths of their own: 2 and more, of keys more than of values
        assert 2 < report["mean"][side]["factor_width"] < 6
    assert report["mean"]["k"]["factor_width"] > report["mean"]["v"]["factor_width"]
