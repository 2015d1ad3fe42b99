"""Converted checkpoints give the logits of the original: every shape against a numpy twin, and stored references."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference import hf_llama, llama
from support.hf_checkpoint import (
    HfModel,
    edit_json,
    from_stored,
    hf_config,
    hf_tensors,
    write_hf,
    write_json,
    write_mistral,
    write_safetensors,
)
from support.tiny_model import TinyModel

from spectralkv import Llama, _core
from spectralkv.convert import ConvertError, ConvertOptions, convert
from spectralkv.convert.families import FAMILIES
from spectralkv.convert.safetensors import SafetensorsFile
from spectralkv.quantize import QuantizeOptions, quantize

IDS = [int(t) for t in np.random.default_rng(5).integers(0, 320, 300)]
QUIET = ConvertOptions(outtype="f32", quiet=True)

QWEN2 = {"architecture": "Qwen2ForCausalLM"}
QWEN3 = {"architecture": "Qwen3ForCausalLM"}
GRANITE = {
    "architecture": "GraniteForCausalLM",
    "config": {
        "attention_multiplier": 0.1,
        "embedding_multiplier": 6.0,
        "residual_multiplier": 0.25,
        "logits_scaling": 4.0,
    },
}
MIXTRAL = {"architecture": "MixtralForCausalLM", "n_experts": 4}
MINISTRAL_ROPE = {
    "rope_type": "yarn",
    "rope_theta": 1e5,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.1,
}
MISTRAL3 = {"architecture": "Ministral3ForCausalLM", "config": {"rope_parameters": MINISTRAL_ROPE}}

VARIANTS: dict[str, dict[str, Any]] = {
    "grouped": {},
    "multi_head": {"n_kv_heads": 4},
    "one_kv_head": {"n_heads": 8, "n_kv_heads": 1},
    "head_dim_80": {"head_dim": 80},
    "tied": {"tied": True},
    "biases": {"biases": True},
    "bf16": {"dtype": "BF16"},
    "f16_shards": {"dtype": "F16", "shards": 3},
    "large_theta": {"config": {"rope_theta": 5e5}},
    "linear": {"config": {"rope_scaling": {"type": "linear", "factor": 4.0}}},
    "new_form": {"config": {"rope_theta": ..., "rope_parameters": {"rope_type": "default", "rope_theta": 7e4}}},
    "llama3": {
        "head_dim": 64,
        "config": {
            "rope_theta": 5e5,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        },
    },
    "yarn": {"config": {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}}},
    "yarn_all_keys": {
        "config": {
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 1e5,
                "factor": 8.0,
                "original_max_position_embeddings": 48,
                "beta_fast": 16.0,
                "beta_slow": 2.0,
                "attention_factor": 1.3,
            }
        }
    },
    "sliding_window": {"architecture": "MistralForCausalLM", "config": {"sliding_window": 96}},
    "window_in_some_layers": {
        "architecture": "MinistralForCausalLM",
        "n_layers": 3,
        "config": {
            "sliding_window": 40,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    },
    "no_window_for_llama": {"config": {"sliding_window": 20}},
    "qwen2": QWEN2,
    "qwen2_tied": QWEN2 | {"tied": True, "n_heads": 8, "n_kv_heads": 1},
    "qwen2_shards": QWEN2 | {"dtype": "BF16", "shards": 2},
    "qwen2_yarn": QWEN2
    | {"config": {"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}}},
    "qwen2_window_off": QWEN2 | {"config": {"use_sliding_window": False, "sliding_window": 20, "max_window_layers": 1}},
    "qwen2_window": QWEN2
    | {"n_layers": 3, "config": {"use_sliding_window": True, "sliding_window": 40, "max_window_layers": 1}},
    "qwen2_window_by_layer_types": QWEN2
    | {
        "config": {
            "use_sliding_window": True,
            "sliding_window": 40,
            "layer_types": ["sliding_attention", "full_attention"],
        }
    },
    "qwen3": QWEN3,
    "qwen3_tied_wide_heads": QWEN3 | {"tied": True, "head_dim": 32, "n_kv_heads": 1, "dtype": "BF16"},
    "qwen3_window": QWEN3
    | {"n_layers": 3, "config": {"use_sliding_window": True, "sliding_window": 40, "max_window_layers": 1}},
    "granite": GRANITE,
    "granite_tied": GRANITE | {"tied": True, "biases": True, "head_dim": 24, "shards": 2},
    "smollm3": {"architecture": "SmolLM3ForCausalLM", "n_layers": 5, "config": {"no_rope_layers": [1, 1, 1, 0, 1]}},
    "smollm3_by_interval": {
        "architecture": "SmolLM3ForCausalLM",
        "n_layers": 4,
        "tied": True,
        "config": {"no_rope_layer_interval": 4},
    },
    "mixtral": MIXTRAL,
    "mixtral_bf16_window": MIXTRAL
    | {"dtype": "BF16", "shards": 3, "config": {"num_experts_per_tok": 1, "sliding_window": 96}},
    "mistral3": MISTRAL3,
    "mistral3_mscale": MISTRAL3
    | {"config": {"rope_parameters": MINISTRAL_ROPE | {"mscale": 1.0, "mscale_all_dim": 0.5}, "sliding_window": None}},
}


def logits(path: Path | str, ids: list[int] = IDS, **options: Any) -> np.ndarray:
    options |= {"n_ctx": 512, "logits_all": True, "type_k": "f32", "type_v": "f32", "verbose": False}
    with Llama(str(path), **options) as model:
        model.eval(ids)
        return np.array(model.scores)


def relative_error(got: np.ndarray, expected: np.ndarray) -> float:
    return float((np.linalg.norm(got - expected, axis=1) / np.linalg.norm(expected, axis=1)).max())


@pytest.mark.parametrize("name", VARIANTS)
def test_equals_the_numpy_twin(name: str, tmp_path: Path) -> None:
    model = HfModel(**VARIANTS[name])
    model.config = {key: value for key, value in model.config.items() if value is not ...}
    folder = write_hf(tmp_path / "model", model)
    [path] = convert(folder, tmp_path / "out.gguf", QUIET)
    weights = {key: from_stored(x) for key, x in hf_tensors(model).items()}
    expected = hf_llama.forward(hf_config(model), weights, IDS)
    got = logits(path)
    assert relative_error(got, expected) < 1e-4
    assert np.array_equal(got.argmax(1), expected.argmax(1))


def test_every_family_has_a_variant() -> None:
    tried = {variant.get("architecture", HfModel().architecture) for variant in VARIANTS.values()}
    assert tried == {name for family in FAMILIES if not family.multimodal for name in family.checkpoints}


@pytest.mark.parametrize("prefix", ["language_model.model.", "model.language_model."])
@pytest.mark.parametrize("name", [name for family in FAMILIES if family.multimodal for name in family.checkpoints])
def test_the_text_model_of_a_multimodal_checkpoint(name: str, prefix: str, tmp_path: Path) -> None:
    """Is converted as if it stood alone; of what reads images only the shape may be unknown."""
    wrapper, _, kind = name.partition(" of ")
    model = HfModel(**(MISTRAL3 if kind == "ministral3" else {"architecture": "MistralForCausalLM"}))
    [alone] = convert(write_hf(tmp_path / "alone", model), tmp_path / "alone.gguf", QUIET)
    folder = write_hf(tmp_path / "model", model)
    text = hf_config(model) | {"model_type": kind}
    del text["architectures"]
    outer = {"architectures": [wrapper], "text_config": text, "vision_config": {"model_type": "pixtral"}}
    write_json(folder / "config.json", outer)
    tensors = {key.replace("model.", prefix, 1): x for key, x in hf_tensors(model).items()}
    if prefix.startswith("language_model."):
        tensors["language_model.lm_head.weight"] = tensors.pop("lm_head.weight")
    images = {"vision_tower.patch_conv.weight": np.zeros((4, 3, 2, 2), np.float32)}
    images["model.multi_modal_projector.linear_1.weight"] = np.zeros((4, 4), np.float32)
    write_safetensors(folder / "model.safetensors", tensors | images)
    [path] = convert(folder, tmp_path / "out.gguf", QUIET)
    assert np.array_equal(logits(path), logits(alone))
    architecture = {"ministral3": "mistral3", "mistral": "llama"}[kind]
    assert _core.gguf_info(str(path))["metadata"]["general.architecture"] == architecture
    tensors["language_model.more"] = np.zeros(4, np.float32)
    write_safetensors(folder / "model.safetensors", tensors | images)
    with pytest.raises(ConvertError, match="tensor 'language_model.more' is not part of a"):
        convert(folder, tmp_path / "other.gguf", QUIET)
    write_json(folder / "config.json", outer | {"text_config": text | {"model_type": "whisper"}})
    with pytest.raises(ConvertError, match=f"architecture {wrapper} of whisper is not supported"):
        convert(folder, tmp_path / "other.gguf", QUIET)


def test_smollm3_is_tied_unless_it_says_otherwise(tmp_path: Path) -> None:
    """transformers leaves tie_word_embeddings out of config.json where it is true, SmolLM3's default."""
    folder = write_hf(tmp_path / "model", HfModel(architecture="SmolLM3ForCausalLM", n_layers=4, tied=True))
    [said] = convert(folder, tmp_path / "said.gguf", QUIET)
    edit_json(folder / "config.json", tie_word_embeddings=...)
    [silent] = convert(folder, tmp_path / "silent.gguf", QUIET)
    assert said.read_bytes() == silent.read_bytes()


