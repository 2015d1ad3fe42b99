"""Checkpoints and GGUF files with changed values and bytes: an error with a file's name, or a file that can be read."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.hf_checkpoint import HfModel, write_hf, write_json, write_mistral

from spectralkv import _core
from spectralkv.convert import ConvertError, ConvertOptions, convert
from spectralkv.quantize import QuantizeOptions, quantize

OPTIONS = ConvertOptions(outtype="f32", force=True, quiet=True, n_threads=1)
BAD: list[Any] = [None, True, -1, 0, 1, 0.5, 1e308, float("nan"), float("inf"), 10**30, 2**31, 2**40, "x", "", "\ud800"]
BAD += [[], {}, [None], [[]], [{}], [1, 2], ["a"], {"a": 1}, {"type": []}]
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 32, "beta_slow": 1}
YARN |= {"attention_factor": 1.2, "mscale": 1.0, "mscale_all_dim": 1.0, "truncate": True}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 64}
GENERATION = {"eos_token_id": [2, 0], "bos_token_id": 1, "temperature": 0.6, "top_k": 5, "top_p": 0.9}
SETTINGS = {"bos_token": "<|im_start|>", "eos_token": {"content": "<|im_end|>"}, "add_bos_token": True}
SETTINGS |= {"chat_template": [{"name": "default", "template": "x"}], "tokenizer_class": "LlamaTokenizer"}
PARAMS = {
    "dim": 64,
    "n_layers": 2,
    "hidden_dim": 96,
    "n_heads": 4,
    "n_kv_heads": 2,
    "norm_eps": 1e-5,
    "rope_theta": 1e4,
}
PARAMS |= {"vocab_size": 320, "sliding_window": [None, 32], "max_seq_len": 512}
PARAMS |= {"yarn": {"factor": 4.0, "original_max_position_embeddings": 64, "beta": 32, "alpha": 1, "apply_scale": True}}


def fallback_tokenizer() -> dict[str, Any]:
    """A tokenizer.json with byte fallback."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "a", "b", "c", "ab", "abc"]
    merges = ["a b", "ab c", "b c"]
    tokens += ["bc", *(f"filler{i}" for i in range(320 - len(tokens) - 1))]
    replaces = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    template = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    return {
        "added_tokens": [{"id": i, "content": tokens[i], "special": True} for i in range(3)],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, replaces]},
        "pre_tokenizer": None,
        "post_processor": {"type": "TemplateProcessing", "single": template},
        "model": {
            "type": "BPE",
            "vocab": {text: i for i, text in enumerate(tokens)},
            "merges": merges,
            "unk_token": "<unk>",
            "byte_fallback": True,
            "ignore_merges": False,
        },
    }


