"""Writes tiny GGUF files with random weights and a byte-level BPE vocabulary."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, RopeScalingType
from gguf.quants import quantize

WEIGHT_TYPES = {
    "f32": GGMLQuantizationType.F32,
    "f16": GGMLQuantizationType.F16,
    "bf16": GGMLQuantizationType.BF16,
    "q8_0": GGMLQuantizationType.Q8_0,
    "q4_0": GGMLQuantizationType.Q4_0,
    "q4_1": GGMLQuantizationType.Q4_1,
}
NORMAL, CONTROL = 1, 3

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MERGES = ["h e", "l l", "he ll", "hell o", "Ġ t", "Ġt he", "i n", "e r", "Ġ a", "o n"]
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


@dataclass
class TinyModel:
    """What to write. The default is a grouped-query llama with tied embeddings."""

    arch: str = "llama"  # or qwen2: biases on q, k and v; qwen3: norms of q and k; granite, smollm3, mistral3
    n_layers: int = 2
    n_embd: int = 64
    n_heads: int = 4
    n_kv_heads: int | None = 2  # None: the key is left out
    head_dim: int | None = None  # None: n_embd / n_heads, and the keys are left out
    n_ff: int = 96
    n_vocab: int = 320
    context_length: int = 256
    rope_dims: int | None = None
    freq_base: float | None = 10000.0
    rope_scaling: dict[str, Any] | None = None  # {"type": "linear" | "yarn", "factor", "original", "log_multiplier"}
    rope_freqs: bool = False  # the tensor that carries llama3 scaling
    sliding_window: int | None = None
    n_experts: int = 0  # a mixture of experts; n_experts_used of them for a token
    n_experts_used: int = 2
    split_experts: bool = False  # a tensor of each expert, as files before April 2024 have them
    factors: dict[str, float] = field(default_factory=dict)  # granite's and mistral3's: key without the architecture
    tied: bool = True
    biases: bool = False
    weight_type: str = "f32"
    seed: int = 0
    scale: float = 0.15  # standard deviation of the weights
    chat_template: str | None = CHAT_TEMPLATE
    add_bos: bool = False
    pre: str | None = "gpt-2"  # None: the key is left out
    extra: dict[str, Any] = field(default_factory=dict)  # more metadata: str, int, float, bool

    @property
    def d(self) -> int:
        return self.head_dim or self.n_embd // self.n_heads

    @property
    def kv_heads(self) -> int:
        return self.n_kv_heads or self.n_heads

    @property
    def halves(self) -> bool:
        """RoPE turns the halves of a head together, not neighbours."""
        return self.arch in ("qwen2", "qwen3")


def byte_alphabet() -> list[str]:
    """The printable character that byte-level BPE writes for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    names = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
    return [names[b] for b in range(256)]


def vocabulary(n_vocab: int) -> tuple[list[str], list[int]]:
    """Tokens and types: specials, bytes, merges, then fillers that no text reaches."""
    tokens = [*SPECIALS, *byte_alphabet(), *(m.replace(" ", "") for m in MERGES)]
    if n_vocab < len(tokens):
        raise ValueError(f"n_vocab must be at least {len(tokens)}")
    tokens += [f"filler{i}" for i in range(n_vocab - len(tokens))]
    return tokens, [CONTROL] * len(SPECIALS) + [NORMAL] * (n_vocab - len(SPECIALS))


