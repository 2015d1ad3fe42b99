"""Quantised files: types by role, errors no worse than llama.cpp's own encoders, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.hf_checkpoint import write_hf

from spectralkv import Llama, _core
from spectralkv.convert import ConvertOptions, convert
from spectralkv.mixtures import FLOATS, QUANTIZATIONS, READ_ONLY, Model, TypeRules, chosen_type, quantization_named
from spectralkv.quantize import QuantizeOptions, plan_quantization, quantize
from spectralkv.quantize_command import main

QUIET = QuantizeOptions(quiet=True)
QUANTISED = [kind for kind in _core.weight_types() if kind not in (*FLOATS, *READ_ONLY)]
# Squared error of a standard normal relative to its variance, as llama.cpp's encoders have it (version b6500 or so). A
# type without a line here fails.
PEER_ERRORS = {
    "q8_0": 2.87e-5,
    "q6_k": 3.14e-4,
    "q5_k": 1.303e-3,
    "q5_1": 1.432e-3,
    "q5_0": 1.825e-3,
    "q4_k": 5.08e-3,
    "q4_1": 6.11e-3,
    "q4_0": 7.39e-3,
    "q3_k": 2.278e-2,
    "q2_k": 8.80e-2,
    "iq4_nl": 5.80e-3,
    "iq4_xs": 5.89e-3,
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose rows fit every type."""
    folder = tmp_path_factory.mktemp("source")
    write_hf(folder / "hf", n_layers=9, n_embd=256, n_heads=8, n_kv_heads=2, n_ff=512)
    [path] = convert(folder / "hf", folder / "f32.gguf", ConvertOptions(outtype="f32", quiet=True))
    return path


def types_of(path: Path) -> dict[str, str]:
    return {tensor["name"]: tensor["type"] for tensor in _core.gguf_info(str(path))["tensors"]}


@pytest.mark.parametrize("name", [name for name in QUANTIZATIONS if name != "F32"])
def test_every_type_loads_and_keeps_the_metadata(name: str, source: Path, tmp_path: Path) -> None:
    [path] = quantize(source, tmp_path / "q.gguf", name, QUIET)
    before, after = (_core.gguf_info(str(p)) for p in (source, path))
    changed = {"general.file_type", "general.quantization_version"}
    for key, value in before["metadata"].items():
        assert key in changed or after["metadata"][key] == value
        assert key in changed or after["metadata_types"][key] == before["metadata_types"][key]
    assert after["metadata"]["general.file_type"] == QUANTIZATIONS[name][1]
    bound = {kind: 1.05 * error for kind, error in PEER_ERRORS.items()} | {"f32": 0, "f16": 1e-7, "bf16": 4e-6}
    old, new = np.memmap(source, np.uint8, "r"), np.memmap(path, np.uint8, "r")
    for x, y in zip(before["tensors"], after["tensors"], strict=True):
        parts = (np.ascontiguousarray(f[t["offset"] : t["offset"] + t["bytes"]]) for f, t in ((old, x), (new, y)))
        signal, error = _core.distortion(next(parts), x["type"], next(parts), y["type"], x["shape"][0])
        assert error <= bound[y["type"]] * signal, x["name"]
    with Llama(str(path), n_ctx=64, logits_all=True, verbose=False) as model:
        model.eval(list(range(3, 60)))
        assert np.isfinite(model.scores).all()


