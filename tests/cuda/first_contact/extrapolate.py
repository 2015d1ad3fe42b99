"""Tokens a second of the 32 layers of the 8B shape from runs of four: extrapolate.py BENCH_LOG.

A token takes a + L b seconds: a for embedding and logits, b for a layer, which alone depends on the depth. Depth 0 of
both models gives a.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

FEW, ALL = 4, 32
SECTION = re.compile(r"^=== (decode|full)-(\w+):")
DECODED = re.compile(r"\| tg\d+(?: @ d(\d+))? \| ([\d.]+) ")


def main() -> int:
    rates: dict[tuple[str, str], dict[int, float]] = {}
    section = ("", "")
    for line in Path(sys.argv[1]).read_text(encoding="utf-8", errors="replace").splitlines():
        if found := SECTION.match(line):
            section = (found[1], found[2])
        elif found := DECODED.search(line):
            rates.setdefault(section, {})[int(found[1] or 0)] = float(found[2])
    complete = False
    for kind in sorted({name for _, name in rates}):
        few, whole = rates.get(("decode", kind), {}), rates.get(("full", kind), {})
        if 0 not in few or 0 not in whole:
            print(f"{kind}: depth 0 of {FEW} and of {ALL} layers is needed")
            continue
        layer = (1 / whole[0] - 1 / few[0]) / (ALL - FEW)
        rest = 1 / few[0] - FEW * layer
        for depth, rate in sorted(few.items()):
            seconds = rest + ALL / FEW * (1 / rate - rest)
            print(f"{kind:6} depth {depth:7} {1 / seconds:9.1f} tokens/s ({ALL} layers, from {FEW})")
        complete = True
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
