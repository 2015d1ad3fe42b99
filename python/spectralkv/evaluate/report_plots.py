"""The plots of a report as SVG, the same text for the same figures; needs matplotlib."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

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
SIGNS = {"o": "●", "s": "■", "D": "◆", "^": "▲", "v": "▼", "P": "✚", "X": "✖", "*": "★"}  # of markers
MARKERS = "".join(SIGNS)
BIT_TICKS = (2, 3, 4, 6, 8, 16)
# Ids that matplotlib gives to groups and nothing refers to.
UNUSED_IDS = re.compile(
    r' id="(?:figure|axes|patch|line2d|text|xtick|ytick|legend|matplotlib\.axis|\w*Collection)_\d+"'
)


def to_svg(figure: Figure, transparent: bool = True) -> str:
    """The <svg> element, text as text, without the time that it was made."""
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "spectralkv", "font.family": "sans-serif"}):
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=transparent, metadata={"Date": None, "Creator": None})
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


@dataclass(frozen=True)
class Plot:
    """figures: a panel each. legend: colour, sign and name."""

    figures: Sequence[Figure]
    legend: Sequence[tuple[str, str, str]]

    @property
    def svgs(self) -> list[str]:
        return [to_svg(figure) for figure in self.figures]


def _panels(titles: Iterable[str]) -> tuple[list[Figure], list[Axes]]:
    figures = [Figure(figsize=(4.6, 3.6), layout="constrained") for _ in titles]
    axes = [figure.subplots() for figure in figures]
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title)
        ax.grid(alpha=0.3)
    return figures, axes


def _legend(styles: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    return [(to_hex(style["color"]), SIGNS[style["marker"]], cache) for cache, style in styles.items()]


def _log_axis(ax: Axes) -> None:
    """Logarithmic, with more than one tick whatever the span."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(LogLocator(subs=(1,) if high > 1000 * low else (1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.minorticks_off()


def _bits_axis(ax: Axes) -> None:
    ax.set_xscale("log")
    ax.set_xticks(BIT_TICKS, labels=[str(bits) for bits in BIT_TICKS])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("honest bits per entry")


def divergence_plot(points: Mapping[str, Sequence[tuple[str, float, float, float]]]) -> Plot:
    """points: for each text (cache, honest bits, KL, its standard error)."""
    figures, axes = _panels(points)
    styles = _styles(list(dict.fromkeys(cache for some in points.values() for cache, *_ in some)))
    shown = {}
    for ax, some in zip(axes, points.values(), strict=True):
        for cache, bits, kl, error in some:
            if kl > 0:
                ax.errorbar(bits, kl, yerr=min(error, 0.9 * kl), linestyle="none", **styles[cache])
                shown[cache] = styles[cache]
        _log_axis(ax)
        _bits_axis(ax)
        ax.set_ylabel("KL divergence from f16, nats")
    return Plot(figures, _legend(shown))


def curve_figure(lines: Mapping[str, Sequence[tuple[float, float, float]]], about: str) -> Figure:
    """lines: by name, (honest bits, KL, its standard error). about: what was measured, above it."""
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    ax = figure.subplots()
    seen: set[str] = set()
    for name, points in lines.items():
        bits, kl, errors = zip(*sorted(points), strict=True)
        ax.errorbar(
            bits,
            kl,
            yerr=[min(error, 0.9 * value) for error, value in zip(errors, kl, strict=True)],
            color=color(name),
            marker=MARKERS[len(seen) % len(MARKERS)],
            markersize=5,
            linewidth=1,
            linestyle="--" if color(name) in seen else "-",
            label=name,
        )
        seen.add(color(name))
    _log_axis(ax)
    _bits_axis(ax)
    every = [bits for points in lines.values() for bits, *_ in points]
    ax.set_xlim(0.9 * min(every), 1.1 * max(every))
    ax.grid(alpha=0.3)
    ax.legend()
    ax.set_ylabel("KL divergence from f16, nats")
    ax.set_title(about, fontsize=9)
    return figure


def retrieval_plot(points: Mapping[str, Sequence[tuple[str, float, Mapping[str, float]]]]) -> Plot:
    """points: for each task (cache, honest bits, accuracy as an interval with mean, low, high)."""
    figures, axes = _panels(points)
    styles = _styles(list(dict.fromkeys(cache for some in points.values() for cache, *_ in some)))
    for ax, some in zip(axes, points.values(), strict=True):
        for cache, bits, score in some:
            mean = 100 * score["mean"]
            span = [[mean - 100 * score["low"]], [100 * score["high"] - mean]]
            ax.errorbar(bits, mean, yerr=span, linestyle="none", capsize=2, **styles[cache])
        ax.set(ylim=(-3, 103), ylabel="accuracy, %, all lengths")
        _bits_axis(ax)
    return Plot(figures, _legend(styles))


def line_plot(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], x_label: str, y_label: str, log: bool = False
) -> Plot:
    """panels: by title, for each cache its (x, y)."""
    figures, axes = _panels(panels)
    styles = _styles(list(dict.fromkeys(cache for lines in panels.values() for cache in lines)))
    for ax, lines in zip(axes, panels.values(), strict=True):
        for cache, line in lines.items():
            ax.plot(*zip(*line, strict=True), linewidth=1, **styles[cache])
        ax.set(xlabel=x_label, ylabel=y_label)
        if log:
            _log_axis(ax)
        else:
            ax.set_ylim(bottom=0)
    return Plot(figures, _legend(styles))
