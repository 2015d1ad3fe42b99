"""Images of what `spectralkv fidelity` measured; needs matplotlib (the extra "plot")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spectralkv.atomic import write_whole

BULK, SPIKE, EDGE, THRESHOLD = "tab:gray", "tab:red", "tab:blue", "tab:green"
SIDES = (("k", "keys", "tab:blue"), ("v", "values", "tab:orange"))
DPI = 120


def draw_fidelity(report: Mapping[str, Any], folder: str | Path) -> list[Path]:
    """Draws a report of `fidelity --json` as PNG files into a folder, which must exist; returns their paths.

    spectrum.png: the eigenvalues of a block of the first, the middle and the last layer. rank.png: ranks by layer.
    errors.png, where the report has other codecs: errors against honest bits. OSError when a file cannot be written.
    """
    images = {"spectrum.png": draw_spectra(report), "rank.png": draw_ranks(report)}
    if report["codecs"]:
        images["errors.png"] = draw_errors(report)
    paths = [Path(folder) / name for name in images]
    for path, figure in zip(paths, images.values(), strict=True):
        figure.suptitle(_about(report), fontsize=9)
        image = BytesIO()
        figure.savefig(image, dpi=DPI)
        write_whole(path, image.getvalue())
    return paths


def _about(report: Mapping[str, Any]) -> str:
    """Model, text, cache and date, above every image."""
    types = dict.fromkeys((report["type_k"], report["type_v"]))
    return f"{report['model']}; {report['text']}; {'/'.join(types)}; {date.today().isoformat()}"


def draw_spectra(report: Mapping[str, Any]) -> Figure:
    """Squared singular values of a block of head 0 in three layers: bulk, edge, and the spikes beyond the threshold
    edge (1 + d^(-1/3)) of the rank rule (arXiv 2605.02905)."""
    layers = report["layers"]
    chosen = [layers[i] for i in sorted({0, len(layers) // 2, len(layers) - 1})]
    figure = Figure(figsize=(4.5 * len(chosen), 7), layout="constrained")
    axes = figure.subplots(2, len(chosen), squeeze=False)
    for column, layer in zip(axes.T, chosen, strict=True):
        for ax, (side, name, _) in zip(column, SIDES, strict=True):
            spectrum = layer[side]["heads"][0]["spectrum"]
            _draw_spectrum(ax, spectrum, report["head_dim"])
            ax.set_title(f"layer {layer['layer']}, {name} of head 0, block {spectrum['block']}", fontsize=10)
        column[-1].set_xlabel("number, in descending order")
    for ax in axes[:, 0]:
        ax.set_ylabel("squared singular value")
    axes[0, 0].legend(fontsize=9)
    return figure


def _draw_spectrum(ax: Axes, spectrum: Mapping[str, Any], head_dim: int) -> None:
    squares = np.square(np.asarray(spectrum["singular_values"], dtype=float))
    numbers, rank = np.arange(1, squares.size + 1), spectrum["rank"]
    ax.scatter(numbers[rank:], squares[rank:], s=12, color=BULK, label="bulk")
    ax.scatter(numbers[:rank], squares[:rank], s=24, color=SPIKE, marker="^", label="spikes")
    if spectrum["edge"] > 0:
        ax.axhline(spectrum["edge"], color=EDGE, linestyle="--", linewidth=1, label="bulk edge")
        threshold = spectrum["edge"] * (1 + head_dim ** (-1 / 3))
        ax.axhline(threshold, color=THRESHOLD, linestyle=":", linewidth=1, label="threshold of the rank")
    if np.any(squares > 0):
        ax.set_yscale("log")
        ax.set_ylim(bottom=0.5 * squares[squares > squares[0] * 1e-8].min())


def draw_ranks(report: Mapping[str, Any]) -> Figure:
    """The mean rank of each layer, and the span from its head with the least to that with the most."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    ax = figure.subplots()
    numbers = [layer["layer"] for layer in report["layers"]]
    for side, name, color in SIDES:
        heads = np.array([[head["rank"] for head in layer[side]["heads"]] for layer in report["layers"]])
        ax.fill_between(numbers, heads.min(axis=1), heads.max(axis=1), color=color, alpha=0.2, linewidth=0)
        ax.plot(numbers, heads.mean(axis=1), color=color, marker="o", markersize=4, label=name)
    ax.set(xlabel="layer", ylabel="rank, mean over blocks (band: heads)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.3)
    ax.legend()
    return figure


def draw_errors(report: Mapping[str, Any]) -> Figure:
    """Errors of every codec against honest bits, means over layers and heads: of the entries and of attention."""
    figure = Figure(figsize=(11, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    measures = (("relative_mse", "relative mean square error"), ("attention_error", "error of attention's output"))
    for row, (side, name, _) in zip(axes, SIDES, strict=True):
        for ax, (key, label) in zip(row, measures, strict=True):
            for family, codecs in _families(report["codecs"]).items():
                points = [(c[side]["bits_honest"], c[side][key]) for c in codecs if c[side][key] > 0]
                if points:
                    ax.plot(*zip(*points, strict=True), marker="o", markersize=4, label=family)
            ax.set(xscale="log", yscale="log", ylabel=label, title=f"{name} alone")
            ax.set_xticks([1, 2, 3, 4, 6, 8, 16], labels=["1", "2", "3", "4", "6", "8", "16"])
            ax.minorticks_off()
            ax.grid(alpha=0.3)
    for ax in axes[-1]:
        ax.set_xlabel("honest bits per entry")
    axes[0, 0].legend()
    return figure


def _families(codecs: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Codecs by their name without bits: "turboquant:2" and "turboquant:3" make one line."""
    families: dict[str, list[Mapping[str, Any]]] = {}
    for codec in codecs:
        families.setdefault(codec["spec"].partition(":")[0], []).append(codec)
    return families
