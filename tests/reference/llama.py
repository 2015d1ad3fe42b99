"""A slow Llama in numpy, double precision, written from the papers: the truth for the C++ forward pass.

Sources: Llama (arXiv 2302.13971), grouped-query attention (2305.13245), RoPE (2104.09864), linear scaling (2306.15595),
YaRN (2309.00071), sliding window (Mistral, 2310.06825), norms of q and k (Qwen3, 2505.09388), layers without RoPE
(2501.18795), mixtures of experts (Mixtral, 2401.04088); Granite's and Ministral 3's factors as their published code has
them. Weights come as GGUF has them: RoPE pairs are (2i, 2i + 1), or (i, i + dims / 2) in qwen2 and qwen3.
"""

from __future__ import annotations

import numpy as np
from support.tiny_model import TinyModel


def rope_angles(model: TinyModel, factors: np.ndarray | None, n: int) -> tuple[np.ndarray, float]:
    """Angles [n, dims / 2] and the factor on cosine and sine."""
    dims = model.rope_dims or model.d
    base = model.freq_base or 10000.0
    freq = base ** (-np.arange(0, dims, 2) / dims)
    if factors is not None:
        freq = freq / factors
    magnitude = 1.0
    scaling = model.rope_scaling
    if scaling and scaling["type"] == "linear":
        freq = freq / scaling["factor"]
    if scaling and scaling["type"] == "yarn":
        factor, original = scaling["factor"], scaling["original"]

        def dimension(turns: float) -> float:
            return dims * np.log(original / (turns * 2 * np.pi)) / (2 * np.log(base))

        low, high = max(0, np.floor(dimension(32))), min(dims - 1, np.ceil(dimension(1)))
        ramp = np.clip((np.arange(dims // 2) - low) / max(0.001, high - low), 0, 1)
        freq = freq * (1 - ramp) + freq / factor * ramp
        magnitude = (0.1 * np.log(factor) + 1) / (0.1 * scaling.get("log_multiplier", 0) * np.log(factor) + 1)
    return np.arange(n)[:, None] * freq[None], magnitude


def rotate(x: np.ndarray, angles: np.ndarray, magnitude: float, halves: bool) -> np.ndarray:
    """x [n, heads, d]: turns the first 2 * angles.shape[1] values of each head."""
    c, s = np.cos(angles)[:, None] * magnitude, np.sin(angles)[:, None] * magnitude
    out = x.copy()
    dims = 2 * angles.shape[1]
    first, second = (slice(0, dims // 2), slice(dims // 2, dims)) if halves else (slice(0, dims, 2), slice(1, dims, 2))
    a, b = x[..., first], x[..., second]
    out[..., first], out[..., second] = a * c - b * s, a * s + b * c
    return out


def norm(x: np.ndarray, gain: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * gain


def experts(model: TinyModel, w: dict[str, np.ndarray], prefix: str, h: np.ndarray) -> np.ndarray:
    """Row by row: the softmax over the largest logits of the router weighs the feed-forwards of their experts."""

    def matrix(name: str, e: int) -> np.ndarray:
        return w[f"{prefix}{name}.{e}.weight"] if model.split_experts else w[f"{prefix}{name}_exps.weight"][e]

    out = np.zeros_like(h)
    for row, logits in enumerate(h @ w[prefix + "ffn_gate_inp.weight"].T):
        chosen = np.argsort(-logits)[: model.n_experts_used]
        weights = np.exp(logits[chosen] - logits[chosen].max())
        for e, weight in zip(chosen, weights / weights.sum(), strict=True):
            gate = matrix("ffn_gate", e) @ h[row]
            out[row] += weight * (matrix("ffn_down", e) @ (gate / (1 + np.exp(-gate)) * (matrix("ffn_up", e) @ h[row])))
    return out


def forward(model: TinyModel, tensors: dict[str, np.ndarray], ids: list[int], eps: float = 1e-5) -> np.ndarray:
    """Logits [n, n_vocab] of all positions."""
    w = {name: values.astype(np.float64) for name, values in tensors.items()}
    n, d, heads, kv = len(ids), model.d, model.n_heads, model.kv_heads
    scale = model.factors.get("attention.scale") or 1 / np.sqrt(d)
    residual = model.factors.get("residual_scale", 1.0)
    growth = np.ones(n)
    if "attention.temperature_scale" in model.factors:
        stretches = np.floor(np.arange(n) / (model.rope_scaling or {})["original"])
        growth += model.factors["attention.temperature_scale"] * np.log(1 + stretches)

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ w[name + ".weight"].T + w.get(name + ".bias", 0.0)

    angles, magnitude = rope_angles(model, w.get("rope_freqs.weight"), n)
    i, j = np.arange(n)[:, None], np.arange(n)[None]
    visible = j <= i
    if model.sliding_window:
        visible &= j > i - model.sliding_window
    x = w["token_embd.weight"][ids] * model.factors.get("embedding_scale", 1.0)
    for layer in range(model.n_layers):
        p = f"blk.{layer}."
        h = norm(x, w[p + "attn_norm.weight"], eps)
        q, k = linear(p + "attn_q", h).reshape(n, heads, d), linear(p + "attn_k", h).reshape(n, kv, d)
        v = linear(p + "attn_v", h).reshape(n, kv, d)
        if model.arch == "qwen3":
            q, k = norm(q, w[p + "attn_q_norm.weight"], eps), norm(k, w[p + "attn_k_norm.weight"], eps)
        if model.arch != "smollm3" or layer % 4 != 3:
            q, k = (rotate(t, angles, magnitude, model.halves) for t in (q, k))
        q = q * growth[:, None, None]
        k, v = (np.repeat(t, heads // kv, axis=1) for t in (k, v))
        logits = np.einsum("ihd,jhd->hij", q, k) * scale
        logits = np.where(visible[None], logits, -np.inf)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        x = x + residual * linear(p + "attn_output", np.einsum("hij,jhd->ihd", weights, v).reshape(n, heads * d))
        h = norm(x, w[p + "ffn_norm.weight"], eps)
        if model.n_experts:
            x = x + experts(model, w, p, h)
            continue
        gate = linear(p + "ffn_gate", h)
        x = x + residual * linear(p + "ffn_down", gate / (1 + np.exp(-gate)) * linear(p + "ffn_up", h))
    head = "token_embd" if model.tied else "output"
    return linear(head, norm(x, w["output_norm.weight"], eps)) / model.factors.get("logit_scale", 1.0)
