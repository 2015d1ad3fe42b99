"""The tiny model of tiny_model.py as a Llama of the transformers library."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from support.tiny_model import TinyModel, tensors
from transformers import LlamaConfig, LlamaForCausalLM


def halves(d: int) -> list[int]:
    """For each dimension of a head as transformers orders it (RoPE pairs are i and i + d/2), GGUF's (2i and 2i + 1)."""
    return [2 * i for i in range(d // 2)] + [2 * i + 1 for i in range(d // 2)]


def hf_llama(m: TinyModel) -> Any:
    """The model in float32, in evaluation mode."""
    config = LlamaConfig(
        vocab_size=m.n_vocab,
        hidden_size=m.n_embd,
        intermediate_size=m.n_ff,
        num_hidden_layers=m.n_layers,
        num_attention_heads=m.n_heads,
        num_key_value_heads=m.kv_heads,
        head_dim=m.d,
        max_position_embeddings=m.context_length,
        rms_norm_eps=1e-5,
        rope_theta=m.freq_base or 10000.0,
        tie_word_embeddings=m.tied,
        attn_implementation="eager",
    )
    weights = tensors(m)
    state = {
        "model.embed_tokens.weight": weights["token_embd.weight"],
        "model.norm.weight": weights["output_norm.weight"],
    }
    names = {
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
        "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
    }
    for i in range(m.n_layers):
        for ours, theirs in names.items():
            value = weights[f"blk.{i}.{ours}.weight"]
            if ours in ("attn_q", "attn_k"):
                value = value.reshape(-1, m.d, m.n_embd)[:, halves(m.d)].reshape(value.shape)
            state[f"model.layers.{i}.{theirs}.weight"] = value
    model = LlamaForCausalLM(config).eval()
    missing = model.load_state_dict(
        {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in state.items()}, strict=False
    )
    assert not missing.unexpected_keys and set(missing.missing_keys) <= {"lm_head.weight"}
    model.tie_weights()
    return model
