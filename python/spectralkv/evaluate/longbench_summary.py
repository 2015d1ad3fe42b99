"""LongBench's scores by task and cache, with intervals, and their mean over the tasks."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spectralkv.atomic import write_whole
from spectralkv.evaluate.intervals import Interval, paired_difference, score_interval
from spectralkv.evaluate.needle_summary import percent
from spectralkv.evaluate.store import Record

Summary = dict[str, Any]
MEAN = "mean"  # the row that stands for all tasks, each counting the same


def mean_of_tasks(tasks: Sequence[Interval], least: float) -> Interval:
    """The mean of several tasks' means: independent, so the squares of their half widths add. least: 0 for scores, -1
    for differences."""
    mean = math.fsum(task.mean for task in tasks) / len(tasks)
    low = math.sqrt(math.fsum((task.mean - task.low) ** 2 for task in tasks)) / len(tasks)
    high = math.sqrt(math.fsum((task.high - task.mean) ** 2 for task in tasks)) / len(tasks)
    n = sum(task.n for task in tasks)
    return Interval(mean, max(least, mean - low), min(1.0, mean + high), n, n)


def summarise(records: Mapping[str, Sequence[Record]]) -> Summary:
    """records: of each cache by its name, the first being the base of the differences; all with the same questions.

    Gives {"base": name, "cells": [{"task" (or "mean"), "cache", "score", "difference"}]}, the last two with mean, low,
    high (0 to 1), n and clusters; difference is None for the base."""
    base = next(iter(records))
    held = {record["key"]: record["score"] for record in records[base]}
    tasks = list(dict.fromkeys(record["task"] for record in records[base]))
    cells = []
    for cache, some in records.items():
        scores, differences = [], []
        for task in tasks:
            chosen = [record for record in some if record["task"] == task]
            keys, values = [record["key"] for record in chosen], [record["score"] for record in chosen]
            scores.append(score_interval(values, keys))
            if cache != base:
                differences.append(paired_difference(values, [held[key] for key in keys], keys))
        if len(tasks) > 1:
            scores.append(mean_of_tasks(scores, 0.0))
            differences += [mean_of_tasks(differences, -1.0)] if differences else []
        for i, task in enumerate([*tasks, MEAN][: len(scores)]):
            difference = asdict(differences[i]) if differences else None
            cells.append({"task": task, "cache": cache, "score": asdict(scores[i]), "difference": difference})
    return {"base": base, "cells": cells}


def markdown(summary: Summary) -> str:
    """A row a task; of each cache the score in percent and, but for the base, the points above the base."""
    cells = {(cell["task"], cell["cache"]): cell for cell in summary["cells"]}
    caches, base = list(dict.fromkeys(cache for _, cache in cells)), summary["base"]
    head = [name for cache in caches for name in ([cache] if cache == base else [cache, f"{cache} - {base}"])]
    parts = ["LongBench: score in % [95 % interval], and points above the first cache on the same questions\n"]
    parts.append("| task | questions | " + " | ".join(head) + " |")
    parts.append("|---|---|" + "---|" * len(head))
    for task in dict.fromkeys(task for task, _ in cells):
        row = [task, str(cells[task, base]["score"]["n"])]
        for cache in caches:
            cell = cells[task, cache]
            row.append(percent(cell["score"]))
            if cache != base:
                row.append(percent(cell["difference"], signed=True))
        parts.append("| " + " | ".join(row) + " |")
    return "\n".join(parts) + "\n"


def write_summary(summary: Summary, settings: Mapping[str, Any], folder: Path) -> str:
    """Writes summary.json and summary.md into the folder, whole or not at all; returns the Markdown."""
    text = markdown(summary)
    for name, content in (
        ("summary.json", json.dumps({"settings": dict(settings), **summary}, indent=1) + "\n"),
        ("summary.md", text),
    ):
        write_whole(folder / name, content.encode("utf-8"))
    return text
