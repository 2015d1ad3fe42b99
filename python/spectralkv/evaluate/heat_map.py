"""Heat maps of the needle evaluation: accuracy by length and depth, a panel for each cache; needs matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spectralkv.atomic import write_whole
from spectralkv.evaluate.store import Record

COLUMNS = 3
DPI = 100


def accuracy_grid(records: Sequence[Record], lengths: Sequence[int], depths: Sequence[float]) -> NDArray[np.float64]:
    """Mean scores [depths, lengths]; NaN where nothing was asked."""
    sums, counts = np.zeros((len(depths), len(lengths))), np.zeros((len(depths), len(lengths)))
    for record in records:
        place = depths.index(record["depth"]), lengths.index(record["length"])
        sums[place] += record["score"]
        counts[place] += 1
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def draw_heat_map(
    task: str, records: Mapping[str, Sequence[Record]], lengths: Sequence[int], depths: Sequence[float]
) -> Figure:
    """One panel a cache; depth in percent downwards, length in tokens to the right."""
    rows = math.ceil(len(records) / COLUMNS)
    columns = min(COLUMNS, len(records))
    figure = Figure(figsize=(3.4 * columns + 1, 3.2 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat[len(records) :]:
        ax.set_visible(False)
    for ax, (cache, some) in zip(axes.flat, records.items(), strict=False):
        grid = accuracy_grid(some, lengths, depths)
        image = ax.imshow(grid, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        ax.set_title(cache, fontsize=9)
        ax.set_xticks(range(len(lengths)), labels=[str(length) for length in lengths])
        ax.set_yticks(range(len(depths)), labels=[f"{depth:.0f}" for depth in depths])
    for ax in axes[:, 0]:
        ax.set_ylabel("depth, %")
    figure.supxlabel("tokens", fontsize=9)
    figure.suptitle(f"{task}: accuracy", fontsize=11)
    figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


def draw_heat_maps(records: Mapping[str, Sequence[Record]], depths: Sequence[float], folder: Path) -> list[Path]:
    """Writes heat-TASK.png for every task whose needles have a depth; returns the paths."""
    paths = []
    for task in dict.fromkeys(record["task"] for some in records.values() for record in some):
        chosen = {
            cache: found
            for cache, some in records.items()
            if (found := [record for record in some if record["task"] == task and record["depth"] is not None])
        }
        lengths = sorted({record["length"] for some in chosen.values() for record in some})
        if not chosen:
            continue
        path = folder / f"heat-{task}.png"
        image = BytesIO()
        draw_heat_map(task, chosen, lengths, depths).savefig(image, dpi=DPI, metadata={"Software": None})
        write_whole(path, image.getvalue())
        paths.append(path)
    return paths
