"""The forward pass against a slow numpy twin, in every shape that the architecture knows, and against a real model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference import llama as reference
from support.tiny_model import TinyModel, tensors, write_tiny_model

from spectralkv import Llama
from spectralkv.mixtures import QUANTIZATIONS
from spectralkv.quantize import QuantizeOptions, quantize

IDS = [int(t) for t in np.random.default_rng(5).integers(0, 320, 150)]

YARN: dict[str, Any] = {"type": "yarn", "factor": 4.0, "original": 64}
GRANITE = {"attention.scale": 0.1, "embedding_scale": 6.0, "residual_scale": 0.25, "logit_scale": 4.0}

VARIANTS: dict[str, dict[str, Any]] = {
    "grouped": {},
    "multi_head": {"n_kv_heads": None},
    "one_kv_head": {"n_heads": 8, "n_kv_heads": 1},
    "head_dim_unlike_embd": {"head_dim": 24},
    "head_dim_80": {"head_dim": 80, "n_layers": 1},
    "untied": {"tied": False},
    "biases": {"biases": True},
    "partial_rope": {"rope_dims": 8},
    "large_theta": {"freq_base": 5e5},
    "linear": {"rope_scaling": {"type": "linear", "factor": 4.0}},
    "yarn": {"rope_scaling": YARN},
    "llama3": {"rope_freqs": True},
    "sliding_window": {"sliding_window": 20},
    "odd_ff": {"n_ff": 72},
    "qwen2": {"arch": "qwen2"},
    "qwen2_untied_yarn": {
        "arch": "qwen2",
        "tied": False,
        "rope_scaling": YARN,
    },
    "qwen2_partial_rope": {"arch": "qwen2", "rope_dims": 8},
    "qwen2_window": {"arch": "qwen2", "head_dim": 24, "sliding_window": 20},
    "qwen3": {"arch": "qwen3", "head_dim": 24},
    "qwen3_untied_one_kv_head": {"arch": "qwen3", "n_kv_heads": 1, "tied": False},
    "qwen3_partial_rope_yarn": {"arch": "qwen3", "rope_dims": 8, "rope_scaling": YARN},
    "granite": {"arch": "granite", "factors": GRANITE},
    "granite_biases": {"arch": "granite", "factors": GRANITE | {"attention.scale": 0.0}, "biases": True, "tied": False},
    "smollm3": {"arch": "smollm3", "n_layers": 5},
    "smollm3_yarn": {"arch": "smollm3", "n_layers": 4, "tied": False, "rope_scaling": YARN},
    "mistral3": {
        "arch": "mistral3",
        "rope_scaling": YARN | {"log_multiplier": 1.0},
        "factors": {"attention.temperature_scale": 0.1},
    },
    "mistral3_log_multiplier": {"arch": "mistral3", "head_dim": 24, "rope_scaling": YARN | {"log_multiplier": 0.5}},
    "mixtral": {"n_experts": 8},
    "mixtral_all_used": {"n_experts": 3, "n_experts_used": 3, "tied": False, "n_ff": 72},
    "mixtral_split": {"n_experts": 4, "n_experts_used": 1, "split_experts": True, "sliding_window": 20},
}


def logits(path: str, ids: list[int], **options: object) -> np.ndarray:
    with Llama(path, n_ctx=256, logits_all=True, verbose=False, **options) as model:
        model.eval(ids)
        return np.array(model.scores)


def relative_error(got: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """By row."""
    return np.asarray(np.linalg.norm(got - expected, axis=1) / np.linalg.norm(expected, axis=1))


@pytest.mark.parametrize("name", VARIANTS)
def test_equals_the_numpy_twin(name: str, make_tiny: Callable[..., str]) -> None:
    model = TinyModel(**VARIANTS[name])
    expected = reference.forward(model, tensors(model), IDS)
    got = logits(make_tiny(**VARIANTS[name]), IDS, type_k="f32", type_v="f32")
    # A pass of some 15 sums of at most 320 terms a layer in f32, each off by less than n eps: 15 * 320 * 6e-8 = 3e-4,
    # if all were off in one direction.
    assert relative_error(got, expected).max() < 1e-4


@pytest.mark.parametrize("shape", [{}, {"n_experts": 4}], ids=["dense", "experts"])
@pytest.mark.parametrize("weight_type", ["f16", "bf16", "q8_0", "q4_0", "q4_1"])
def test_weight_types_follow_their_error(
    weight_type: str, shape: dict[str, Any], make_tiny: Callable[..., str]
) -> None:
    """Quantised weights give the logits of the dequantised ones."""
    from gguf.quants import dequantize, quantize
    from support.tiny_model import WEIGHT_TYPES

    model = TinyModel(weight_type=weight_type, **shape)
    kind = WEIGHT_TYPES[weight_type]
    w = {  # every row here is a multiple of 32
        name: dequantize(quantize(x, kind), kind) if x.ndim >= 2 and "ffn_gate_inp" not in name else x
        for name, x in tensors(model).items()
    }
    expected = reference.forward(model, w, IDS)
    got = logits(make_tiny(weight_type=weight_type, **shape), IDS, type_k="f32", type_v="f32", activations="f32")
    assert relative_error(got, expected).max() < 1e-4


@pytest.mark.parametrize("kind", [kind for kind in QUANTIZATIONS if kind not in ("F32", "F16", "BF16")])
def test_experts_of_every_quantisation(kind: str, tmp_path: Path) -> None:
    """Slices of a quantised tensor against the twin on what they decode to; in 8 bits whatever is beside a row."""
    from gguf import GGUFReader
    from gguf.quants import dequantize

    model = TinyModel(n_embd=256, n_ff=256, n_experts=3, scale=0.06)
    plain = write_tiny_model(tmp_path / "f32.gguf", model)
    [path] = quantize(plain, tmp_path / "q.gguf", kind, QuantizeOptions(quiet=True))
    weights = {t.name: dequantize(t.data, t.tensor_type) for t in GGUFReader(path).tensors}
    assert weights["blk.1.ffn_down_exps.weight"].shape == (3, 256, 256)
    expected = reference.forward(model, weights, IDS[:60])
    error = relative_error(logits(str(path), IDS[:60], type_k="f32", type_v="f32", activations="f32"), expected)
    assert error.max() < 1e-4
    in_8_bits = logits(str(path), IDS[:60], type_k="f32", type_v="f32")
    assert np.median(relative_error(in_8_bits, expected)) < 0.05  # another expert may be chosen for a few
    np.testing.assert_array_equal(logits(str(path), IDS[:60], type_k="f32", type_v="f32", n_batch=7), in_8_bits)


def pairs_of_halves(w: dict[str, np.ndarray], model: TinyModel) -> dict[str, np.ndarray]:
    """The weights of a qwen2 model as a llama file has them: row i + dims / 2 of a head behind row i."""
    dims = model.rope_dims or model.d
    order = [*np.arange(dims).reshape(2, -1).T.reshape(-1), *range(dims, model.d)]
    out = dict(w)
    for name, x in w.items():
        if ".attn_q." in name or ".attn_k." in name:
            heads = x.reshape(-1, model.d, *x.shape[1:])
            out[name] = np.ascontiguousarray(heads[:, order]).reshape(x.shape)
    return out


@pytest.mark.parametrize("activations", ["q8_0", "f32"])  # rows in panels, and in memory of the model's own
@pytest.mark.parametrize("rope_dims", [None, 32])
@pytest.mark.parametrize("weight_type", ["f32", "f16", "bf16", "q8_0", "q4_1", "Q4_K_M", "Q3_K_M", "Q2_K"])
def test_qwen2_is_llama_with_its_rows_turned(
    weight_type: str, rope_dims: int | None, activations: str, tmp_path: Path
) -> None:
    """Whole rows move at load, of whatever type: the same logits, bit for bit, as of a file that has them turned."""
    plain = weight_type.islower()
    shape: dict[str, Any] = {"n_embd": 256, "n_heads": 4, "n_kv_heads": 2, "n_ff": 256, "rope_dims": rope_dims}
    model = TinyModel(arch="qwen2", weight_type=weight_type if plain else "f32", **shape)
    files = {"qwen2": tensors(model), "llama": pairs_of_halves(tensors(model), model)}
    assert not np.array_equal(files["llama"]["blk.1.attn_k.bias"], files["qwen2"]["blk.1.attn_k.bias"])
    got = {}
    for arch, weights in files.items():
        if weight_type == "f16":
            weights |= {name: x.astype(np.float16) for name, x in weights.items() if name.endswith(".bias")}
        path = write_tiny_model(tmp_path / f"{arch}.gguf", replace(model, arch=arch), weights)
        if not plain:
            [path] = quantize(path, tmp_path / f"{arch}-{weight_type}.gguf", weight_type, QuantizeOptions(quiet=True))
        got[arch] = logits(str(path), IDS[:40], activations=activations)
    assert np.isfinite(got["llama"]).all()
    np.testing.assert_array_equal(got["qwen2"], got["llama"])


def test_qwen2_states_are_its_own(tmp_path: Path) -> None:
    """The same weights read as llama are another model: its states are refused."""
    model = TinyModel(arch="qwen2")
    paths = [
        write_tiny_model(tmp_path / f"{arch}.gguf", replace(model, arch=arch), tensors(model))
        for arch in ("qwen2", "llama")
    ]
    other = {name: x + 1 if name == "blk.0.attn_k.bias" else x for name, x in tensors(model).items()}
    paths.append(write_tiny_model(tmp_path / "other.gguf", model, other))
    first, *rest = (Llama(str(path), n_ctx=64, verbose=False) for path in paths)
    first.eval(IDS[:20])
    state = str(tmp_path / "state")
    first.save_state(state)
    first.load_state(state)
    for stranger in rest:
        with pytest.raises(ValueError, match="another model"):
            stranger.load_state(state)


def test_qwen2_without_biases_is_refused(tmp_path: Path) -> None:
    model = TinyModel(arch="qwen2")
    for name in ("blk.1.attn_v.bias", "blk.0.attn_q.bias"):
        weights = {key: x for key, x in tensors(model).items() if key != name}
        path = write_tiny_model(tmp_path / f"{name}.gguf", model, weights)
        with pytest.raises(ValueError, match=f"{path}.*tensor '{name}' is missing"):
            Llama(str(path), verbose=False)
    weights = tensors(model) | {"blk.1.attn_k.bias": np.zeros(16, np.float32)}
    with pytest.raises(ValueError, match=r"'blk.1.attn_k.bias' is \[1, 16\], expected \[1, 32\]"):
        Llama(str(write_tiny_model(tmp_path / "short.gguf", model, weights)), verbose=False)


def test_unknown_architectures_are_told_the_known_ones(make_tiny: Callable[..., str]) -> None:
    with pytest.raises(ValueError, match=r"architecture 'gemma3' is not supported; supported: llama \(.*, qwen2 \("):
        Llama(make_tiny(arch="gemma3"), verbose=False)


def test_batches_and_threads_change_nothing(make_tiny: Callable[..., str]) -> None:
    path = make_tiny(head_dim=24, weight_type="q8_0", sliding_window=100)
    expected = logits(path, IDS, n_threads=1, n_batch=150)
    for n_threads, n_batch in [(1, 1), (2, 7), (3, 64), (2, 150)]:
        got = logits(path, IDS, n_threads=n_threads, n_batch=n_batch)
        assert np.array_equal(got, expected), (n_threads, n_batch)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"llama.expert_count": 8}, "'llama.expert_used_count' must lie in 1 to 8"),
        ({"llama.attention.key_length": 20, "llama.attention.value_length": 20}, "multiple of 8"),
        ({"llama.attention.key_length": 16, "llama.attention.value_length": 32}, "only equal ones"),
        ({"llama.rope.scaling.type": "ntk"}, "'ntk' is not supported"),
        ({"tokenizer.ggml.pre": "mystery"}, "mystery"),
    ],
)
def test_refuses_by_name(extra: dict[str, object], words: str, make_tiny: Callable[..., str]) -> None:
    with pytest.raises(ValueError, match=words):
        Llama(make_tiny(extra=extra), verbose=False)


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Float64 log-probabilities of float32 [n, n_vocab] logits."""
    x = scores.astype(np.float64)
    x -= x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def test_demo_model_logits(demo_model: str, shared_reference: Path) -> None:
    """Against transformers on the dequantised weights, f32: argmax, logits, perplexity 23.3965."""
    data = np.load(shared_reference / "smollm2_reference.npz")
    ids = data["ids"]
    exact: dict[str, Any] = {"type_k": "f32", "type_v": "f32", "logits_all": True, "n_ctx": 1024, "verbose": False}
    with Llama(demo_model, activations="f32", **exact) as model, Llama(demo_model, **exact) as usual:
        model.eval(ids.tolist())
        got = model.scores
        usual.eval(ids.tolist())
        in_8_bits = log_softmax(usual.scores)
        assert (got.argmax(1) == data["argmax"]).mean() >= 0.995
        expected = data["logits"].astype(np.float32)
        error = np.linalg.norm(got[data["positions"]] - expected, axis=1) / np.linalg.norm(expected, axis=1)
        assert error.max() < 2e-3
        x = log_softmax(got)
        perplexity = np.exp(-x[np.arange(1023), ids[1:]].mean())
        assert abs(perplexity - 23.3965) < 0.01
        # Activations in 8 bits: close to those in f32.
        assert (np.exp(x) * (x - in_8_bits)).sum(1).mean() < 0.005
        assert abs(np.exp(-in_8_bits[np.arange(1023), ids[1:]].mean()) / perplexity - 1) < 0.01


