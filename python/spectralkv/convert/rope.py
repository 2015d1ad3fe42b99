"""What a checkpoint says of RoPE, in either of its two forms, and Llama 3's factors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spectralkv.convert.errors import ConvertError
from spectralkv.convert.forms import check_form, shown

SUPPORTED = "default, linear, llama3, yarn"
MOST, MOST_FACTOR = 1e30, 1e6  # of any number, for GGUF's 32 bits; of a factor, for the runtime
NUMBERS: tuple[str, ...] = ("rope_theta", "partial_rotary_factor", "factor", "original_max_position_embeddings")
NUMBERS += ("low_freq_factor", "high_freq_factor")  # llama3
NUMBERS += ("beta_fast", "beta_slow", "attention_factor", "mscale", "mscale_all_dim")  # yarn
SETTINGS = {"rope_type": str, "type": str, "truncate": bool, **dict.fromkeys(NUMBERS, float)}


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
    theta = _number(settings, "rope_theta", path, config.get("rope_theta") or 10000.0)
    if theta <= 1:
        raise ConvertError(f"{path}: rope_theta must be above 1, found {theta}")
    if any(_number(one, "partial_rotary_factor", path, 1.0) != 1.0 for one in (config, settings)):
        raise ConvertError(f"{path}: partial_rotary_factor is not 1: partly rotated heads are not supported here")
    kind = settings.get("rope_type") or settings.get("type") or "default"
    if kind == "default":
        return Rope(theta)
    if kind == "linear":
        return Rope(theta, "linear", _factor(settings, path))
    if kind == "llama3":
        return Rope(theta, factors=llama3_factors(settings, path, head_dim, theta))
    if kind == "yarn":
        return _yarn(settings, path, theta, context_length)
    raise ConvertError(f"{path}: RoPE type {kind!r} is not supported; there are {SUPPORTED}")


def _settings(config: dict[str, Any], path: Path) -> dict[str, Any]:
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if given and all(isinstance(value, dict) for value in given.values()):  # one set for each kind of layer
        sets = list(given.values())
        if any(one != sets[0] for one in sets):
            raise ConvertError(f"{path}: rope_parameters differ between kinds of layers ({', '.join(given)})")
        given = sets[0]
    check_form(given, SETTINGS, path, "rope_parameters" if config.get("rope_parameters") else "rope_scaling")
    return dict(given)


def _number(settings: dict[str, Any], key: str, path: Path, default: float | None = None) -> float:
    value = default if settings.get(key) is None else settings[key]
    if value is None or not 0 < value < MOST:
        raise ConvertError(f"{path}: {key} of RoPE must be a positive number below {MOST:g}, found {shown(value)}")
    return float(value)


def _factor(settings: dict[str, Any], path: Path) -> float:
    factor = _number(settings, "factor", path)
    if factor >= MOST_FACTOR:
        raise ConvertError(f"{path}: factor of RoPE must be below {MOST_FACTOR:g}, found {factor:g}")
    return factor


def _context(settings: dict[str, Any], path: Path, default: int | None = None) -> int:
    """The context that the model was trained with before it was stretched."""
    value = _number(settings, "original_max_position_embeddings", path, default)
    if not 1 <= value < 1 << 31:
        raise ConvertError(f"{path}: original_max_position_embeddings must lie in 1 to 2^31 - 1, found {value:g}")
    return int(value)


def _yarn(settings: dict[str, Any], path: Path, theta: float, context_length: int) -> Rope:
    factor = _factor(settings, path)
    if factor < 1:
        raise ConvertError(f"{path}: factor of yarn must be at least 1, found {factor:g}")
    if settings.get("truncate") is False:
        raise ConvertError(f"{path}: yarn with truncate = false is not supported")
    own = 1 + 0.1 * math.log(factor)  # what the runtime multiplies with by itself
    attention = settings.get("attention_factor")
    if attention is None and settings.get("mscale") and settings.get("mscale_all_dim"):
        scales = [0.1 * _number(settings, key, path) * math.log(factor) + 1 for key in ("mscale", "mscale_all_dim")]
        attention = scales[0] / scales[1]
    attention = _number({"attention_factor": attention}, "attention_factor", path, own)
    return Rope(
        theta,
        "yarn",
        factor,
        _context(settings, path, context_length),
        _number(settings, "beta_fast", path, 32.0),
        _number(settings, "beta_slow", path, 1.0),
        attention / own,
    )


def llama3_factors(
    settings: dict[str, Any], path: Path, head_dim: int, theta: float
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Long waves turn `factor` times slower, short ones as before, those between by a ramp. [head_dim / 2]."""
    factor = _factor(settings, path)
    low, high = _number(settings, "low_freq_factor", path), _number(settings, "high_freq_factor", path)
    original = _context(settings, path)
    if not low < high:
        raise ConvertError(f"{path}: low_freq_factor {low} must lie below high_freq_factor {high}")
    turns = original / (2 * np.pi * theta ** (np.arange(0, head_dim, 2, dtype=np.float64) / head_dim))
    kept = np.clip((turns - low) / (high - low), 0, 1)  # the part of a frequency that stays
    return (1 / (kept + (1 - kept) / factor)).astype(np.float32)
