"""Files of ours in llama.cpp, where there is one (see conftest.py): the same greedy tokens; encoders no worse."""

from __future__ import annotations

import ctypes
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.hf_checkpoint import HfModel, write_hf

from spectralkv import Llama, _core
from spectralkv.convert import ConvertOptions, convert
from spectralkv.mixtures import FLOATS, QUANTIZATIONS, READ_ONLY
from spectralkv.quantize import QuantizeOptions, quantize

N = 24  # tokens to generate
ROPE = {"factor": 4.0, "original_max_position_embeddings": 32}
MODELS: dict[str, HfModel] = {
    "grouped": HfModel(),
    "head_dim_80": HfModel(head_dim=80, biases=True),
    "multi_head_tied": HfModel(n_kv_heads=4, tied=True),
    "linear": HfModel(config={"rope_scaling": {"type": "linear", "factor": 4.0}}),
    "yarn": HfModel(config={"rope_scaling": {"rope_type": "yarn", **ROPE}}),
    "yarn_attention": HfModel(config={"rope_scaling": {"rope_type": "yarn", **ROPE, "attention_factor": 1.3}}),
    "llama3": HfModel(
        config={"rope_scaling": {"rope_type": "llama3", **ROPE, "low_freq_factor": 1.0, "high_freq_factor": 4.0}}
    ),
    "qwen2": HfModel(architecture="Qwen2ForCausalLM"),
    "qwen2_tied_yarn": HfModel(
        architecture="Qwen2ForCausalLM", tied=True, config={"rope_scaling": {"rope_type": "yarn", **ROPE}}
    ),
    "qwen3": HfModel(architecture="Qwen3ForCausalLM", head_dim=32),
    "granite": HfModel(
        architecture="GraniteForCausalLM",
        tied=True,
        config={
            "attention_multiplier": 0.1,
            "embedding_multiplier": 6.0,
            "residual_multiplier": 0.25,
            "logits_scaling": 4.0,
        },
    ),
    "smollm3": HfModel(architecture="SmolLM3ForCausalLM", n_layers=5),
    "mixtral": HfModel(architecture="MixtralForCausalLM", n_experts=6),
    "mixtral_of_one": HfModel(
        architecture="MixtralForCausalLM", n_experts=4, tied=True, config={"num_experts_per_tok": 1}
    ),
    "mistral3": HfModel(
        architecture="Ministral3ForCausalLM",
        config={
            "rope_parameters": {"rope_type": "yarn", **ROPE, "llama_4_scaling_beta": 0.1, "rope_theta": 1e4}
            | {"mscale": 1.0, "mscale_all_dim": 1.0}
        },
    ),
}


def ask(python: str, models: list[Path], folder: Path, **request: Any) -> dict[str, np.ndarray]:
    """What llama_cpp_side.py answers."""
    out = folder / "theirs.npz"
    script = Path(__file__).resolve().parents[1] / "support" / "llama_cpp_side.py"
    request |= {"models": [str(path) for path in models], "out": str(out)}
    subprocess.run([python, str(script)], input=json.dumps(request), text=True, check=True)
    with np.load(out) as arrays:
        return dict(arrays)


def theirs(
    python: str, models: list[Path], prompt: list[int], folder: Path, cache: str = "f32"
) -> list[tuple[list[int], np.ndarray]]:
    """Of each model the greedy continuation and the logits that it came from, [N, n_vocab]."""
    arrays = ask(python, models, folder, prompt=prompt, n=N, cache=cache)
    return [(arrays[f"ids{i}"].tolist(), arrays[f"logits{i}"]) for i in range(len(models))]


def ours(path: Path, prompt: list[int], cache: str = "f32", **options: Any) -> tuple[list[int], np.ndarray]:
    """The same of ours, token by token."""
    options |= {"n_ctx": len(prompt) + N, "type_k": cache, "type_v": cache, "logits_all": True, "verbose": False}
    with Llama(str(path), **options) as model:
        fed, ids = prompt, list[int]()
        for _ in range(N):
            model.eval(fed)
            ids.append(int(np.argmax(model.scores[model.n_tokens - 1])))
            fed = ids[-1:]
        return ids, np.array(model.scores[len(prompt) - 1 : model.n_tokens])


