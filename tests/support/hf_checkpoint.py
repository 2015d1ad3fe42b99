"""Writes checkpoints as Hugging Face and Mistral store them, with random weights, for the converter's tests."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from support.tiny_model import CHAT_TEMPLATE, MERGES, SPECIALS, byte_alphabet

STORED = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


@dataclass
class HfModel:
    """What to write. The default is a grouped-query Llama in f32 with 320 tokens."""

    n_layers: int = 2
    n_embd: int = 64
    n_heads: int = 4
    n_kv_heads: int = 2
    head_dim: int | None = None
    n_ff: int = 96
    n_vocab: int = 320
    dtype: str = "F32"
    tied: bool = False
    biases: bool = False
    n_experts: int = 0  # Mixtral's
    architecture: str = "LlamaForCausalLM"
    config: dict[str, Any] = field(default_factory=dict)  # further keys of config.json
    shards: int = 1
    seed: int = 0

    @property
    def d(self) -> int:
        return self.head_dim or self.n_embd // self.n_heads


def as_bf16(x: np.ndarray) -> np.ndarray:
    """The upper halves, rounded to nearest even."""
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_stored(x: np.ndarray) -> np.ndarray:
    """The values as float32."""
    return (x.astype(np.uint32) << 16).view(np.float32) if x.dtype == np.uint16 else x.astype(np.float32)


def write_safetensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """uint16 arrays are bf16."""
    names = {np.dtype(kind): name for name, kind in STORED.items()}
    table, at = {}, 0
    for name, x in tensors.items():
        table[name] = {"dtype": names[x.dtype], "shape": list(x.shape), "data_offsets": [at, at + x.nbytes]}
        at += x.nbytes
    header = json.dumps(table).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for x in tensors.values():
            file.write(np.ascontiguousarray(x).tobytes())


def hf_tensors(model: HfModel) -> dict[str, np.ndarray]:
    """By Hugging Face's names, as stored."""
    rng = np.random.default_rng(model.seed)

    def stored(x: np.ndarray) -> np.ndarray:
        return as_bf16(x) if model.dtype == "BF16" else x.astype(STORED[model.dtype])

    def weight(*shape: int) -> np.ndarray:
        return stored(rng.standard_normal(shape) * 0.15)

    def gain(n: int) -> np.ndarray:
        return stored(1 + 0.1 * rng.standard_normal(n))

    q, kv, e, f = model.n_heads * model.d, model.n_kv_heads * model.d, model.n_embd, model.n_ff
    out = {"model.embed_tokens.weight": weight(model.n_vocab, e)}
    for i in range(model.n_layers):
        prefix = f"model.layers.{i}."
        shapes = {"self_attn.q_proj": (q, e), "self_attn.k_proj": (kv, e), "self_attn.v_proj": (kv, e)}
        shapes |= {"self_attn.o_proj": (e, q)}
        if model.n_experts == 0:
            shapes |= {"mlp.gate_proj": (f, e), "mlp.up_proj": (f, e), "mlp.down_proj": (e, f)}
        else:
            moe = "block_sparse_moe."
            shapes[f"{moe}gate"] = (model.n_experts, e)
            for x in range(model.n_experts):
                shapes |= {f"{moe}experts.{x}.w{w}": (e, f) if w == 2 else (f, e) for w in (1, 2, 3)}
        for name, shape in shapes.items():
            out[f"{prefix}{name}.weight"] = weight(*shape)
            qkv = name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
            if model.biases or (qkv and model.architecture == "Qwen2ForCausalLM"):
                out[f"{prefix}{name}.bias"] = weight(shape[0])
        if model.architecture == "Qwen3ForCausalLM":
            out[f"{prefix}self_attn.q_norm.weight"] = gain(model.d)
            out[f"{prefix}self_attn.k_norm.weight"] = gain(model.d)
        out[f"{prefix}input_layernorm.weight"] = gain(e)
        out[f"{prefix}post_attention_layernorm.weight"] = gain(e)
    out["model.norm.weight"] = gain(e)
    if not model.tied:
        out["lm_head.weight"] = weight(model.n_vocab, e)
    return out


def hf_config(model: HfModel) -> dict[str, Any]:
    config: dict[str, Any] = {
        "architectures": [model.architecture],
        "hidden_size": model.n_embd,
        "intermediate_size": model.n_ff,
        "num_hidden_layers": model.n_layers,
        "num_attention_heads": model.n_heads,
        "num_key_value_heads": model.n_kv_heads,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": model.tied,
        "vocab_size": model.n_vocab,
        "bos_token_id": 0,
        "eos_token_id": 2,
    }
    if model.head_dim or model.architecture in ("Qwen3ForCausalLM", "Ministral3ForCausalLM"):
        config["head_dim"] = model.d
    if model.n_experts:
        config["num_local_experts"] = model.n_experts
    return config | model.config


