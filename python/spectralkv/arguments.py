"""Checks of arguments: a TypeError or ValueError names the one that is wrong, before the core sees it."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import Any

INT32, INT64 = 2**31 - 1, 2**63 - 1


def whole(name: str, value: Any, least: int = -INT64, most: int = INT64) -> int:
    """A whole number from least to most; numpy's count as such."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"[python] {name} must be a whole number, not {value!r}") from None
    if not least <= number <= most:
        raise ValueError(f"[python] {name} must be {least} to {most}, not {number}")
    return number


def real(name: str, value: Any) -> float:
    """A number; its range is the core's affair."""
    if not isinstance(value, (str, bytes, bytearray)):
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError):
            pass
    raise TypeError(f"[python] {name} must be a number, not {value!r}")


def string(name: str, value: Any) -> str:
    """A str whose surrogates, which stand for bytes that are no UTF-8, have become U+FFFD."""
    if not isinstance(value, str):
        raise TypeError(f"[python] {name} must be a str, not {value!r}")
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def token_ids(name: str, values: Any) -> list[int]:
    """Ids in a sequence or array; whether the vocabulary has them is the core's affair."""
    if isinstance(values, (str, bytes, bytearray)) or not isinstance(values, Iterable):
        raise TypeError(f"[python] {name} must be token ids, not {values!r}")
    return [whole(f"{name}[{i}]", value, -INT32, INT32) for i, value in enumerate(values)]


def stops(value: Any) -> list[str]:
    """The texts of `stop`: None, one, or several."""
    if value is None:
        return []
    if isinstance(value, str):
        return [string("stop", value)]
    if isinstance(value, (bytes, bytearray, Mapping)) or not isinstance(value, Iterable):
        raise TypeError(f"[python] stop must be a str or several, not {value!r}")
    return [string(f"stop[{i}]", text) for i, text in enumerate(value)]


def biases(value: Any) -> list[tuple[int, float]]:
    """The pairs of `logit_bias`; a key may be an id in digits, as JSON has it."""
    if value is None:
        return []
    if not isinstance(value, Mapping):
        raise TypeError(f"[python] logit_bias must be a dict of token ids and numbers, not {value!r}")
    pairs = []
    for token, bias in value.items():
        key = int(token) if isinstance(token, str) and token.isdecimal() else token
        pairs.append((whole("a key of logit_bias", key, -INT32, INT32), real(f"logit_bias[{token!r}]", bias)))
    return pairs