def relative_error(got: np.ndarray, expected: np.ndarray) -> float:
    return float((np.linalg.norm(got - expected, axis=1) / np.linalg.norm(expected, axis=1)).max())


def test_converted_shapes(llama_cpp_python: str, tmp_path: Path) -> None:
    """Every kind of RoPE, head and bias, in f32."""
    paths = []
    for name, model in MODELS.items():
        folder = write_hf(tmp_path / name, model)
        paths += convert(folder, tmp_path / f"{name}.gguf", ConvertOptions(outtype="f32", quiet=True))
    prompt = [int(t) for t in np.random.default_rng(3).integers(3, 320, 60)]
    for name, path, (ids, logits) in zip(MODELS, paths, theirs(llama_cpp_python, paths, prompt, tmp_path), strict=True):
        own_ids, own_logits = ours(path, prompt)
        assert own_ids == ids, name
        assert relative_error(own_logits, logits) < 1e-4, name


@pytest.mark.parametrize("name", ["tiny-llama3", "tiny-llama-tied-spm"])
def test_converted_references(name: str, llama_cpp_python: str, shared_reference: Path, tmp_path: Path) -> None:
    """In f16 and bf16 llama.cpp rounds activations to the weights' type, which ours keep in f32."""
    bounds = {"f32": 1e-4, "f16": 5e-3, "bf16": 4e-2}
    paths = [
        convert(shared_reference / name, tmp_path / f"{kind}.gguf", ConvertOptions(outtype=kind, quiet=True))[0]
        for kind in bounds
    ]
    prompt = np.load(shared_reference / name / "reference.npz")["ids"][:40].tolist()
    for (kind, bound), path, (ids, logits) in zip(
        bounds.items(), paths, theirs(llama_cpp_python, paths, prompt, tmp_path), strict=True
    ):
        own_ids, own_logits = ours(path, prompt)
        assert own_ids == ids, kind
        assert relative_error(own_logits, logits) < bound, kind


# Of the demo model in Q2_K_S either rounding of activations moves logits by a tenth, and few choices are clear.
@pytest.mark.parametrize("name", [name for name in QUANTIZATIONS if name not in ("F32", "Q2_K_S")])
def test_quantized_to_every_type(name: str, llama_cpp_python: str, demo_model: str, tmp_path: Path) -> None:
    """Of a model that was trained. Both round activations to 8 bits, each in its own way: along llama.cpp's greedy
    continuation, wherever its first choice stands out by more than this moves logits, ours is the same."""
    options = QuantizeOptions(allow_requantize=True, quiet=True)
    [path] = quantize(demo_model, tmp_path / "q.gguf", name, options)
    with Llama(str(path), n_ctx=64, verbose=False) as model:
        text = "<|im_start|>user\nName the capital of France.<|im_end|>\n<|im_start|>assistant\n"
        prompt = model.tokenize(text.encode(), add_bos=False, special=True)
    [(ids, logits)] = theirs(llama_cpp_python, [path], prompt, tmp_path)
    with Llama(str(path), n_ctx=len(prompt) + N, type_k="f32", type_v="f32", logits_all=True, verbose=False) as model:
        model.eval(prompt + ids[:-1])
        own = np.array(model.scores[len(prompt) - 1 : model.n_tokens])
    bound = 0.03 if QUANTIZATIONS[name][0] in FLOATS else 0.15
    own, peer = (x - x.mean(1, keepdims=True) for x in (own, logits))
    assert relative_error(own, peer) < bound
    second, first = np.sort(peer, axis=1)[:, -2:].T
    clear = first - second > bound * np.sqrt((peer**2).mean(1))
    same = own.argmax(1) == ids
    assert same[clear].all() and clear.sum() >= N // 2