def test_demo_model_greedy(demo_model: str, shared_reference: Path) -> None:
    case = json.loads((shared_reference / "smollm2_greedy.json").read_text())
    with Llama(demo_model, n_ctx=256, type_k="f32", type_v="f32", activations="f32", verbose=False) as model:
        got = []
        for token in model.generate(case["prompt_ids"], temp=0.0):
            got.append(token)
            if len(got) == len(case["greedy_ids"]) or token == model.token_eos():
                break
        assert got == case["greedy_ids"]


def test_states_of_version_0_1_0_load(tmp_path: Path) -> None:
    """Its default had components of 3 bits, scales in f16 and scalar codes: today's default goes on with them."""
    shape = {"n_layers": 1, "n_embd": 32, "n_heads": 2, "n_kv_heads": 1, "head_dim": 32, "n_ff": 32, "seed": 7}
    path = str(write_tiny_model(tmp_path / "tiny.gguf", TinyModel(context_length=512, **shape)))
    state = Path(__file__).parents[1] / "goldens" / "state-0.1.0.bin"
    after = IDS[:40]

    def go_on(llama: Llama) -> np.ndarray:
        llama.eval(after)
        return np.array(llama._session.logits())

    with Llama(path, n_ctx=512, verbose=False) as llama:
        llama.load_state(str(state))
        ids = llama.input_ids.tolist()
        assert len(ids) > 128 + 128, "the file has a sealed block"
        got = go_on(llama)
    then = "eoptshrinkq:2,factor_bits=3,scale_bits=16,quantiser=scalar"
    with (
        Llama(path, n_ctx=512, type_k=then, type_v=then, kv_calibration="none", verbose=False) as same,
        Llama(path, n_ctx=512, kv_calibration="none", verbose=False) as now,
    ):
        for llama in (same, now):
            llama.eval(ids)
        expected, other = go_on(same), go_on(now)
    # Singular vectors may differ in their last digits from processor to processor, and a code with them.
    np.testing.assert_allclose(got, expected, atol=2e-3 * np.abs(expected).max())
    assert np.abs(other - expected).max() > np.abs(got - expected).max(), "blocks sealed now are others"