def write_case(folder: Path, name: str) -> Path:
    """A good folder of the kind that has the file."""
    if name in ("params.json", "tekken.json"):
        return write_mistral(folder, HfModel(), PARAMS, [bytes([i]) for i in range(256)] + [b"he"])
    rope = {"llama3.json": {"rope_parameters": LLAMA3}, "yarn.json": {"rope_scaling": YARN}}.get(name, {})
    window = {"sliding_window": 40, "layer_types": ["sliding_attention", "full_attention"], "head_dim": 16}
    write_hf(folder, HfModel(architecture="MistralForCausalLM", config={**rope, **window}, shards=2))
    if name == "fallback.json":
        write_json(folder / "tokenizer.json", fallback_tokenizer())
        write_json(folder / "tokenizer_config.json", {"bos_token": "<s>"})
    if name == "tokenizer_config.json":
        write_json(folder / name, SETTINGS)
    if name == "generation_config.json":
        write_json(folder / name, GENERATION)
    return folder


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of the parts of a document; of long lists and objects the first ones."""
    yield place
    if isinstance(value, (dict, list)) and len(place) < 5:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        for key in list(keys)[: 40 if not place else 6]:
            yield from places(value[key], (*place, key))


def with_change(document: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    document = copy.deepcopy(document)
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = new
    return document


def check_conversion(folder: Path, out: Path, change: object) -> None:
    """A file that can be read, or an error of one line that names the folder."""
    words = f"in {folder}"
    try:
        convert(folder, out, OPTIONS)
    except ConvertError as error:
        words = str(error)
    else:
        _core.gguf_info(str(out))
    assert str(folder) in words and "\n" not in words, change


FILES = {name: name for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "params.json")}
FILES |= {"tekken.json": "tekken.json", "model.safetensors.index.json": "model.safetensors.index.json"}
FILES |= {"llama3.json": "config.json", "yarn.json": "config.json", "fallback.json": "tokenizer.json"}


@pytest.mark.parametrize("case", FILES)
def test_changed_values(case: str, tmp_path: Path) -> None:
    folder, out = write_case(tmp_path / "m", case), tmp_path / "out.gguf"
    convert(folder, out, OPTIONS)
    path = folder / FILES[case]
    document = json.loads(path.read_text(encoding="utf-8"))
    changes = [(place, new) for place in places(document) for new in BAD]
    for place, new in random.Random(0).sample(changes, min(len(changes), 200)):
        write_json(path, with_change(document, place, new))
        check_conversion(folder, out, (place, new))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "out.gguf"]


GRANITE = {"attention_multiplier": 0.1, "embedding_multiplier": 6.0, "residual_multiplier": 0.25, "logits_scaling": 4.0}
MODELS = {
    "qwen3": HfModel(
        architecture="Qwen3ForCausalLM",
        config={"use_sliding_window": True, "sliding_window": 40, "max_window_layers": 1},
    ),
    "granite": HfModel(architecture="GraniteForCausalLM", config=GRANITE),
    "smollm3": HfModel(architecture="SmolLM3ForCausalLM", config={"no_rope_layers": [1, 1]}),
    "mixtral": HfModel(architecture="MixtralForCausalLM", n_experts=3, config={"num_experts_per_tok": 2}),
    "mistral3": HfModel(
        architecture="Ministral3ForCausalLM",
        config={"rope_parameters": YARN | {"rope_theta": 1e4, "llama_4_scaling_beta": 0.1}},
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_changed_configurations(name: str, tmp_path: Path) -> None:
    folder, out = write_hf(tmp_path / "m", MODELS[name]), tmp_path / "out.gguf"
    convert(folder, out, OPTIONS)
    path = folder / "config.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    own = {*MODELS[name].config, "num_local_experts", "head_dim"}
    changes = [(place, new) for place in places(document) if set(place) & own for new in BAD]
    for place, new in random.Random(3).sample(changes, min(len(changes), 80)):
        write_json(path, with_change(document, place, new))
        check_conversion(folder, out, (place, new))


def test_changed_tables_of_tensors(tmp_path: Path) -> None:
    folder, out = write_case(tmp_path / "m", "config.json"), tmp_path / "out.gguf"
    path = folder / "model-00001-of-00002.safetensors"
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    table = json.loads(whole[8 : 8 + length])
    changes = [(place, new) for place in places(table) for new in BAD]
    for place, new in random.Random(1).sample(changes, 300):
        header = json.dumps(with_change(table, place, new)).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + whole[8 + length :])
        check_conversion(folder, out, (place, new))


def test_changed_bytes_of_a_gguf_file(tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "m", n_layers=1, n_vocab=270, n_embd=32, n_ff=32, n_heads=2, n_kv_heads=1)
    [source] = convert(folder, tmp_path / "source.gguf", OPTIONS)
    whole = source.read_bytes()
    head = _core.gguf_info(str(source))["tensors"][0]["offset"]
    options = QuantizeOptions(allow_requantize=True, force=True, quiet=True, n_threads=1)
    rng = random.Random(2)
    taken = 0
    for _ in range(600):
        changed = bytearray(whole)
        for _ in range(rng.choice([1, 1, 2, 5])):
            at = rng.randrange(min(head, 1600) if rng.random() < 0.5 else head)
            changed[at] = rng.choice([0, 1, 255, rng.randrange(256), changed[at] ^ 1 << rng.randrange(8)])
        source.write_bytes(changed[: rng.randrange(len(changed))] if rng.random() < 0.1 else changed)
        words = "source.gguf"
        try:
            [path] = quantize(source, tmp_path / "out.gguf", rng.choice(["Q8_0", "Q4_K_M", "F16"]), options)
        except (ValueError, OSError) as error:
            words = "" if isinstance(error, UnicodeError) else str(error)
        else:
            _core.gguf_info(str(path))
            taken += 1
        assert "source.gguf" in words and "\n" not in words, words
    assert taken > 50  # changed text of tokens, for one
