"""A slow Llama in numpy on checkpoints as Hugging Face stores them, double precision, written from the papers.

Sources: Llama (arXiv 2302.13971), grouped-query attention (2305.13245), RoPE (2104.09864) with a head's halves as
pairs, linear scaling (2306.15595), YaRN (2309.00071), Llama 3 (2407.21783) with its published scaling, sliding window
(Mistral, 2310.06825), norms of q and k (Qwen3, 2505.09388), layers without RoPE (2501.18795), mixtures of experts
(Mixtral, 2401.04088); Granite's and Ministral 3's factors as their published code has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def frequencies(config: dict[str, Any], d: int) -> tuple[np.ndarray, float]:
    """Radians a position turns each pair [d / 2], and the factor on cosine and sine."""
    settings = config.get("rope_parameters") or config.get("rope_scaling") or {}
    base = settings.get("rope_theta", config.get("rope_theta", 10000.0))
    freq = base ** (-np.arange(0, d, 2) / d)
    kind = settings.get("rope_type", settings.get("type", "default"))
    if kind == "linear":
        return freq / settings["factor"], 1.0
    if kind == "llama3":
        out = []
        old, low, high = (
            settings[k] for k in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor")
        )
        for f in freq:
            wave = 2 * np.pi / f
            if wave < old / high:
                out.append(f)
            elif wave > old / low:
                out.append(f / settings["factor"])
            else:
                smooth = (old / wave - low) / (high - low)
                out.append((1 - smooth) * f / settings["factor"] + smooth * f)
        return np.array(out), 1.0
    if kind == "yarn":
        old, factor = settings["original_max_position_embeddings"], settings["factor"]

        def place(turns: float) -> float:
            return d * np.log(old / (turns * 2 * np.pi)) / (2 * np.log(base))

        low = max(0, np.floor(place(settings.get("beta_fast", 32))))
        high = min(d - 1, np.ceil(place(settings.get("beta_slow", 1))))
        ramp = np.clip((np.arange(d // 2) - low) / max(0.001, high - low), 0, 1)
        attention = settings.get("attention_factor") or 0.1 * np.log(factor) + 1
        if "mscale" in settings:
            attention = (0.1 * settings["mscale"] * np.log(factor) + 1) / (
                0.1 * settings["mscale_all_dim"] * np.log(factor) + 1
            )
        return freq * (1 - ramp) + freq / factor * ramp, attention
    return freq, 1.0


def rotate(x: np.ndarray, angles: np.ndarray, magnitude: float) -> np.ndarray:
    """x [n, heads, d]: pair i is (x[i], x[i + d / 2])."""
    a, b = np.split(x, 2, axis=-1)
    c, s = np.cos(angles)[:, None] * magnitude, np.sin(angles)[:, None] * magnitude
    return np.concatenate([a * c - b * s, b * c + a * s], axis=-1)


def norm(x: np.ndarray, gain: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * gain


def visible(config: dict[str, Any], layer: int, n: int) -> np.ndarray:
    """[n, n]: which keys a query sees; a window counts the query itself."""
    i, j = np.arange(n)[:, None], np.arange(n)[None]
    window, types = config.get("sliding_window"), config.get("layer_types")
    architecture = config["architectures"][0]
    slides = window and architecture != "LlamaForCausalLM"
    if architecture in ("Qwen2ForCausalLM", "Qwen3ForCausalLM"):
        slides = window and config.get("use_sliding_window") and (types or layer >= config["max_window_layers"])
    if slides and (types is None or types[layer] == "sliding_attention"):
        return (j <= i) & (i - j < window)
    return j <= i


def experts(config: dict[str, Any], w: dict[str, np.ndarray], prefix: str, h: np.ndarray) -> np.ndarray:
    """All experts for all rows, weighed by the softmax over each row's largest logits."""
    logits = h @ w[prefix + "gate.weight"].T
    least = np.sort(logits, axis=1)[:, -config.get("num_experts_per_tok", 2)][:, None]
    weights = np.where(logits >= least, np.exp(logits - logits.max(1, keepdims=True)), 0)
    weights /= weights.sum(1, keepdims=True)
    out = np.zeros_like(h)
    for e in range(logits.shape[1]):
        w1, w2, w3 = (w[f"{prefix}experts.{e}.w{i}.weight"] for i in (1, 2, 3))
        gate = h @ w1.T
        out += weights[:, e : e + 1] * ((gate / (1 + np.exp(-gate)) * (h @ w3.T)) @ w2.T)
    return out


