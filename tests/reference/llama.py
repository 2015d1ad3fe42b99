"""A slow Llama in numpy, double precision, written from the papers: the truth for the C++ forward pass.

Sources: Llama (arXiv 2302.13971), grouped-query attention (2305.13245), RoPE (2104.09864), linear scaling (2306.15595),
YaRN (2309.00071), sliding window (Mistral, 2310.06825). Weights come as GGUF has them: RoPE pairs are (2i, 2i + 1) in
llama, (i, i + dims / 2) in qwen2.
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
        magnitude = 0.1 * np.log(factor) + 1
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


def forward(model: TinyModel, tensors: dict[str, np.ndarray], ids: list[int], eps: float = 1e-5) -> np.ndarray:
    """Logits [n, n_vocab] of all positions."""
    w = {name: values.astype(np.float64) for name, values in tensors.items()}
    n, d, heads, kv = len(ids), model.d, model.n_heads, model.kv_heads
    halves = model.arch == "qwen2"

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ w[name + ".weight"].T + w.get(name + ".bias", 0.0)

    angles, magnitude = rope_angles(model, w.get("rope_freqs.weight"), n)
    i, j = np.arange(n)[:, None], np.arange(n)[None]
    visible = j <= i
    if model.sliding_window:
        visible &= j > i - model.sliding_window
    x = w["token_embd.weight"][ids]
    for layer in range(model.n_layers):
        p = f"blk.{layer}."
        h = norm(x, w[p + "attn_norm.weight"], eps)
        q = rotate(linear(p + "attn_q", h).reshape(n, heads, d), angles, magnitude, halves)
        k = rotate(linear(p + "attn_k", h).reshape(n, kv, d), angles, magnitude, halves)
        v = linear(p + "attn_v", h).reshape(n, kv, d)
        k, v = (np.repeat(t, heads // kv, axis=1) for t in (k, v))
        logits = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(d)
        logits = np.where(visible[None], logits, -np.inf)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        x = x + linear(p + "attn_output", np.einsum("hij,jhd->ihd", weights, v).reshape(n, heads * d))
        h = norm(x, w[p + "ffn_norm.weight"], eps)
        gate = linear(p + "ffn_gate", h)
        x = x + linear(p + "ffn_down", gate / (1 + np.exp(-gate)) * linear(p + "ffn_up", h))
    head = "token_embd" if model.tied else "output"
    return linear(head, norm(x, w["output_norm.weight"], eps))