def test_mixtures_by_role() -> None:
    """Of llama.cpp's llama_model_quantize for the same model."""
    model = Model(n_layers=20, n_heads=8, n_kv_heads=2, tied=False)

    def kinds(name: str, role: str) -> list[str]:
        return [chosen_type(name, f"blk.{i}.{role}.weight", (256, 256), "f32", model) for i in range(20)]

    more = [0, 1, 4, 7, 10, 13, 16, 17, 18, 19]
    assert [i for i, kind in enumerate(kinds("Q4_K_M", "attn_v")) if kind == "q6_k"] == more
    assert [i for i, kind in enumerate(kinds("Q5_K_M", "ffn_down")) if kind == "q6_k"] == more
    assert kinds("Q4_K_S", "attn_v") == ["q5_k"] * 4 + ["q4_k"] * 16
    assert kinds("Q4_K_S", "ffn_down") == ["q5_k"] * 2 + ["q4_k"] * 18
    assert kinds("Q3_K_M", "attn_v") == ["q5_k"] * 2 + ["q4_k"] * 18
    assert kinds("Q3_K_M", "attn_output") == ["q4_k"] * 20
    assert kinds("Q2_K", "ffn_down") == ["q3_k"] * 20
    assert kinds("Q2_K", "attn_v") == ["q4_k"] * 20
    assert kinds("Q6_K", "attn_v") == ["q6_k"] * 20
    assert chosen_type("Q4_K_M", "output.weight", (320, 256), "f32", model) == "q6_k"
    assert chosen_type("Q4_K_M", "blk.0.attn_norm.weight", (256,), "f32", model) == "f32"


def test_what_goes_before_a_mixture() -> None:
    model = Model(n_layers=8, n_heads=8, n_kv_heads=2, tied=False)

    def kind(name: str, **rules: Any) -> str:
        return chosen_type("Q4_K_M", name, (256, 256), "f32", model, TypeRules(**rules))

    assert kind("blk.0.attn_v.weight") == "q6_k" and kind("blk.0.attn_v.weight", pure=True) == "q4_k"
    assert kind("output.weight", pure=True) == "q4_k"
    assert kind("output.weight", pure=True, output_type="q8_0") == "q8_0"
    assert kind("output.weight", leave_output=True, output_type="q8_0") == "f32"
    assert kind("token_embd.weight", embedding_type="q5_k") == "q5_k" and kind("token_embd.weight") == "q4_k"
    assert kind("blk.0.ffn_gate_inp.weight") == "f32"
    assert quantization_named("q4_k") == "Q4_K_M"


def test_rows_that_do_not_fit_take_the_next_type() -> None:
    model = Model(n_layers=2, n_heads=4, n_kv_heads=2, tied=True)
    for name, expected in {"Q4_K_S": "q5_0", "Q6_K": "q8_0", "Q2_K": "q4_0", "IQ4_XS": "iq4_nl"}.items():
        assert chosen_type(name, "blk.1.attn_q.weight", (64, 96), "f32", model) == expected
    assert chosen_type("Q4_0", "blk.1.attn_q.weight", (64, 72), "f32", model) == "f16"


def error_of(x: np.ndarray, kind: str, encoded: np.ndarray) -> float:
    signal, error = _core.distortion(x.reshape(-1).view(np.uint8), "f32", encoded, kind, x.shape[1])
    return error / signal


@pytest.mark.parametrize("kind", QUANTISED)
def test_gaussian_error_is_no_worse_than_llama_cpps(kind: str) -> None:
    x = np.random.default_rng(0).standard_normal((512, 2048)).astype(np.float32)
    ours = _core.requantize(x.reshape(-1).view(np.uint8), "f32", kind, 2048)
    assert error_of(x, kind, ours) <= PEER_ERRORS[kind]


def test_threads_change_nothing() -> None:
    x = np.random.default_rng(2).standard_normal((300, 512)).astype(np.float32).reshape(-1).view(np.uint8)
    for kind in QUANTISED:
        one, many = (_core.requantize(x, "f32", kind, 512, n_threads=n) for n in (1, 3))
        assert np.array_equal(one, many)


def test_demo_model_in_q8_0(demo_model: str, shared_reference: Path, tmp_path: Path) -> None:
    """The perplexity of 1024 tokens stays within 0.5 %."""
    ids = np.load(shared_reference / "smollm2_reference.npz")["ids"]
    [path] = quantize(demo_model, tmp_path / "q8.gguf", "Q8_0", QuantizeOptions(allow_requantize=True, quiet=True))
    values = []
    for name in (demo_model, str(path)):
        with Llama(name, n_ctx=1024, logits_all=True, type_k="f32", type_v="f32", verbose=False) as model:
            model.eval(ids.tolist())
            x = np.array(model.scores).astype(np.float64)
        top = x.max(1)
        log_sum = np.log(np.exp(x - top[:, None]).sum(1)) + top
        values.append(np.exp((log_sum[:-1] - x[np.arange(1023), ids[1:]]).mean()))
    assert abs(values[1] / values[0] - 1) < 0.005