def test_the_window_matters(tmp_path: Path) -> None:
    """300 tokens of context in a window of 96: without it the logits are others."""
    model = HfModel(**VARIANTS["sliding_window"])
    weights = {key: from_stored(x) for key, x in hf_tensors(model).items()}
    config = hf_config(model)
    with_window, without = (hf_llama.forward(config | {"sliding_window": w}, weights, IDS) for w in (96, None))
    assert np.abs(with_window[:96] - without[:96]).max() < 1e-9
    assert relative_error(with_window[150:], without[150:]) > 0.01


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_K_M"])
def test_qwen2_quantised(kind: str, tmp_path: Path) -> None:
    """Against the twin on what the file's tensors decode to, with rows as the file has them."""
    from gguf import GGUFReader
    from gguf.quants import dequantize

    model = HfModel(n_embd=256, n_ff=256, **QWEN2)
    outtype = "q8_0" if kind == "Q8_0" else "f32"
    [path] = convert(write_hf(tmp_path / "m", model), tmp_path / "m.gguf", ConvertOptions(outtype=outtype, quiet=True))
    if kind != "Q8_0":
        [path] = quantize(path, tmp_path / "q.gguf", kind, QuantizeOptions(quiet=True))
    weights = {t.name: dequantize(t.data, t.tensor_type) for t in GGUFReader(path).tensors}
    kinds = {t["name"]: t["type"] for t in _core.gguf_info(str(path))["tensors"]}
    assert kinds["blk.0.attn_k.weight"] == ("q8_0" if kind == "Q8_0" else "q4_k")
    assert kinds["blk.0.attn_k.bias"] == "f32"
    twin = TinyModel(arch="qwen2", n_embd=256, n_ff=256, tied=False)
    expected = llama.forward(twin, weights, IDS)
    assert relative_error(logits(path, activations="f32"), expected) < 1e-4


