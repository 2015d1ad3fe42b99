"""Cache types as `spectralkv eval` is given them: one spec for keys and values, or two with a slash between."""

from __future__ import annotations

import re
from dataclasses import dataclass

EXACT = {"f16", "f32"}


@dataclass(frozen=True)
class CacheType:
    """How keys (k) and values (v) are cached: specs as -ctk and -ctv take them."""

    k: str
    v: str

    @property
    def name(self) -> str:
        """As it was given: "f16", or "eoptshrinkq:3/eoptshrinkq:2" where keys and values differ."""
        return self.k if self.k == self.v else f"{self.k}/{self.v}"

    @property
    def file_name(self) -> str:
        """The name in letters, digits and _ . - + alone; names that differ give file names that differ."""
        plain = {":": "_", "/": "+", ",": "-", " ": "", "=": "."}
        return re.sub(r"[^\w.+-]", lambda match: plain.get(match[0], f"%{ord(match[0]):x}"), self.name)

    @property
    def exact(self) -> bool:
        """Whether nothing is compressed, so that the cache can go back to any length."""
        return {self.k, self.v} <= EXACT


def parse_cache_type(text: str) -> CacheType:
    """ "q8_0" or "q8_0/q4_0" (keys/values). ValueError when a side is empty; the core judges the specs themselves."""
    k, slash, v = (part.strip() for part in text.partition("/"))
    if not k or (slash and not v) or "/" in v:
        raise ValueError(f"expected a cache type like eoptshrinkq:2, or KEYS/VALUES like q8_0/q4_0, got {text!r}")
    return CacheType(k, v or k)