def tensors(model: TinyModel) -> dict[str, np.ndarray]:
    """The weights as float32, [rows, row length], by GGUF name; norms are vectors near one."""
    rng = np.random.default_rng(model.seed)

    def weight(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * model.scale).astype(np.float32)

    def norm(n: int) -> np.ndarray:
        return (1 + 0.1 * rng.standard_normal(n)).astype(np.float32)

    q_width, kv_width = model.n_heads * model.d, model.kv_heads * model.d
    out = {"token_embd.weight": weight(model.n_vocab, model.n_embd)}
    for i in range(model.n_layers):
        shapes = {
            "attn_q": (q_width, model.n_embd),
            "attn_k": (kv_width, model.n_embd),
            "attn_v": (kv_width, model.n_embd),
            "attn_output": (model.n_embd, q_width),
        }
        feed_forward = {
            "ffn_gate": (model.n_ff, model.n_embd),
            "ffn_up": (model.n_ff, model.n_embd),
            "ffn_down": (model.n_embd, model.n_ff),
        }
        if model.n_experts == 0:
            shapes |= feed_forward
        else:
            out[f"blk.{i}.ffn_gate_inp.weight"] = weight(model.n_experts, model.n_embd)
            for name, shape in feed_forward.items():
                experts = weight(model.n_experts, *shape)
                if model.split_experts:
                    out |= {f"blk.{i}.{name}.{e}.weight": experts[e] for e in range(model.n_experts)}
                else:
                    out[f"blk.{i}.{name}_exps.weight"] = experts
        for name, shape in shapes.items():
            out[f"blk.{i}.{name}.weight"] = weight(*shape)
            if model.biases or (model.arch == "qwen2" and name in ("attn_q", "attn_k", "attn_v")):
                out[f"blk.{i}.{name}.bias"] = weight(shape[0])
        if model.arch == "qwen3":
            out[f"blk.{i}.attn_q_norm.weight"] = norm(model.d)
            out[f"blk.{i}.attn_k_norm.weight"] = norm(model.d)
        out[f"blk.{i}.attn_norm.weight"] = norm(model.n_embd)
        out[f"blk.{i}.ffn_norm.weight"] = norm(model.n_embd)
    out["output_norm.weight"] = norm(model.n_embd)
    if not model.tied:
        out["output.weight"] = weight(model.n_vocab, model.n_embd)
    if model.rope_freqs:
        dims = model.rope_dims or model.d
        out["rope_freqs.weight"] = np.linspace(1, 8, dims // 2, dtype=np.float32)
    return out


def write_tiny_model(
    path: str | Path, model: TinyModel | None = None, weights: dict[str, np.ndarray] | None = None, **changes: Any
) -> Path:
    """Writes the GGUF file; `changes` are fields of TinyModel, `weights` are other ones than its own. Returns the
    path."""
    m = model or TinyModel(**changes)
    writer = GGUFWriter(str(path), m.arch)
    write_metadata(writer, m)
    wanted = WEIGHT_TYPES[m.weight_type]
    for name, values in (tensors(m) if weights is None else weights).items():
        is_matrix = values.ndim >= 2 and "ffn_gate_inp" not in name
        fits = wanted in (GGMLQuantizationType.F16, GGMLQuantizationType.BF16) or values.shape[-1] % 32 == 0
        if is_matrix and wanted != GGMLQuantizationType.F32 and fits:
            if wanted == GGMLQuantizationType.F16:
                writer.add_tensor(name, values.astype(np.float16))
            else:
                writer.add_tensor(name, quantize(values, wanted), raw_dtype=wanted)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Path(path)


def write_metadata(writer: GGUFWriter, m: TinyModel) -> None:
    writer.add_name("tiny")
    writer.add_context_length(m.context_length)
    writer.add_embedding_length(m.n_embd)
    writer.add_block_count(m.n_layers)
    writer.add_feed_forward_length(m.n_ff)
    writer.add_head_count(m.n_heads)
    if m.n_kv_heads is not None:
        writer.add_head_count_kv(m.n_kv_heads)
    if m.head_dim is not None:
        writer.add_key_length(m.head_dim)
        writer.add_value_length(m.head_dim)
    writer.add_layer_norm_rms_eps(1e-5)
    if m.rope_dims or not m.halves:  # files of Qwen have none
        writer.add_rope_dimension_count(m.rope_dims or m.d)
    if m.freq_base is not None:
        writer.add_rope_freq_base(m.freq_base)
    if m.rope_scaling:
        writer.add_rope_scaling_type(RopeScalingType(m.rope_scaling["type"]))
        writer.add_rope_scaling_factor(m.rope_scaling["factor"])
        if "original" in m.rope_scaling:
            writer.add_rope_scaling_orig_ctx_len(m.rope_scaling["original"])
        if "log_multiplier" in m.rope_scaling:
            writer.add_rope_scaling_yarn_log_mul(m.rope_scaling["log_multiplier"])
    if m.n_experts:
        writer.add_expert_count(m.n_experts)
        writer.add_expert_used_count(m.n_experts_used)
    for key, factor in m.factors.items():
        writer.add_float32(f"{m.arch}.{key}", factor)
    if m.sliding_window is not None:
        writer.add_sliding_window(m.sliding_window)
    names, types = vocabulary(m.n_vocab)
    writer.add_vocab_size(m.n_vocab)
    writer.add_tokenizer_model("gpt2")
    if m.pre is not None:
        writer.add_tokenizer_pre(m.pre)
    writer.add_token_list(names)
    writer.add_token_types(types)
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(m.add_bos)
    if m.chat_template is not None:
        writer.add_chat_template(m.chat_template)
    for key, value in m.extra.items():
        add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
        add[type(value)](key, value)