def test_overrides_dry_run_and_refusals(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "q.gguf"
    assert main([str(source), str(target), "q4_0", "2", "--dry-run", "--tensor-type", "attn_v=q8_0"]) == 0
    out = capsys.readouterr().out
    assert "blk.0.attn_v.weight" in out and "q8_0" in out and "bits a weight" in out
    assert not target.exists()
    options = ["--tensor-type", r"blk\.[01]\.ffn=q6_k"]
    assert main([str(source), str(target), "Q4_0", *options]) == 0
    kinds = types_of(target)
    assert kinds["blk.1.ffn_up.weight"] == "q6_k" and kinds["blk.2.ffn_up.weight"] == "q4_0"
    capsys.readouterr()
    for args, words in (
        ([str(source), str(target), "Q4_0"], "--force"),
        ([str(target), str(tmp_path / "r.gguf"), "Q8_0"], "--allow-requantize"),
        ([str(tmp_path / "none.gguf"), "Q8_0"], "none.gguf"),
        ([str(source), str(tmp_path / "r.gguf"), "Q8_0", "--tensor-type", "(=q8_0"], "regular expression"),
        ([str(source), str(tmp_path / "r.gguf"), "Q8_0", "--tensor-type", "a=q9"], "unknown tensor type"),
        ([str(source), str(tmp_path / "r.gguf"), "Q8_0", "--output-tensor-type", "iq3_s"], "does not write"),
        ([str(source), str(tmp_path / "r.gguf"), "IQ2_XXS"], "IQ2_XXS is a type that spectralkv reads"),
    ):
        assert main(args) == 1
        assert words in capsys.readouterr().err
    assert main([str(target), str(tmp_path / "r.gguf"), "Q8_0", "--allow-requantize"]) == 0
    with pytest.raises(SystemExit):
        main([str(source), "NOPE"])
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["--keep-split", str(source), "Q8_0"])
    assert "option '--keep-split' is not supported: --split-max-size says" in capsys.readouterr().err
    replace = QuantizeOptions(force=True, quiet=True)
    with pytest.raises(OSError, match="a file to read"):
        quantize(source, source, "Q8_0", replace)
    assert plan_quantization(source, "q8_0", QUIET).new_bytes < source.stat().st_size
    assert sorted(path.name for path in tmp_path.iterdir()) == ["q.gguf", "r.gguf"]


def test_types_by_number_and_of_a_file(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As llama-quantize takes them: 15 is Q4_K_M, 7 is Q8_0."""
    listed, target = tmp_path / "types.txt", tmp_path / "q.gguf"
    listed.write_text(r"blk\.0\.ffn_up=q4_0 ffn_up=q5_0" + "\nattn_v=q5_1\n")
    args = [str(source), str(target), "7", "2", "--tensor-type", "attn_v=q4_1", "--tensor-type-file", str(listed)]
    assert main(args) == 0
    kinds = types_of(target)
    assert [kinds[f"blk.{i}.ffn_up.weight"] for i in (0, 1)] == ["q4_0", "q5_0"]
    assert (kinds["blk.0.attn_v.weight"], kinds["blk.0.attn_q.weight"]) == ("q4_1", "q8_0")
    assert main(["--dry-run", str(source), "15"]) == 0
    numbered = capsys.readouterr().out
    assert main(["--dry-run", str(source), "q4_k_m"]) == 0
    assert numbered.endswith(capsys.readouterr().out)
    assert main([str(source), "8", "--tensor-type-file", str(tmp_path / "none")]) == 1
    assert "none" in capsys.readouterr().err