PROMPTS = [
    "<|im_start|>user\nName the capital of France.<|im_end|>\n<|im_start|>assistant\n",
    "def fibonacci(n):\n",
    "The three laws of thermodynamics say, in short, that",
]


def test_qwen2_tokens(llama_cpp_python: str, qwen2_model: str, shared_reference: Path, tmp_path: Path) -> None:
    cases = json.loads((shared_reference / "smollm2_tokenizer_cases.json").read_text())
    texts = [
        *(case["text"] for case in cases),
        *PROMPTS,
        "1234567 3.14 x² ٣Ⅷ",
        "  a\t\n \n  b'LL 'ſ e\u0301 한국어 <tool_call>",
    ]
    expected = ask(llama_cpp_python, [Path(qwen2_model)], tmp_path, texts=texts)
    with Llama(qwen2_model, n_ctx=64, verbose=False) as model:
        for i, text in enumerate(texts):
            got = model.tokenize(text.encode(), add_bos=False, special=True)
            assert got == expected[f"tokens{i}"].tolist(), text
            assert model.detokenize(got, special=True).decode() == text


@pytest.mark.parametrize("text", PROMPTS)
def test_qwen2_greedy(text: str, llama_cpp_python: str, qwen2_model: str, tmp_path: Path) -> None:
    """With an f16 cache in both. llama.cpp rounds activations to 8 bits, ours are exact here: a choice may only differ
    where llama.cpp's own stands out by less than that moves logits."""
    with Llama(qwen2_model, n_ctx=64, verbose=False) as model:
        prompt = model.tokenize(text.encode(), add_bos=False, special=True)
    [(ids, logits)] = theirs(llama_cpp_python, [Path(qwen2_model)], prompt, tmp_path, cache="f16")
    own_ids, own_logits = ours(Path(qwen2_model), prompt, cache="f16", activations="f32")
    same = next((i for i in range(N) if own_ids[i] != ids[i]), N)
    read = min(same + 1, N)  # these logits have the same tokens before them
    moved = own_logits[:read] - logits[:read]
    assert relative_error(own_logits[:read], logits[:read]) < 0.06
    if same < N:
        gap = logits[same][ids[same]] - logits[same][own_ids[same]]
        assert gap < 2 * np.sqrt((moved[same] ** 2).mean()), f"token {same}: {own_ids[same]} in place of {ids[same]}"


@pytest.mark.parametrize("kind", READ_ONLY)
def test_files_of_types_that_we_only_read(kind: str, llama_cpp_python: str, tmp_path: Path) -> None:
    """Layers quantised by llama.cpp: exact products are those of the decoded weights, and ours in 8 bits are no
    farther from them than llama.cpp's, over all rows together: it rounds activations by 256 or 32 values, we by 32.

    Two roundings of one kind differ by chance: a row's error has about as many free directions as the width, so the
    ratio of two over N rows scatters by sqrt(1 / (256 N)), 1.3 %; earlier rows' errors go into later ones, so more
    than three of these are allowed.
    """
    write_hf(tmp_path / "hf", n_layers=2, n_embd=256, n_heads=4, n_kv_heads=2, n_ff=512)
    [source] = convert(tmp_path / "hf", tmp_path / "f32.gguf", ConvertOptions(outtype="f32", quiet=True))
    path = tmp_path / "q.gguf"
    job = {"model": str(source), "file_type": QUANTIZATIONS["Q8_0"][1], "importance": True, "options": {}}
    job |= {"layers": _core.weight_types()[kind][0], "out": str(path)}
    script = Path(__file__).resolve().parents[1] / "support" / "llama_cpp_quantize.py"
    command = [llama_cpp_python, str(script), str(tmp_path / "types.json")]
    subprocess.run(command, input=json.dumps([job]), text=True, check=True, capture_output=True)
    types = {tensor["type"] for tensor in _core.gguf_info(str(path))["tensors"] if "blk." in tensor["name"]}
    assert types == {kind, "f32"}
    prompt = [int(t) for t in np.random.default_rng(3).integers(3, 320, 40)]
    [(ids, logits)] = theirs(llama_cpp_python, [path], prompt, tmp_path)

    def own(file: Path, activations: str) -> np.ndarray:
        options: dict[str, Any] = {"type_k": "f32", "type_v": "f32", "logits_all": True, "verbose": False}
        with Llama(str(file), n_ctx=len(prompt) + N, activations=activations, **options) as model:
            model.eval(prompt + ids[:-1])
            return np.array(model.scores[len(prompt) - 1 : model.n_tokens])

    [decoded] = quantize(path, tmp_path / "d.gguf", "F32", QuantizeOptions(allow_requantize=True, quiet=True))
    exact = own(decoded, "f32")
    assert relative_error(own(path, "f32"), exact) < 1e-4
    ours8, peer = (float(np.linalg.norm(got - exact) / np.linalg.norm(exact)) for got in (own(path, "q8_0"), logits))
    assert peer < 0.3 and ours8 < 1.1 * peer