def byte_level_tokenizer(n_vocab: int) -> dict[str, Any]:
    """A tokenizer.json that splits like gpt-2: the specials of tiny_model, bytes, a few merges, fillers."""
    texts = [*byte_alphabet(), *(merge.replace(" ", "") for merge in MERGES)]
    vocab = {text: len(SPECIALS) + i for i, text in enumerate(texts)}
    for i in range(len(SPECIALS) + len(texts), n_vocab):
        vocab[f"filler{i}"] = i
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "added_tokens": [
            {"id": i, "content": text, "special": True, "lstrip": False, "rstrip": False}
            for i, text in enumerate(SPECIALS)
        ],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "model": {"type": "BPE", "vocab": vocab, "merges": MERGES, "byte_fallback": False, "ignore_merges": False},
    }


def write_hf(folder: Path, model: HfModel | None = None, **changes: Any) -> Path:
    """Writes the folder; `changes` are fields of HfModel. Returns it."""
    model = model or HfModel(**changes)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = hf_tensors(model)
    if model.shards == 1:
        write_safetensors(folder / "model.safetensors", tensors)
    else:
        places = {}
        for part in range(model.shards):
            name = f"model-{part + 1:05d}-of-{model.shards:05d}.safetensors"
            chosen = {key: x for i, (key, x) in enumerate(tensors.items()) if i % model.shards == part}
            write_safetensors(folder / name, chosen)
            places |= dict.fromkeys(chosen, name)
        write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": places})
    write_json(folder / "config.json", hf_config(model))
    write_json(folder / "tokenizer.json", byte_level_tokenizer(model.n_vocab))
    write_json(
        folder / "tokenizer_config.json",
        {"bos_token": SPECIALS[0], "eos_token": {"content": SPECIALS[2]}, "chat_template": CHAT_TEMPLATE},
    )
    return folder


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def edit_json(path: Path, **changes: Any) -> None:
    """Sets keys of an object in a file; a value of `...` takes the key out."""
    value = json.loads(path.read_text(encoding="utf-8"))
    for key, new in changes.items():
        value.pop(key, None)
        if new is not ...:
            value[key] = new
    write_json(path, value)


MISTRAL_NAMES = {
    "model.embed_tokens": "tok_embeddings",
    "model.norm": "norm",
    "lm_head": "output",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3",
    "mlp.down_proj": "feed_forward.w2",
}


def mistral_tensors(tensors: dict[str, np.ndarray], model: HfModel) -> dict[str, np.ndarray]:
    """The same model as Mistral stores it: other names, the pairs of RoPE side by side."""
    out = {}
    for name, x in tensors.items():
        new = name.removeprefix("model.") if ".layers." in name else name
        for old, mistral in MISTRAL_NAMES.items():
            new = new.replace(old, mistral)
        if "q_proj" in name or "k_proj" in name:
            pairs = x.reshape(-1, 2, model.d // 2, *x.shape[1:])
            x = pairs.swapaxes(1, 2).reshape(x.shape)
        out[new] = x
    return out


def write_mistral(folder: Path, model: HfModel, params: dict[str, Any], words: list[bytes]) -> Path:
    """A folder in Mistral's own form: params.json, consolidated.safetensors and a tekken.json of these words."""
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / "consolidated.safetensors", mistral_tensors(hf_tensors(model), model))
    write_json(folder / "params.json", params)
    write_tekken(folder / "tekken.json", words, model.n_vocab - len(words))
    return folder


def write_tekken(path: Path, words: list[bytes], n_special: int, pattern: str | None = None) -> None:
    """words: the 256 bytes, then longer ones, by rank."""
    from spectralkv.convert.pretokenizers import TEKKEN

    named = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    write_json(
        path,
        {
            "config": {
                "pattern": pattern or TEKKEN,
                "num_vocab_tokens": len(words),
                "default_vocab_size": len(words) + n_special,
                "default_num_special_tokens": n_special,
                "version": "v3",
            },
            "vocab": [
                {"rank": i, "token_bytes": base64.b64encode(word).decode(), "token_str": None}
                for i, word in enumerate(words)
            ],
            "special_tokens": [{"rank": i, "token_str": text, "is_control": True} for i, text in enumerate(named)],
        },
    )