def forward(
    config: dict[str, Any],
    tensors: dict[str, np.ndarray],
    ids: Sequence[int],
    freq: np.ndarray | None = None,
) -> np.ndarray:
    """Logits [n, n_vocab]. tensors: float arrays by Hugging Face's names. freq: other frequencies than the config's."""
    w = {name: x.astype(np.float64) for name, x in tensors.items()}
    heads, eps, n = config["num_attention_heads"], config["rms_norm_eps"], len(ids)
    kv = config.get("num_key_value_heads", heads)
    d = config.get("head_dim") or config["hidden_size"] // heads
    own, magnitude = frequencies(config, d)
    angles = np.arange(n)[:, None] * (own if freq is None else freq)[None]

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ w[name + ".weight"].T + w.get(name + ".bias", 0.0)

    scale, residual = config.get("attention_multiplier", 1 / np.sqrt(d)), config.get("residual_multiplier", 1.0)
    rope = config.get("rope_parameters") or {}
    growth = np.ones(n)
    if "llama_4_scaling_beta" in rope:
        stretches = np.floor(np.arange(n) / rope["original_max_position_embeddings"])
        growth += rope["llama_4_scaling_beta"] * np.log(1 + stretches)
    no_rope = config["architectures"] == ["SmolLM3ForCausalLM"]
    x = w["model.embed_tokens.weight"][np.asarray(ids)] * config.get("embedding_multiplier", 1.0)
    for layer in range(config["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        h = norm(x, w[p + "input_layernorm.weight"], eps)
        q = linear(p + "self_attn.q_proj", h).reshape(n, heads, d)
        k = linear(p + "self_attn.k_proj", h).reshape(n, kv, d)
        if p + "self_attn.q_norm.weight" in w:
            q, k = norm(q, w[p + "self_attn.q_norm.weight"], eps), norm(k, w[p + "self_attn.k_norm.weight"], eps)
        if not no_rope or (layer + 1) % 4:
            q, k = rotate(q, angles, magnitude), rotate(k, angles, magnitude)
        q = q * growth[:, None, None]
        v = linear(p + "self_attn.v_proj", h).reshape(n, kv, d)
        k, v = (np.repeat(t, heads // kv, axis=1) for t in (k, v))
        s = np.where(visible(config, layer, n)[None], np.einsum("ihd,jhd->hij", q, k) * scale, -np.inf)
        p_ = np.exp(s - s.max(-1, keepdims=True))
        p_ /= p_.sum(-1, keepdims=True)
        x = x + residual * linear(p + "self_attn.o_proj", np.einsum("hij,jhd->ihd", p_, v).reshape(n, heads * d))
        h = norm(x, w[p + "post_attention_layernorm.weight"], eps)
        if p + "block_sparse_moe.gate.weight" in w:
            x = x + experts(config, w, p + "block_sparse_moe.", h)
            continue
        gate = linear(p + "mlp.gate_proj", h)
        x = x + residual * linear(p + "mlp.down_proj", gate / (1 + np.exp(-gate)) * linear(p + "mlp.up_proj", h))
    head = "model.embed_tokens" if config.get("tie_word_embeddings") else "lm_head"
    return linear(head, norm(x, w["model.norm.weight"], eps)) / config.get("logits_scaling", 1.0)
