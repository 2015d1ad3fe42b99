"""What the layers and sequences of a SpectralCache hold together, in bytes and bits per entry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Report = dict[str, Any]


def _sum_side(sides: Sequence[Report]) -> Report:
    """K or V over all layers and sequences; codec: that of the first layer, and how many differ."""
    total: Report = {key: sum(side[key] for side in sides) for key in ("sealed_bytes", "sealed_entries", "exact_bytes")}
    entries = total["sealed_entries"]
    names = [side["codec"] for side in sides]
    others = sum(name != names[0] for name in names)
    return {
        "codec": names[0] if not others else f"{names[0]} ({others} of {len(names)} differ)",
        "paper_bits": sum(side["paper_bits"] * side["sealed_entries"] for side in sides) / entries if entries else 0.0,
        "honest_bits": 8 * total["sealed_bytes"] / entries if entries else 0.0,
        **total,
    }


def sum_reports(layers: Sequence[Sequence[Report]]) -> Report:
    """The sum of the reports of each layer's sequences (Session.cache_report's form); layers that hold nothing yet have
    none."""
    held = [reports for reports in layers if reports]
    if not held:
        return {"n_layers": len(layers), "n_sequences": 0, "n_tokens": 0, "bytes": 0, "bits_per_entry": 0.0}
    every = [report for reports in held for report in reports]
    entries = sum(2 * report["n_tokens"] * report["n_kv_heads"] * report["head_dim"] for report in every)
    n_bytes = sum(report["bytes"] for report in every)
    return {
        "n_layers": len(layers),
        "n_sequences": len(held[0]),
        "n_tokens": sum(report["n_tokens"] for report in held[0]),
        "bytes": n_bytes,
        "bits_per_entry": 8 * n_bytes / entries if entries else 0.0,
        "k": _sum_side([report["k"] for report in every]),
        "v": _sum_side([report["v"] for report in every]),
    }