def test_qwen2_is_written_as_llama_cpp_has_it(tmp_path: Path) -> None:
    """Rows as the checkpoint has them, biases in f32, no BOS in front though there is one."""
    model = HfModel(dtype="BF16", **QWEN2)
    folder = write_hf(tmp_path / "m", model)
    write_json(folder / "generation_config.json", {"eos_token_id": [2, 0], "bos_token_id": 0})
    [path] = convert(folder, tmp_path / "m.gguf", ConvertOptions(quiet=True))
    info = _core.gguf_info(str(path))
    metadata = info["metadata"]
    assert metadata["general.architecture"] == "qwen2"
    assert metadata["qwen2.attention.head_count_kv"] == 2
    assert not [key for key in metadata if key.startswith("llama.")]
    assert metadata["tokenizer.ggml.add_bos_token"] is False
    assert metadata["tokenizer.ggml.eos_token_ids"] == [2, 0]
    tensors = {t["name"]: t for t in info["tensors"]}
    data = path.read_bytes()
    for name, source in {"blk.1.attn_q.weight": "q_proj.weight", "blk.1.attn_k.bias": "k_proj.bias"}.items():
        tensor, stored = tensors[name], hf_tensors(model)[f"model.layers.1.self_attn.{source}"]
        expected = stored if tensor["type"] == "bf16" else from_stored(stored)
        assert tensor["type"] == ("f32" if name.endswith("bias") else "bf16")
        assert data[tensor["offset"] : tensor["offset"] + tensor["bytes"]] == expected.tobytes()


def stored_frequencies(folder: Path, rounded: bool) -> np.ndarray:
    """Of config.json; rounded: through the checkpoint's own type, as a model has them that was cast as a whole."""
    config = json.loads((folder / "config.json").read_text())
    freq, _ = hf_llama.frequencies(config, config["head_dim"])
    if not rounded:
        return freq
    if config["dtype"] == "float16":
        return freq.astype(np.float16).astype(np.float64)
    bits = freq.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32).astype(np.float64)


REFERENCES = ["tiny-llama3", "tiny-llama-tied-spm"]


