"""Accuracy of the needle evaluation by task, length and cache, with intervals, and paired differences of caches."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spectralkv.atomic import write_whole
from spectralkv.evaluate.intervals import Interval, paired_difference, score_interval
from spectralkv.evaluate.store import Record

Summary = dict[str, Any]
ALL = "all"  # the length that stands for every length of a task: the questions that all caches answered


def _cluster(record: Record) -> str:
    """Questions about one text belong together."""
    return f"{record['task']}/{record['length']}/{record['sample']}"


def _score(record: Record) -> float:
    return float(record["score"])


def _whole(record: Record) -> float:
    """1 where all that was expected is there."""
    return float(record["score"] == 1)


def _cell(records: Sequence[Record], value: Callable[[Record], float]) -> Interval:
    return score_interval([value(record) for record in records], [_cluster(record) for record in records])


def _difference(
    records: Sequence[Record], base: Mapping[str, Record], value: Callable[[Record], float]
) -> Interval | None:
    """Against the base on the questions that both answered; None without any."""
    pairs = [(record, base[record["key"]]) for record in records if record["key"] in base]
    if not pairs:
        return None
    return paired_difference(
        [value(record) for record, _ in pairs],
        [value(other) for _, other in pairs],
        [_cluster(record) for record, _ in pairs],
    )


def _select(records: Sequence[Record], task: str, length: int | str) -> list[Record]:
    return [record for record in records if record["task"] == task and length in (ALL, record["length"])]


def _shared(records: Mapping[str, Sequence[Record]], task: str) -> set[str]:
    """Keys of the task's questions that every cache which has the task answered: only they can be compared at once."""
    held = [{record["key"] for record in _select(some, task, ALL)} for some in records.values()]
    return set.intersection(*(keys for keys in held if keys))


def summarise(records: Mapping[str, Sequence[Record]]) -> Summary:
    """records: of each cache by its name; the first cache is the base of the differences.

    Gives {"base": name, "cells": [{"task", "length", "cache", "accuracy", "difference", "whole", "whole_difference"}]}.
    length is a number, or "all" for the questions of any length that every cache answered. The last four have mean,
    low, high, n and clusters. Differences are None for the base and where no question is shared; "whole" counts answers
    that are right in all their parts, and is None with its difference where an answer has one part."""
    base = next(iter(records))
    held = {record["key"]: record for record in records[base]}
    tasks = dict.fromkeys(record["task"] for some in records.values() for record in some)
    cells = []
    for task in tasks:
        lengths = sorted({record["length"] for some in records.values() for record in some if record["task"] == task})
        shared = _shared(records, task)
        for length in [*lengths, *([ALL] if len(lengths) > 1 and shared else [])]:
            for cache, some in records.items():
                chosen = [record for record in _select(some, task, length) if length != ALL or record["key"] in shared]
                if not chosen:
                    continue
                cell = {"task": task, "length": length, "cache": cache, "whole": None, "whole_difference": None}
                kinds = {"accuracy": ("difference", _score)}
                if any(len(record["expected"]) > 1 for record in chosen):
                    kinds["whole"] = ("whole_difference", _whole)
                for kind, (against, value) in kinds.items():
                    difference = None if cache == base else _difference(chosen, held, value)
                    cell |= {kind: asdict(_cell(chosen, value)), against: difference and asdict(difference)}
                cells.append(cell)
    return {"base": base, "cells": cells}


def percent(interval: Mapping[str, Any] | None, signed: bool = False) -> str:
    """ "93.0 [86.3, 96.6]"; with a sign for differences; a dash for None."""
    if interval is None:
        return "-"
    sign = "+" if signed else ""
    mean, low, high = (100 * interval[name] for name in ("mean", "low", "high"))
    return f"{mean:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def shown_kinds(cells: Sequence[Mapping[str, Any]], base: str) -> list[tuple[str, str]]:
    """Of the cells of a task: the names of what tables show, and the tables' captions; none where no cell has a
    figure."""
    captions = {
        "accuracy": "accuracy in %",
        "difference": f"points above {base} on the same questions",
        "whole": "whole answers right, in %",
        "whole_difference": f"whole answers right, points above {base}",
    }
    return [(kind, caption) for kind, caption in captions.items() if any(cell[kind] for cell in cells)]


def markdown(summary: Summary) -> str:
    """Two tables for each task: accuracy in percent, and points above or below the base; two more for whole answers."""
    cells = {(cell["task"], cell["length"], cell["cache"]): cell for cell in summary["cells"]}
    parts = []
    for task in dict.fromkeys(task for task, _, _ in cells):
        lengths = list(dict.fromkeys(length for name, length, _ in cells if name == task))
        caches = list(dict.fromkeys(cache for name, _, cache in cells if name == task))
        for kind, caption in shown_kinds([cells[key] for key in cells if key[0] == task], summary["base"]):
            signed = kind.endswith("difference")
            rows = [cache for cache in caches if not signed or cache != summary["base"]]
            parts.append(f"{task}: {caption}{'' if signed else ' [95 % interval]'}\n")
            parts.append("| cache | " + " | ".join(str(length) for length in lengths) + " |")
            parts.append("|---|" + "---|" * len(lengths))
            for cache in rows:
                shown = [_shown(cells.get((task, length, cache)), kind, signed) for length in lengths]
                parts.append(f"| {cache} | " + " | ".join(shown) + " |")
            if kind == "accuracy":
                parts.append(
                    "| answers (texts) | " + " | ".join(_counts(cells, task, n, caches) for n in lengths) + " |"
                )
            parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _shown(cell: Mapping[str, Any] | None, kind: str, signed: bool) -> str:
    return "-" if cell is None else percent(cell[kind], signed)


def _counts(
    cells: Mapping[tuple[str, int | str, str], Any], task: str, length: int | str, caches: Sequence[str]
) -> str:
    """How many answers a column has, and about how many texts; a span where caches differ."""
    found = [cells[task, length, cache]["accuracy"] for cache in caches if (task, length, cache) in cells]

    def span(name: str) -> str:
        counts = sorted({cell[name] for cell in found})
        return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"

    return f"{span('n')} ({span('clusters')})"


def write_summary(summary: Summary, settings: Mapping[str, Any], folder: Path) -> str:
    """Writes summary.json and summary.md into the folder, whole or not at all; returns the Markdown."""
    text = markdown(summary)
    data = {"settings": dict(settings), **summary}
    for name, content in (("summary.json", json.dumps(data, indent=1) + "\n"), ("summary.md", text)):
        write_whole(folder / name, content.encode("utf-8"))
    return text