ENCODED = [kind for kind in _core.weight_types() if kind not in (*FLOATS, *READ_ONLY)]


@pytest.fixture(scope="session")
def peer_encode(llama_cpp_python: str) -> Any:
    """llama.cpp's ggml_quantize_chunk."""
    find = "import importlib.util; print(importlib.util.find_spec('llama_cpp').origin)"
    origin = subprocess.run([llama_cpp_python, "-c", find], capture_output=True, text=True, check=True).stdout.strip()
    library = ctypes.CDLL(str(Path(origin).parent / "lib" / "libggml-base.so"))
    encode = library.ggml_quantize_chunk
    encode.restype = ctypes.c_size_t
    encode.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    return encode


def error_of(x: np.ndarray, kind: str, encoded: np.ndarray) -> float:
    """Squared error by the squares of the values."""
    signal, error = _core.distortion(x.reshape(-1).view(np.uint8), "f32", encoded, kind, x.shape[1])
    return error / signal


@pytest.mark.parametrize("kind", ENCODED)
def test_errors_of_the_encoders(kind: str, peer_encode: Any, demo_model: str) -> None:
    """Of a layer's weights, and of normal values; and by an importance matrix, weighted by it."""
    data = np.memmap(demo_model, np.uint8, "r")
    rows = []
    for tensor in _core.gguf_info(demo_model)["tensors"]:
        if "blk.3." in tensor["name"] and len(tensor["shape"]) == 2:
            raw = np.ascontiguousarray(data[tensor["offset"] : tensor["offset"] + tensor["bytes"]])
            rows.append(_core.decode_rows(tensor["type"], raw, int(np.prod(tensor["shape"]))))
    weights = np.concatenate(rows)
    weights = np.ascontiguousarray(weights[: weights.size // 2048 * 2048].reshape(-1, 2048))
    for x in (weights, np.random.default_rng(1).standard_normal((256, 2048)).astype(np.float32)):
        own = _core.requantize(x.reshape(-1).view(np.uint8), "f32", kind, 2048)
        number, values, size = _core.weight_types()[kind]
        peer = np.zeros(x.size // values * size, np.uint8)
        peer_encode(number, x.ctypes.data, peer.ctypes.data, 0, *x.shape, None)
        assert error_of(x, kind, own) <= error_of(x, kind, peer) * 1.0001
        importance = np.exp(1.5 * np.random.default_rng(2).standard_normal(x.shape[1])).astype(np.float32)
        own = _core.requantize(x.reshape(-1).view(np.uint8), "f32", kind, 2048, importance=importance)
        peer_encode(number, x.ctypes.data, peer.ctypes.data, 0, *x.shape, importance.ctypes.data)
        errors = [
            (importance * (x - _core.decode_rows(kind, data, x.size).reshape(x.shape)) ** 2).mean()
            for data in (own, peer)
        ]
        assert errors[0] <= errors[1] * 1.0001
