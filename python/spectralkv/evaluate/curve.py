"""The command `spectralkv eval curve`: divergence against bits, eoptshrinkq at many widths beside other cache types."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from spectralkv.atomic import write_whole
from spectralkv.evaluate.cache_types import CacheType, parse_cache_type
from spectralkv.evaluate.options import (
    add_result_options,
    add_shared_options,
    load_engine,
    model_settings,
    whole_number,
)
from spectralkv.evaluate.report_data import model_args, type_args
from spectralkv.evaluate.report_page import Table, table_markdown
from spectralkv.evaluate.report_runs import Runner, shown_command
from spectralkv.evaluate.texts import read_text
from spectralkv.extras import install_hint

ABOUT = """
Measures the divergence from an f16 cache in the order of decoding against the honest bits of cache types; the second
half of the text is scored. Types of eoptshrinkq are measured with the calibration that --kv-calibration names and
without any. Writes curve.svg, curve.md and curve.json into curve/ of the folder of --out; the table says for other
types what eoptshrinkq has at as many bits, interpolated. What was measured is kept: a run that was interrupted goes on.
"""
FOLDER = "curve"  # in --out
OURS = "eoptshrinkq"
OUR_BITS = ("1", "1.5", "1.75", "2", "2.5", "3", "3.5", "4")
CACHES = (
    *(f"{OURS}:{bits}" for bits in OUR_BITS),
    *(f"turboquant:{bits}" for bits in (2, 3, 4)),
    "q4_0",
    "q8_0",
    "kivi:2",
)
Point = dict[str, Any]  # cache, line, bits, kl, stderr and what else the command printed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spectralkv eval curve", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("-f", "--file", type=Path, required=True, metavar="PATH", help="the text, in UTF-8")
    add("--context", type=whole_number(64), default=2304, metavar="N", help="tokens read of it (default: 2304)")
    add("--activations", choices=("q8_0", "f32"), default="f32", help="q8_0, or f32: exact and slow (default: f32)")
    add_shared_options(parser, " ".join(CACHES))
    add_result_options(parser, "eval")
    return parser


def line_of(cache: CacheType, calibration: str) -> str:
    """The line of the plot that a cache type is a point of: what stands before its bits and behind them."""
    sides = dict.fromkeys((cache.k, cache.v))
    name, options = "/".join(side.split(":")[0].split(",")[0] for side in sides), cache.k.partition(",")[2]
    without = ", no calibration" if calibration == "none" and name == OURS else ""
    return name + (f",{options}" if options else "") + without


def _measure(options: argparse.Namespace, runner: Runner, caches: Sequence[CacheType], base: Path) -> list[Point]:
    """base: where the logits of the f16 cache are kept until all is measured."""
    shared = ["-f", str(options.file), "-c", str(options.context), "--chunks", "1"]
    shared += ["--activations", options.activations, "--kl-base", str(base), "--json", "--log-disable"]
    exact = ["perplexity", *model_args(options), *shared, "-ctk", "f16", "-ctv", "f16"]
    points = []
    for cache in caches:
        given = [options.kv_calibration]
        if OURS in cache.name and options.kv_calibration != "none":
            given.append("none")
        for calibration in given:
            chosen = argparse.Namespace(**{**vars(options), "kv_calibration": calibration})
            args = ["perplexity", *model_args(chosen), *shared, "--kl-divergence", *type_args(cache)]
            suffix = "" if calibration == options.kv_calibration else "-uncalibrated"
            name = f"{options.file.stem}-{cache.file_name}{suffix}"
            if not base.is_file() and not runner.has(name, args):
                runner.run(exact)
            result = runner.json_of(name, args)
            bits = [result["bits_honest_k"], result["bits_honest_v"]]
            if None in bits:
                raise ValueError(f"[eval] {options.file} has no sealed block of {cache.name}: give a longer --context")
            points.append(
                {
                    "cache": cache.name,
                    "line": line_of(cache, calibration),
                    "bits": sum(bits) / 2,
                    "kl": result["kl_mean"],
                    "stderr": result["kl_stderr"],
                    "command": shown_command(args),
                    "result": result,
                }
            )
    base.unlink(missing_ok=True)
    return points


def at_bits(points: Sequence[Mapping[str, Any]], bits: float) -> float | None:
    """The divergence of a line at so many bits: between its points straight in the logarithm; None beyond its ends."""
    known = sorted((point["bits"], point["kl"]) for point in points if point["kl"] > 0)
    for (left, high), (right, low) in pairwise(known):
        if left <= bits <= right:
            share = (bits - left) / (right - left) if right > left else 0.0
            return math.exp((1 - share) * math.log(high) + share * math.log(low))
    return None


def curve_table(points: Sequence[Point], caption: str) -> Table:
    """A row a point. Ours at the bits of the others: of the first line of eoptshrinkq."""
    ours = next((point["line"] for point in points if point["line"].startswith(OURS)), None)
    line = [point for point in points if point["line"] == ours]
    rows = []
    for point in points:
        result = point["result"]
        other = None if point["line"] == ours else at_bits(line, point["bits"])
        rows.append(
            [
                point["cache"] + (", no calibration" if point["line"].endswith("no calibration") else ""),
                f"{result['bits_honest_k']:.2f} / {result['bits_honest_v']:.2f}",
                f"{point['bits']:.2f}",
                f"{point['kl']:.5f} ± {point['stderr']:.5f}",
                f"{100 * result['same_top1']:.1f} %",
                "-" if other is None else f"{other:.5f}",
            ]
        )
    header = ["cache", "honest bits K / V", "mean", "KL ± s.e.", "same top-1", f"{ours or OURS} at those bits"]
    return Table(caption, header, rows)


def main(args: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    options = _parser().parse_args(args)
    try:
        from spectralkv.evaluate.report_plots import curve_figure, to_svg
    except ImportError:
        raise ValueError(f"[eval] the curve needs matplotlib, which is not installed: {install_hint('eval')}") from None
    read_text(options.file)
    options.cache = options.cache or [parse_cache_type(name) for name in CACHES]
    caches, given = list(dict.fromkeys(options.cache)), options.model
    engine = load_engine(options)
    model, options.model = options.model, given  # commands name the model as the user did
    del engine  # the commands load their own
    folder = options.out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    runner = Runner(folder, collect=False)
    settings = model_settings(model, options.kv_calibration)
    what = f"{settings['sha256']} {hashlib.sha256(options.file.read_bytes()).hexdigest()}"
    base = (
        folder / f"f16-{hashlib.sha256(what.encode()).hexdigest()[:12]}-{options.context}-{options.activations}.logits"
    )
    points = _measure(options, runner, caches, base)
    measured = runner.measured(options.threads)
    compared = points[0]["result"]["n_compared"]
    about = f"{settings['model']}; {options.file.name}, {compared} positions; {measured['dates']}"
    caption = f"{about}; {measured['machines']}; activations in {options.activations}"
    table = table_markdown(curve_table(points, caption))
    data = {
        "command": shown_command(["eval", "curve", *args]),
        "model": settings,
        "text": options.file.name,
        "measured": measured,
        "points": points,
    }
    lines: dict[str, list[tuple[float, float, float]]] = {}
    for point in points:
        lines.setdefault(point["line"], []).append((point["bits"], point["kl"], point["stderr"]))
    files = {
        "curve.svg": to_svg(curve_figure(lines, about), transparent=False) + "\n",
        "curve.md": f"{table}\n\n```\n{data['command']}\n```\n",
        "curve.json": json.dumps(data, ensure_ascii=False) + "\n",
    }
    for name, text in files.items():
        write_whole(folder / name, text.encode("utf-8"))
    print(table)
    return 0
