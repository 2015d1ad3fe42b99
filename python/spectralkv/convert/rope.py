"""What a checkpoint says of RoPE, in either of its two forms, and Llama 3's factors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spectralkv.convert.errors import ConvertError

SUPPORTED = "default, linear, llama3, yarn"


@dataclass(frozen=True)
class Rope:
    """theta, and the scaling in GGUF's words. factors [head_dim / 2] divide the frequencies (Llama 3), None: absent."""

    theta: float
    scaling: str = "none"  # none, linear, yarn
    factor: float = 1.0
    original_context: int = 0  # yarn
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attn_factor: float = 1.0  # beside YaRN's own 1 + 0.1 ln(factor)
    factors: np.ndarray[Any, np.dtype[np.float32]] | None = None


def read_rope(config: dict[str, Any], path: Path, head_dim: int, context_length: int) -> Rope:
    """Of config.json: rope_parameters (newer), or rope_theta with rope_scaling (older). ConvertError names the key."""
    settings = _settings(config, path)
    theta = _number(settings, "rope_theta", path, config.get("rope_theta", 10000.0))
    if float(config.get("partial_rotary_factor", settings.get("partial_rotary_factor", 1.0))) != 1.0:
        raise ConvertError(f"{path}: partial_rotary_factor is not 1: partly rotated heads are not supported here")
    kind = settings.get("rope_type", settings.get("type", "default"))
    if kind == "default":
        return Rope(theta)
    if kind == "linear":
        return Rope(theta, "linear", _number(settings, "factor", path))
    if kind == "llama3":
        return Rope(theta, factors=llama3_factors(settings, path, head_dim, theta))
    if kind == "yarn":
        return _yarn(settings, path, theta, context_length)
    raise ConvertError(f"{path}: RoPE type {kind!r} is not supported; there are {SUPPORTED}")


def _settings(config: dict[str, Any], path: Path) -> dict[str, Any]:
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(given, dict):
        raise ConvertError(f"{path}: rope_parameters or rope_scaling is a {type(given).__name__}, expected an object")
    if given and all(isinstance(value, dict) for value in given.values()):  # one set for each kind of layer
        sets = list(given.values())
        if any(one != sets[0] for one in sets):
            raise ConvertError(f"{path}: rope_parameters differ between kinds of layers ({', '.join(given)})")
        return dict(sets[0])
    return dict(given)


def _number(settings: dict[str, Any], key: str, path: Path, default: float | None = None) -> float:
    value = settings.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0 or math.isinf(value):
        raise ConvertError(f"{path}: {key} of RoPE must be a positive number, found {value!r}")
    return float(value)


def _yarn(settings: dict[str, Any], path: Path, theta: float, context_length: int) -> Rope:
    factor = _number(settings, "factor", path)
    if settings.get("truncate", True) is not True:
        raise ConvertError(f"{path}: yarn with truncate = {settings['truncate']!r} is not supported")
    own = 1 + 0.1 * math.log(factor)  # what the runtime multiplies with by itself
    attention = settings.get("attention_factor")
    if attention is None and settings.get("mscale") and settings.get("mscale_all_dim"):
        scales = [0.1 * float(settings[key]) * math.log(factor) + 1 for key in ("mscale", "mscale_all_dim")]
        attention = scales[0] / scales[1]
    return Rope(
        theta,
        "yarn",
        factor,
        int(_number(settings, "original_max_position_embeddings", path, context_length)),
        _number(settings, "beta_fast", path, 32.0) if settings.get("beta_fast") is not None else 32.0,
        _number(settings, "beta_slow", path, 1.0) if settings.get("beta_slow") is not None else 1.0,
        1.0 if attention is None else float(attention) / own,
    )


def llama3_factors(
    settings: dict[str, Any], path: Path, head_dim: int, theta: float
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Long waves turn `factor` times slower, short ones as before, those between by a ramp. [head_dim / 2]."""
    factor = _number(settings, "factor", path)
    low, high = _number(settings, "low_freq_factor", path), _number(settings, "high_freq_factor", path)
    original = _number(settings, "original_max_position_embeddings", path)
    if not low < high:
        raise ConvertError(f"{path}: low_freq_factor {low} must lie below high_freq_factor {high}")
    turns = original / (2 * np.pi * theta ** (np.arange(0, head_dim, 2, dtype=np.float64) / head_dim))
    kept = np.clip((turns - low) / (high - low), 0, 1)  # the part of a frequency that stays
    return (1 / (kept + (1 - kept) / factor)).astype(np.float32)
