"""The command `spectralkv eval` and its table: each evaluation is a module with `main(args)`, imported when it runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from spectralkv.terminal import complain

# Name: module, and its line of help.
EVALUATIONS: dict[str, tuple[str, str]] = {
    "needle": ("spectralkv.evaluate.needle", "find needles in long texts: RULER's retrieval tasks"),
    "longbench": ("spectralkv.evaluate.longbench", "LongBench's English-language tasks, from your copy of it"),
    "curve": ("spectralkv.evaluate.curve", "divergence against bits, as a plot and a table"),
    "memory": ("spectralkv.evaluate.memory", "what a cache holds at several lengths of context, in bytes"),
    "report": ("spectralkv.evaluate.report", "everything about a list of cache types on one page"),
}


def usage() -> str:
    """The help of `spectralkv eval`."""
    width = max(map(len, EVALUATIONS))
    rows = [f"  {name:{width}}  {line}" for name, (_, line) in EVALUATIONS.items()]
    return "\n".join(
        [
            "usage: spectralkv eval NAME [OPTIONS]",
            "",
            "Judges cache types by what a model still can do. NAME is one of",
            *rows,
            "",
            "`spectralkv eval NAME --help` lists the options.",
        ]
    )


def main(args: Sequence[str]) -> int:
    """Runs the command; returns its exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    if args[:1] in (["-h"], ["--help"]):
        print(usage())
        return 0
    if not args or args[0] not in EVALUATIONS:
        print(usage(), file=sys.stderr)
        what = f"there is no evaluation '{args[0]}'" if args else "name an evaluation"
        print(f"error: {what}; there are {', '.join(EVALUATIONS)}", file=sys.stderr)
        return 2
    module = importlib.import_module(EVALUATIONS[args[0]][0])
    try:
        return int(module.main(args[1:]))
    except BrokenPipeError:
        raise
    except (ValueError, OSError, MemoryError) as error:
        return complain(error)