@pytest.mark.parametrize("name", REFERENCES)
def test_reference_checkpoints(
    name: str, shared_reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stored logits come from a model that was cast to f16 or bf16 together with its RoPE frequencies, which a
    loaded one keeps in f32. So the conversion is compared with the twin, and with the stored logits once its
    frequencies are rounded in the same way."""
    from spectralkv.convert import conversion

    folder = shared_reference / name
    [path] = convert(folder, tmp_path / "own.gguf", QUIET)
    data = np.load(folder / "reference.npz")
    ids = data["ids"].tolist()
    config = json.loads((folder / "config.json").read_text())
    weights = {}
    for file in sorted(folder.glob("*.safetensors")):
        for key, entry in SafetensorsFile(file).tensors.items():
            stored = np.frombuffer(entry.data().tobytes(), np.uint16 if entry.dtype == "BF16" else np.float16)
            weights[key] = from_stored(stored).reshape(entry.shape)
    assert relative_error(logits(path, ids), hf_llama.forward(config, weights, ids)) < 1e-4

    base = config["rope_parameters"]["rope_theta"] ** (-np.arange(0, config["head_dim"], 2) / config["head_dim"])
    factors = (base / stored_frequencies(folder, rounded=True)).astype(np.float32)
    rope_tensor = conversion.OutputTensor("rope_freqs.weight", factors.shape, "f32", lambda: factors.view(np.uint8))
    monkeypatch.setattr(conversion, "_rope_tensor", lambda shape, vocab_only: [rope_tensor])
    [path] = convert(folder, tmp_path / "rounded.gguf", QUIET)
    got = logits(path, ids)
    assert relative_error(got[data["positions"]], data["logits"]) < 1e-4
    assert np.array_equal(got.argmax(1), data["argmax"])


@pytest.mark.parametrize("name", REFERENCES)
def test_reference_tokenizers(name: str, shared_reference: Path, tmp_path: Path) -> None:
    folder = shared_reference / name
    [path] = convert(folder, tmp_path / "m.gguf", QUIET)
    with Llama(str(path), n_ctx=64, verbose=False) as model:
        for case in json.loads((folder / "tokenizer_cases.json").read_text()):
            ids = model.tokenize(case["text"].encode(), add_bos=True, special=True)
            assert ids == case["ids"]
            assert model.detokenize(ids).decode() == case["decoded"]


# Rounding errors of a value near one, uniformly spread: half a unit of 11, 8 and about 6.3 bits over sqrt(3); a pass of
# some ten products and sums over random signs adds up to a few times that.
@pytest.mark.parametrize(("outtype", "most"), [("f16", 2e-3), ("bf16", 1.5e-2), ("q8_0", 7e-2)])
@pytest.mark.parametrize("name", REFERENCES)
def test_smaller_types_lose_what_they_must(
    name: str, outtype: str, most: float, shared_reference: Path, tmp_path: Path
) -> None:
    folder = shared_reference / name
    ids = np.load(folder / "reference.npz")["ids"].tolist()
    paths = [
        convert(folder, tmp_path / f"{kind}.gguf", ConvertOptions(outtype=kind, quiet=True))[0]
        for kind in ("f32", outtype)
    ]
    exact, got = (logits(path, ids) for path in paths)
    error = float(np.sqrt(((got - exact) ** 2).sum() / (exact**2).sum()))
    source = {"tiny-llama3": "bf16", "tiny-llama-tied-spm": "f16"}[name]
    assert error <= (0 if outtype == source else most)
    if outtype == "q8_0":
        assert error > 1e-4  # it was quantised


def test_auto_keeps_the_type_and_all_weights(tmp_path: Path) -> None:
    for dtype, expected in (("BF16", "bf16"), ("F16", "f16"), ("F32", "f32")):
        folder = write_hf(tmp_path / dtype, dtype=dtype)
        [path] = convert(folder, tmp_path / f"{dtype}.gguf", ConvertOptions(quiet=True))
        types = {t["name"]: t["type"] for t in _core.gguf_info(str(path))["tensors"]}
        assert types["blk.0.attn_q.weight"] == expected
        assert types["blk.0.attn_norm.weight"] == "f32"


def test_splits_read_back_as_one(tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "model")
    [whole] = convert(folder, tmp_path / "whole.gguf", QUIET)
    options = ConvertOptions(outtype="f32", split_max_size=100_000, quiet=True)
    parts = convert(folder, tmp_path / "split.gguf", options)
    assert len(parts) > 2
    assert parts[0].name == f"split-00001-of-{len(parts):05d}.gguf"
    assert np.array_equal(logits(parts[0]), logits(whole))
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["model", "whole.gguf", *(p.name for p in parts)])


def test_mistral_form_equals_hugging_faces(tmp_path: Path) -> None:
    model = HfModel(architecture="MistralForCausalLM", config={"sliding_window": 96, "head_dim": 16})
    [hf] = convert(write_hf(tmp_path / "hf", model), tmp_path / "hf.gguf", QUIET)
    params = {"dim": 64, "n_layers": 2, "head_dim": 16, "hidden_dim": 96, "n_heads": 4, "n_kv_heads": 2}
    params |= {"norm_eps": 1e-5, "vocab_size": 320, "rope_theta": 10000.0, "sliding_window": 96, "max_seq_len": 512}
    words = [bytes([i]) for i in range(256)] + [b"he", b"ll", b"hell", b"hello", b" w", b"or"]
    folder = write_mistral(tmp_path / "mistral", model, params, words)
    [own] = convert(folder, tmp_path / "own.gguf", QUIET)
    assert np.array_equal(logits(own), logits(hf))


def test_mistrals_growing_queries_equal_hugging_faces(tmp_path: Path) -> None:
    """Of Ministral 3 in both forms; written with one context for yarn and for the growth."""
    model = HfModel(**MISTRAL3)
    [hf] = convert(write_hf(tmp_path / "hf", model), tmp_path / "hf.gguf", QUIET)
    params: dict[str, Any] = {"dim": 64, "n_layers": 2, "head_dim": 16, "hidden_dim": 96, "n_heads": 4}
    params |= {"n_kv_heads": 2, "norm_eps": 1e-5, "vocab_size": 320, "rope_theta": 1e5, "max_seq_len": 512}
    params["yarn"] = {"factor": 4.0, "original_max_position_embeddings": 64, "beta": 32, "alpha": 1}
    params["yarn"] |= {"apply_scale": False}
    params["llama_4_scaling"] = {"original_max_position_embeddings": 64, "beta": 0.1}
    words = [bytes([i]) for i in range(256)] + [b"he"]
    folder = write_mistral(tmp_path / "mistral", model, params, words)
    [own] = convert(folder, tmp_path / "own.gguf", QUIET)
    assert np.array_equal(logits(own), logits(hf))
    metadata = _core.gguf_info(str(own))["metadata"]
    assert metadata["general.architecture"] == "mistral3"
    assert metadata["mistral3.attention.temperature_scale"] == pytest.approx(0.1)
    params["llama_4_scaling"]["original_max_position_embeddings"] = 32
    write_json(folder / "params.json", params)
    with pytest.raises(ConvertError, match="'llama_4_scaling' has a context of 32, which is not that of 'yarn'"):
        convert(folder, tmp_path / "other.gguf", QUIET)


def test_mistral_windows_of_some_layers_and_yarn(tmp_path: Path) -> None:
    model = HfModel(n_layers=4)
    params = {"dim": 64, "n_layers": 4, "hidden_dim": 96, "n_heads": 4, "n_kv_heads": 2, "norm_eps": 1e-5}
    params |= {"vocab_size": 320, "rope_theta": 1e4, "sliding_window": [None, 32], "max_seq_len": 512}
    params["yarn"] = {"factor": 4.0, "original_max_position_embeddings": 64, "beta": 32, "alpha": 1}
    words = [bytes([i]) for i in range(256)] + [b"he"]
    [path] = convert(write_mistral(tmp_path / "m", model, params, words), tmp_path / "m.gguf", QUIET)
    config = hf_config(model) | {"architectures": ["MistralForCausalLM"], "sliding_window": 32}
    config["layer_types"] = ["full_attention", "sliding_attention"] * 2
    config["rope_scaling"] = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    weights = {key: from_stored(x) for key, x in hf_tensors(model).items()}
    assert relative_error(logits(path), hf_llama.forward(config, weights, IDS)) < 1e-4


def test_what_is_written_beside_the_tensors(tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "Tiny-Llama-1B-Instruct")
    write_json(folder / "generation_config.json", {"eos_token_id": [2, 0], "temperature": 0.6, "top_p": 0.9})
    [path] = convert(folder, tmp_path, QUIET)
    assert path.name.startswith("Tiny-Llama-") and path.name.endswith("-F32.gguf")
    info = _core.gguf_info(str(path))["metadata"]
    assert info["tokenizer.ggml.eos_token_id"] == 2
    assert info["tokenizer.ggml.eos_token_ids"] == [2, 0]
    assert info["tokenizer.chat_template"].startswith("{% for message")
    assert info["general.file_type"] == 0
    assert info["general.name"]
    named = ConvertOptions(outtype="f32", model_name="My Model", vocab_only=True, quiet=True)
    [vocabulary] = convert(folder, tmp_path / "v.gguf", named)
    info = _core.gguf_info(str(vocabulary))
    assert info["metadata"]["general.name"] == "My Model"
    assert info["tensors"] == []
