"""The plots of a report as SVG, the same text for the same figures; needs matplotlib."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Families of caches keep their colours in every plot.
COLORS = {
    "f16": "black",
    "f32": "dimgray",
    "q8_0": "tab:brown",
    "q4_0": "tab:green",
    "turboquant": "tab:blue",
    "eoptshrinkq": "tab:red",
    "kivi": "tab:purple",
}
MARKERS = "osD^vPX*"
BIT_TICKS = (2, 3, 4, 6, 8, 16)
# Ids that matplotlib gives to groups and nothing refers to.
UNUSED_IDS = re.compile(r' id="(?:figure|axes|patch|line2d|text|xtick|ytick|legend|matplotlib\.axis|\w*Collection)_\d+"')


def to_svg(figure: Figure) -> str:
    """The <svg> element, text as text, without date."""
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "spectralkv", "font.family": "sans-serif"}):
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return UNUSED_IDS.sub("", text[text.index("<svg") :]).strip()


def family(cache: str) -> str:
    """ "eoptshrinkq" of "eoptshrinkq:3/eoptshrinkq:2" and of "eoptshrinkq:2,paper"."""
    return re.split(r"[:,;/]", cache)[0]


def color(cache: str) -> str:
    return COLORS.get(family(cache), "tab:orange")


def _styles(caches: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour by family, marker by the place in it."""
    seen: dict[str, int] = {}
    styles = {}
    for cache in caches:
        number = seen[family(cache)] = seen.get(family(cache), -1) + 1
        styles[cache] = {"color": color(cache), "marker": MARKERS[number % len(MARKERS)], "markersize": 5}
    return styles


def _panels(n: int, width: float = 4.6, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width * n, height), layout="constrained")
    return figure, list(figure.subplots(1, n, squeeze=False)[0])


def _legend(figure: Figure, ax: Axes, n: int) -> None:
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(n, 3), fontsize=8)


def _bits_axis(ax: Axes) -> None:
    ax.set_xscale("log")
    ax.set_xticks(BIT_TICKS, labels=[str(bits) for bits in BIT_TICKS])
    ax.minorticks_off()
    ax.set_xlabel("honest bits per entry")
    ax.grid(alpha=0.3)


def divergence_plot(points: Mapping[str, Sequence[tuple[str, float, float, float]]]) -> Figure:
    """points: for each text (cache, honest bits, KL, its standard error)."""
    figure, axes = _panels(len(points))
    styles = _styles(list(dict.fromkeys(cache for some in points.values() for cache, *_ in some)))
    for ax, (text, some) in zip(axes, points.items(), strict=True):
        for cache, bits, kl, error in some:
            if kl > 0:
                ax.errorbar(bits, kl, yerr=min(error, 0.9 * kl), linestyle="none", label=cache, **styles[cache])
        ax.set(yscale="log", title=text)
        _bits_axis(ax)
    axes[0].set_ylabel("KL divergence from f16, nats")
    _legend(figure, axes[0], 3 * len(axes))
    return figure


def retrieval_plot(points: Mapping[str, Sequence[tuple[str, float, Mapping[str, float]]]]) -> Figure:
    """points: for each task (cache, honest bits, accuracy as an interval with mean, low, high)."""
    figure, axes = _panels(len(points))
    styles = _styles(list(dict.fromkeys(cache for some in points.values() for cache, *_ in some)))
    for ax, (task, some) in zip(axes, points.items(), strict=True):
        for cache, bits, score in some:
            mean = 100 * score["mean"]
            span = [[mean - 100 * score["low"]], [100 * score["high"] - mean]]
            ax.errorbar(bits, mean, yerr=span, linestyle="none", capsize=2, label=cache, **styles[cache])
        ax.set(title=task, ylim=(-3, 103))
        _bits_axis(ax)
    axes[0].set_ylabel("accuracy, %, all lengths")
    _legend(figure, axes[0], 3 * len(axes))
    return figure


def line_plot(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], x_label: str, y_label: str, log: bool = False
) -> Figure:
    """panels: by title, for each cache its (x, y)."""
    figure, axes = _panels(len(panels))
    styles = _styles(list(dict.fromkeys(cache for lines in panels.values() for cache in lines)))
    for ax, (title, lines) in zip(axes, panels.items(), strict=True):
        for cache, line in lines.items():
            ax.plot(*zip(*line, strict=True), linewidth=1, label=cache, **styles[cache])
        ax.set(title=title, xlabel=x_label)
        if log:
            ax.set_yscale("log")
        else:
            ax.set_ylim(bottom=0)
        ax.grid(alpha=0.3)
    axes[0].set_ylabel(y_label)
    _legend(figure, axes[0], 3 * len(axes))
    return figure
